import type { Command } from 'commander'
import { FreshetError } from '../runtime/errors.ts'
import { Client, serverUrl } from './client.ts'
import { subcommand, type CommandEnvironment } from './command.ts'
import { terminalWidth, writeOut, type CliContext } from './context.ts'
import { exitCodes } from './exit-codes.ts'
import { styleFor } from './output/style.ts'
import { renderTable } from './output/table.ts'
import { formatBytes, formatCount } from './output/units.ts'
import { fetchStatus, type StatusStream } from './server-status.ts'
import { quoteName } from './sql/statements.ts'
import { formatAge } from './status.ts'

interface StreamSummary {
  name: string
  declared: boolean | null
  rows: number | string | null
  columns: number | null
  files: number | null
  bytes: number | string | null
  lastCommitAt: string | null
}

export function addStreams(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'streams', 'list the streams of a running server')
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print JSON')
    .action(async (flags: { url?: string; json?: boolean }) =>
      environment.exit(await streams(flags, environment.context)),
    )
}

async function streams(flags: { url?: string; json?: boolean }, context: CliContext): Promise<number> {
  const client = new Client(serverUrl(flags.url, context))
  try {
    const status = await fetchStatus(client)
    const summaries = await Promise.all(
      status.streams.map((stream) => summarise(stream, client, status.engine.available)),
    )
    await writeOut(
      context.stdout,
      flags.json === true ? `${JSON.stringify(summaries, null, 2)}\n` : render(summaries, context),
    )
    return exitCodes.ok
  } finally {
    await client.close()
  }
}

async function summarise(stream: StatusStream, client: Client, engineAvailable: boolean): Promise<StreamSummary> {
  return {
    name: stream.name,
    declared: stream.declared ?? null,
    rows: stream.rows ?? null,
    columns: engineAvailable ? await columnCount(stream.name, client) : null,
    files: stream.files ?? null,
    bytes: stream.bytes ?? null,
    lastCommitAt: stream.lastCommitAt ?? null,
  }
}

/** Columns of a stream, system columns included; null while it cannot be queried. */
async function columnCount(name: string, client: Client): Promise<number | null> {
  try {
    const response = await client.sql(`select * from ${quoteName(name)} limit 0`, { format: 'json' })
    const answer = JSON.parse(await client.readText(response)) as { columns?: unknown[] }
    return answer.columns?.length ?? null
  } catch (error) {
    if (error instanceof FreshetError) return null
    throw error
  }
}

function render(summaries: readonly StreamSummary[], context: CliContext): string {
  if (summaries.length === 0)
    return 'No streams yet. Declare one in freshet.config.ts, or under `freshet dev` just send to it.\n'
  const columns = [
    { name: 'stream' },
    { name: 'rows', align: 'right' },
    { name: 'columns', align: 'right' },
    { name: 'files', align: 'right' },
    { name: 'size', align: 'right' },
    { name: 'last commit', align: 'right' },
    { name: 'declared' },
  ] as const
  const rows = summaries.map(({ name, rows: count, columns: width, files, bytes, lastCommitAt, declared }) => [
    name,
    count === null ? '-' : formatCount(count),
    width === null ? '-' : String(width),
    files === null ? '-' : formatCount(files),
    bytes === null ? '-' : formatBytes(Number(bytes)),
    formatAge(lastCommitAt, context.nowMs()),
    declared === null ? '-' : declared ? 'yes' : 'no',
  ])
  const width = terminalWidth(context.stdout)
  return renderTable(columns, rows, { style: styleFor(context, context.stdout), width }).text
}
