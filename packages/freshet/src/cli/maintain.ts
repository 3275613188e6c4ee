/** `freshet maintain`: has the running server keep its tables up now, or say what it would do. */
import { Option, type Command } from 'commander'
import { Client, serverUrl } from './client.ts'
import { subcommand, type CommandEnvironment } from './command.ts'
import { terminalWidth, writeOut, type CliContext } from './context.ts'
import { exitCodes } from './exit-codes.ts'
import { styleFor } from './output/style.ts'
import { renderTable } from './output/table.ts'
import { formatBytes, formatCount } from './output/units.ts'

interface Flags {
  url?: string
  table?: string
  job?: string
  dryRun?: boolean
  json?: boolean
}

/** A row of `freshet.maintenance`, as the server answers. */
interface Row {
  table: string
  job: string
  partition: string | null
  state: 'planned' | 'running' | 'done' | 'skipped' | 'failed'
  reason: string
  filesBefore: number | null
  filesAfter: number | null
  bytesBefore: number | null
  bytesAfter: number | null
  rows: number | null
}

interface Run {
  run: number
  state: 'waiting' | 'running' | 'done'
  dryRun: boolean
  rows: Row[]
}

const jobs = ['compaction', 'manifests', 'retention', 'expiry', 'orphans']
const pollMs = 300
/** A table for people is not longer than this. */
const rowsMax = 200

export function addMaintain(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'maintain', 'keep the tables up now: merge small files, expire snapshots, remove orphans')
    .option('--table <name>', 'only this table')
    .addOption(new Option('--job <name>', 'only this job').choices(jobs))
    .option('--dry-run', 'only say what would be done, and what would not, and why')
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print JSON')
    .action(async (flags: Flags) => environment.exit(await maintain(flags, environment.context)))
}

async function maintain(flags: Flags, context: CliContext): Promise<number> {
  const client = new Client(serverUrl(flags.url, context), 1)
  const stop = new AbortController()
  const off = context.onInterrupt(() => stop.abort())
  try {
    const request = {
      ...(flags.table !== undefined && { table: flags.table }),
      ...(flags.job !== undefined && { job: flags.job }),
      dryRun: flags.dryRun === true,
    }
    let run = (await client.change('POST', '/v1/maintenance', request)) as Run
    while (run.state !== 'done' && !stop.signal.aborted) {
      await context.sleep(pollMs, stop.signal).catch(() => undefined)
      if (!stop.signal.aborted) run = (await client.getJson(`/v1/maintenance/${run.run}`)) as Run
    }
    if (stop.signal.aborted) {
      await writeOut(context.stderr, 'The server goes on with it; freshet.maintenance shows what it does.\n')
      return exitCodes.interrupted
    }
    await writeOut(context.stdout, flags.json === true ? `${JSON.stringify(run, null, 2)}\n` : render(run, context))
    return run.rows.some(({ state }) => state === 'failed') ? exitCodes.failed : exitCodes.ok
  } finally {
    off()
    await client.close()
  }
}

const columns = [
  { name: 'table' },
  { name: 'job' },
  { name: 'partition' },
  { name: 'state' },
  { name: 'files', align: 'right' },
  { name: 'bytes', align: 'right' },
  { name: 'rows', align: 'right' },
  { name: 'reason' },
] as const

function render({ rows, dryRun }: Run, context: CliContext): string {
  const style = styleFor(context, context.stdout)
  if (rows.length === 0) return 'There are no tables yet.\n'
  const shown = rows.slice(0, rowsMax)
  const cells = shown.map((row) => [
    row.table,
    row.job,
    row.partition ?? '-',
    row.state,
    change(row.filesBefore, row.filesAfter, formatCount),
    change(row.bytesBefore, row.bytesAfter, formatBytes),
    row.rows === null ? '-' : formatCount(row.rows),
    row.reason,
  ])
  let text = renderTable(columns, cells, { style, width: terminalWidth(context.stdout) }).text
  if (shown.length < rows.length)
    text += style.dim(`${formatCount(rows.length - shown.length)} further lines; --json shows them all.\n`)
  return dryRun ? `${text}Nothing was changed.\n` : text
}

function change(before: number | null, after: number | null, format: (value: number) => string): string {
  if (before === null) return '-'
  return after === null ? format(before) : `${format(before)} -> ${format(after)}`
}
