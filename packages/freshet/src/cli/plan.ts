import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { PlanReport } from '../app/plan-tables.ts'
import { collect, subcommand, type CommandEnvironment } from './command.ts'
import { writeOut, type CliContext } from './context.ts'
import { exitCodes } from './exit-codes.ts'
import { sanitiseText } from './output/sanitise.ts'
import { styleFor, type Style } from './output/style.ts'
import { plural } from './output/units.ts'

interface PlanFlags {
  config?: string
  dataDir?: string
  accept?: string[]
  json?: boolean
}

type PlannedTable = PlanReport['tables'][number]

export function addPlan(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'plan', 'show what the configuration changes in the tables, and what it may not')
    .option('--config <file>', 'the configuration (default: freshet.config.ts)')
    .option('--data-dir <folder>', 'the data folder (default: the one of the configuration)')
    .option('--accept <change>', 'show the plan with a change that is refused, by the word it names', collect)
    .option('--json', 'print JSON')
    .action(async (flags: PlanFlags) => environment.exit(await plan(flags, environment)))
}

async function plan(flags: PlanFlags, { context }: CommandEnvironment): Promise<number> {
  // Loaded here, so that other commands start without the server's libraries.
  const [{ loadPlan }, { planTables }] = await Promise.all([
    import('../app/load-plan.ts'),
    import('../app/plan-tables.ts'),
  ])
  const report = await planTables(
    await loadPlan({
      cwd: context.cwd,
      mode: 'start',
      ...(flags.config === undefined ? {} : { path: flags.config }),
      overrides: {
        ...(flags.dataDir === undefined ? {} : { dataDir: resolve(context.cwd, flags.dataDir) }),
        ...(flags.accept === undefined ? {} : { accept: flags.accept }),
      },
    }),
  )
  await writeOut(context.stdout, flags.json === true ? `${JSON.stringify(report, null, 2)}\n` : render(report, context))
  return report.ok ? exitCodes.ok : exitCodes.failed
}

function render({ dataDir, tables }: PlanReport, context: CliContext): string {
  const style = styleFor(context, context.stdout)
  const title = `${style.bold('Plan')} for ${sanitiseText(dataDir)}`
  if (tables.length === 0) return `${title}\n\nNo streams are declared, and there are no tables.\n`
  const parts = tables.map((table) => tableText(table, style))
  return `${title}\n\n${parts.join('\n')}\n\n${summary(tables, style)}\n`
}

const stateTexts: Record<PlannedTable['state'], string> = {
  new: 'made with the first events',
  unchanged: 'unchanged',
  change: 'will change',
  refused: 'refused',
  undeclared: 'not in the configuration; stays as it is',
  unreadable: 'cannot be read',
}

function tableText({ table, state, changes, refusals, notes }: PlannedTable, style: Style): string {
  const colour =
    state === 'refused' || state === 'unreadable' ? style.red : state === 'change' ? style.green : style.dim
  const refused = refusals.flatMap(({ reason, mend, accept }) => [
    `  ${style.red('refused:')} ${sanitiseText(reason)}`,
    `    ${style.cyan('mend:')} ${sanitiseText(mend)}${accept === undefined ? '' : ` (--accept ${sanitiseText(accept)})`}`,
  ])
  // What else would change is not made either.
  const planned = changes.map(({ text }) => `  ${sanitiseText(text)}`)
  return [
    `${style.bold(table)}: ${colour(stateTexts[state])}`,
    ...planned,
    ...refused,
    ...notes.map((note) => `  ${style.dim('note:')} ${sanitiseText(note)}`),
  ].join('\n')
}

function summary(tables: readonly PlannedTable[], style: Style): string {
  const count = (state: PlannedTable['state']): number => tables.filter((table) => table.state === state).length
  const refused = count('refused')
  if (refused > 0)
    return style.red(`${plural(refused, 'table')} refused: \`freshet start\` stops with this plan, and changes nothing`)
  const changed = count('change')
  if (changed === 0) return 'Nothing to do.'
  return `${plural(changed, 'table')} will change at the next \`freshet start\` or \`freshet dev\`; no data file is rewritten.`
}

/** What a start says of the tables that it changes; empty when it changes none. */
export function changesText(tables: readonly PlannedTable[], style: Style): string {
  const changed = tables.filter(({ changes }) => changes.length > 0)
  const lines = changed.flatMap(({ table, changes }) => changes.map(({ text }) => `  ${table}: ${sanitiseText(text)}`))
  return lines.length === 0 ? '' : `${style.bold('Tables changed')}, as the configuration says\n${lines.join('\n')}\n\n`
}
