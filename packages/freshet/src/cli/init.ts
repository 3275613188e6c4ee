import { access, mkdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join, relative, resolve } from 'node:path'
import { cancel, intro, isCancel, outro, text } from '@clack/prompts'
import type { Command } from 'commander'
import { messageOf, systemCodeOf } from '../runtime/errors.ts'
import { subcommand, type CommandEnvironment } from './command.ts'
import type { CliContext } from './context.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { configFile, eventsFile, packageFile } from './init-files.ts'
import { styleFor } from './output/style.ts'

interface InitFlags {
  yes?: boolean
  force?: boolean
}

export function addInit(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'init', 'begin a project: a configuration and a few events to try it with')
    .argument('[folder]', 'where (default: the current folder)')
    .option('--yes', 'ask nothing')
    .option('--force', 'overwrite files that are there')
    .action(async (folder: string | undefined, flags: InitFlags) =>
      environment.exit(await init(folder, flags, environment)),
    )
}

async function init(
  folder: string | undefined,
  flags: InitFlags,
  { context, version }: CommandEnvironment,
): Promise<number> {
  const asked = folder ?? (await askFolder(flags, context))
  if (asked === null) return exitCodes.interrupted
  const target = resolve(context.cwd, asked)
  const files = [
    { name: 'freshet.config.ts', content: configFile },
    { name: 'events.ndjson', content: eventsFile },
  ]
  const taken =
    flags.force === true
      ? []
      : (await Promise.all(files.map(async ({ name }) => ((await exists(join(target, name))) ? name : null)))).filter(
          (name) => name !== null,
        )
  if (taken.length > 0) {
    throw usageError(
      `${target} has ${taken.join(' and ')} already.`,
      'Nothing was changed. Take another folder, or add --force to overwrite.',
    )
  }
  const made: string[] = []
  try {
    await mkdir(target, { recursive: true })
    for (const { name, content } of files) {
      await writeFile(join(target, name), content)
      made.push(name)
    }
    if (!(await exists(join(target, 'package.json')))) {
      await writeFile(join(target, 'package.json'), packageFile(basename(target), version))
      made.push('package.json')
    }
    if (await ignoreDataFolder(join(target, '.gitignore'))) made.push('.gitignore')
  } catch (error) {
    throw usageError(`The files in ${target} cannot be written: ${messageOf(error)}.`)
  }
  context.stdout.write(nextSteps(target, made, context))
  return exitCodes.ok
}

/** null: cancelled. */
async function askFolder(flags: InitFlags, context: CliContext): Promise<string | null> {
  if (flags.yes === true || context.stdin.isTTY !== true || context.stdout.isTTY !== true) return '.'
  const streams = { input: context.stdin, output: context.stdout }
  intro('A new Freshet project', streams)
  const answer = await text({ message: 'In which folder?', placeholder: '.', defaultValue: '.', ...streams })
  if (isCancel(answer)) {
    cancel('Nothing was changed.', streams)
    return null
  }
  outro(`Writing to ${resolve(context.cwd, answer)}`, streams)
  return answer
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch {
    return false
  }
}

/** @returns whether the file was changed */
async function ignoreDataFolder(path: string): Promise<boolean> {
  let before = ''
  try {
    before = await readFile(path, 'utf8')
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error
  }
  const present = new Set(before.split(/\r?\n/).map((line) => line.trim().replace(/^\/|\/$/g, '')))
  const missing = ['.freshet', 'node_modules'].filter((name) => !present.has(name))
  if (missing.length === 0) return false
  const gap = before === '' || before.endsWith('\n') ? '' : '\n'
  await writeFile(path, `${before}${gap}${missing.map((name) => `${name}/\n`).join('')}`)
  return true
}

function nextSteps(target: string, made: readonly string[], context: CliContext): string {
  const style = styleFor(context, context.stdout)
  const way = relative(context.cwd, target)
  const steps = [
    ...(way === '' ? [] : [`cd ${/^[\w./-]+$/.test(way) ? way : `'${way.replaceAll("'", `'\\''`)}'`}`]),
    'npm install',
    'npx freshet dev',
    '# in another terminal:',
    'npx freshet send clicks events.ndjson',
    `npx freshet sql "select page, count(*) as views from clicks group by page order by views desc"`,
  ]
  return `Wrote ${made.join(', ')} in ${target}.\n\nNext:\n${steps.map((step) => `  ${step.startsWith('#') ? style.dim(step) : style.cyan(step)}`).join('\n')}\n`
}
