import { resolve } from 'node:path'
import { Option, type Command } from 'commander'
import type { RunningServer, ServerRole } from '../app/server.ts'
import type { Plan } from '../config/plan.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { LogLevel } from '../runtime/logging.ts'
import { defaultUrl } from './client.ts'
import { collect, subcommand, wholeNumber, type CommandEnvironment } from './command.ts'
import { exitCodes } from './exit-codes.ts'
import { styleFor, type Style } from './output/style.ts'
import { formatDuration } from './output/units.ts'
import { changesText } from './plan.ts'

interface ServeFlags {
  config?: string
  port?: number
  host?: string
  dataDir?: string
  accept?: string[]
  role?: ServerRole
  logLevel: LogLevel
}

/** `freshet dev` and `freshet start`, which differ in their mode and in how much they log. */
export function addServe(program: Command, environment: CommandEnvironment, mode: 'dev' | 'start'): void {
  const description =
    mode === 'dev'
      ? 'run a server that creates streams as they are posted to'
      : 'run a server with the declared streams only'
  subcommand(program, mode, description)
    .option('--config <file>', 'the configuration (default: freshet.config.ts)')
    .option('--port <number>', 'port of the HTTP API', wholeNumber(0, 65_535))
    .option('--host <address>', 'loopback address to listen on')
    .option('--data-dir <folder>', 'where everything is kept')
    .option('--accept <change>', 'make a change of a table that the plan refuses, by the word it names', collect)
    .addOption(new Option('--role <role>', 'run this part of the server only').choices(['gateway', 'engine', 'worker']))
    .addOption(
      new Option('--log-level <level>', 'least important log line to show')
        .choices(['debug', 'info', 'warn', 'error', 'silent'])
        .default(mode === 'dev' ? 'warn' : 'info'),
    )
    .action(async (flags: ServeFlags) => environment.exit(await serve(mode, flags, environment)))
}

async function serve(
  mode: 'dev' | 'start',
  flags: ServeFlags,
  { context, version }: CommandEnvironment,
): Promise<number> {
  const startedMs = context.nowMs()
  // Loaded here, so that the client commands start without the server's libraries.
  const [{ loadPlan }, { runServer }] = await Promise.all([import('../app/load-plan.ts'), import('../app/server.ts')])
  const plan = await loadPlan({
    cwd: context.cwd,
    mode,
    ...(flags.config === undefined ? {} : { path: flags.config }),
    overrides: {
      ...(flags.port === undefined ? {} : { port: flags.port }),
      ...(flags.host === undefined ? {} : { host: flags.host }),
      ...(flags.dataDir === undefined ? {} : { dataDir: resolve(context.cwd, flags.dataDir) }),
      ...(flags.accept === undefined ? {} : { accept: flags.accept }),
    },
  })
  let server: RunningServer
  try {
    server = await runServer(plan, {
      logLevel: flags.logLevel,
      ...(flags.role === undefined ? {} : { role: flags.role }),
    })
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'shutting_down') return exitCodes.interrupted
    throw withWayOut(error, plan, mode)
  }
  const style = styleFor(context, context.stdout)
  const failing = server
    .processes()
    .filter(({ state }) => state !== 'running')
    .map((process) => process.role)
  if (!failing.includes('engine')) context.stdout.write(changesText(server.tableChanges, style))
  context.stdout.write(
    banner({ plan, url: server.url, role: flags.role, failing, version, tookMs: context.nowMs() - startedMs, style }),
  )
  await server.done
  context.stdout.write('Stopped.\n')
  return exitCodes.ok
}

/** Adds to an error what the command line can do about it. */
function withWayOut(error: unknown, plan: Plan, mode: string): unknown {
  if (!(error instanceof FreshetError)) return error
  const hints: Partial<Record<FreshetError['code'], string>> = {
    port_in_use: `Take another port: freshet ${mode} --port ${plan.http.port + 1}. If Freshet runs there already, \`freshet status\` shows it.`,
    data_folder_locked: `Stop the other server, or keep the data of this one elsewhere: freshet ${mode} --data-dir FOLDER.`,
  }
  const hint = error.hint ?? hints[error.code]
  return hint === error.hint
    ? error
    : new FreshetError(error.code, error.message, {
        ...(hint === undefined ? {} : { hint }),
        cause: error,
        extra: error.extra,
      })
}

interface BannerFacts {
  plan: Plan
  url: string | undefined
  role: ServerRole | undefined
  /** Processes that have not come up and are started again and again. */
  failing: readonly string[]
  version: string
  tookMs: number
  style: Style
}

/** What a server says when it is ready: where it is, its streams, and how to send and query. */
export function banner({ plan, url, role, failing, version, tookMs, style }: BannerFacts): string {
  const names = Object.keys(plan.streams)
  const state =
    failing.length === 0
      ? `ready in ${formatDuration(tookMs)}`
      : style.yellow(`not ready: ${failing.join(' and ')} cannot start yet, the log above says why`)
  const lines = [
    `${style.bold(`Freshet ${version}`)} ${role === undefined ? plan.mode : `${plan.mode}, ${role} only`}, ${state}`,
    '',
    ...(url === undefined ? [] : [`  HTTP API   ${style.cyan(url)}   (reference: ${url}/docs)`]),
    `  Streams    ${streamList(names, plan.mode)}`,
    `  Data       ${plan.dataDir}`,
    '',
  ]
  if (url !== undefined) lines.push(...firstSteps(url, plan))
  lines.push(style.dim('Ctrl-C stops it; everything acknowledged is on disk.'))
  return `${lines.join('\n')}\n`
}

function streamList(names: readonly string[], mode: Plan['mode']): string {
  const shown = names.slice(0, 8).join(', ') + (names.length > 8 ? `, and ${names.length - 8} more` : '')
  if (mode === 'start') return shown === '' ? 'none declared' : shown
  return shown === '' ? 'none declared; posting to one creates it' : `${shown}; posting to another one creates it`
}

function firstSteps(url: string, { streams, mode }: Plan): string[] {
  const option = url === defaultUrl ? '' : ` --url ${url}`
  const [first] = Object.values(streams)
  if (first === undefined && mode === 'start') return ['  Declare a stream in the configuration to send events to.', '']
  const name = first?.name ?? 'events'
  // What fits a declared schema is not known here.
  const body = first === undefined || first.schema === null ? `'{"hello":"world"}'` : '@event.json'
  return [
    `  Send       freshet send ${name} FILE${option}`,
    `             curl ${url}/v1/streams/${name}/events --json ${body}`,
    `  Query      freshet sql "select * from ${name} limit 10"${option}`,
    `  Watch      freshet status --watch${option}`,
    '',
  ]
}
