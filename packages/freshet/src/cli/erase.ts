/** `freshet erase`: has the server erase events, and shows what it did and found. */
import type { Command } from 'commander'
import { Client, serverUrl } from './client.ts'
import { subcommand, type CommandEnvironment } from './command.ts'
import { terminalWidth, writeOut, type CliContext } from './context.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { styleFor } from './output/style.ts'
import { renderTable } from './output/table.ts'
import { formatBytes, formatCount, formatDuration, plural } from './output/units.ts'

interface Flags {
  where?: string
  all?: boolean
  dryRun?: boolean
  wait: boolean
  status?: string
  list?: boolean
  url?: string
  json?: boolean
}

/** An erasure, as the server answers. */
interface Erasure {
  id: string
  stream: string
  state: string
  requestedAt: string
  where: string
  seconds: number | null
  waitingFor: string | null
  report: {
    commits: { table: string; rows: number; filesRemoved: number; filesAdded: number; bytes: number }[]
    trimmedBelow: string | null
    expired: { table: string; snapshotId: string }[]
    droppedRefs: { table: string; name: string; type: string; snapshotId: string }[]
    filesDeleted: number
    check?: {
      seconds: number
      bytes: number
      matches: number
      places: { place: string; files: number; bytes: number; matches: string[]; explained: string[] }[]
    }
  }
}

interface Count {
  stream: string
  matches: number
  rows: number
  files: number
  filesAll: number
}

const pollMs = 200

export function addErase(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'erase', 'erase events from log, tables and former snapshots, and check that they are gone')
    .argument('[stream]', 'the stream')
    .option('--where <condition>', "which events, as in SQL: customer_id = 'c-17'")
    .option('--dry-run', 'only count the events')
    .option('--all', 'it may mean every event of the stream')
    .option('--no-wait', 'do not wait until it is done')
    .option('--status <id>', 'show an erasure')
    .option('--list', 'list erasures')
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print JSON')
    .action(async (stream: string | undefined, flags: Flags) =>
      environment.exit(await erase(stream, flags, environment.context)),
    )
}

async function erase(stream: string | undefined, flags: Flags, context: CliContext): Promise<number> {
  checkUsage(stream, flags)
  const client = new Client(serverUrl(flags.url, context), 1)
  const print = (value: unknown, text: () => string): Promise<void> =>
    writeOut(context.stdout, flags.json === true ? `${JSON.stringify(value, null, 2)}\n` : text())
  try {
    if (flags.list === true) {
      const answer = (await client.getJson('/v1/erasures')) as { erasures: Erasure[] }
      await print(answer, () => renderList(answer.erasures, context))
      return exitCodes.ok
    }
    if (flags.status !== undefined) {
      const found = await show(client, flags.status)
      await print(found, () => renderErasure(found))
      return exitCodes.ok
    }
    const path = `/v1/streams/${encodeURIComponent(stream!)}/erasures`
    const request = { where: flags.where, all: flags.all === true }
    if (flags.dryRun === true) {
      const count = (await client.change('POST', path, { ...request, dryRun: true })) as Count
      await print(count, () => renderCount(count))
      return exitCodes.ok
    }
    const asked = (await client.change('POST', path, request)) as Erasure
    return await follow(client, asked, flags, context, print)
  } finally {
    await client.close()
  }
}

function checkUsage(stream: string | undefined, { where, list, status, dryRun, all }: Flags): void {
  const ways = [stream !== undefined, list === true, status !== undefined].filter(Boolean).length
  if (ways !== 1)
    throw usageError(
      'Say a stream, or --status <id>, or --list.',
      'freshet erase orders --where "customer_id = \'c-17\'"',
    )
  if (stream === undefined && (where !== undefined || dryRun === true || all === true))
    throw usageError('--where, --dry-run and --all go with a stream.')
  if (stream !== undefined && where === undefined)
    throw usageError('Say which events by --where.', 'freshet erase orders --where "customer_id = \'c-17\'"')
}

/** Waits until it is done, unless that is not wanted. */
async function follow(
  client: Client,
  asked: Erasure,
  flags: Flags,
  context: CliContext,
  print: (value: unknown, text: () => string) => Promise<void>,
): Promise<number> {
  let erasure = asked
  const stop = new AbortController()
  const off = context.onInterrupt(() => stop.abort())
  try {
    let told: string | null = null
    while (flags.wait && erasure.state !== 'done' && !stop.signal.aborted) {
      await context.sleep(pollMs, stop.signal).catch(() => undefined)
      if (stop.signal.aborted) break
      erasure = await show(client, asked.id)
      if (erasure.waitingFor !== null && erasure.waitingFor !== told && flags.json !== true)
        await writeOut(context.stderr, `${sanitiseCell(erasure.waitingFor)}\n`)
      told = erasure.waitingFor
    }
  } finally {
    off()
  }
  const follows = `The server goes on with it: freshet erase --status ${asked.id}\n`
  if (stop.signal.aborted) {
    await writeOut(context.stderr, follows)
    return exitCodes.interrupted
  }
  await print(erasure, () => (erasure.state === 'done' ? renderErasure(erasure) : follows))
  return exitCodes.ok
}

async function show(client: Client, id: string): Promise<Erasure> {
  return (await client.getJson(`/v1/erasures/${encodeURIComponent(id)}`)) as Erasure
}

function renderCount({ stream, matches, rows, files, filesAll }: Count): string {
  return (
    `${plural(matches, 'event')} of ${formatCount(rows)} in ${stream} would be erased; ` +
    `${plural(files, 'file')} of ${formatCount(filesAll)} would be rewritten or removed.\nNothing was changed.\n`
  )
}

function renderErasure(erasure: Erasure): string {
  const { id, stream, state, where, waitingFor, seconds, report } = erasure
  const sum = (pick: (commit: Erasure['report']['commits'][number]) => number): number =>
    report.commits.reduce((all, commit) => all + pick(commit), 0)
  const after = seconds === null ? '' : `, ${formatDuration(seconds * 1000)} after the request`
  const lines = [
    `erasure ${id} of ${stream}: ${state}${after}`,
    `where ${where}`,
    ...(waitingFor === null ? [] : [`waits: ${waitingFor}`]),
    `${plural(
      sum(({ rows }) => rows),
      'row',
    )} erased: ${plural(
      sum(({ filesRemoved }) => filesRemoved),
      'file',
    )} ` +
      `(${formatBytes(sum(({ bytes }) => bytes))}) replaced by ${formatCount(sum(({ filesAdded }) => filesAdded))}`,
    ...(report.trimmedBelow === null ? [] : [`the log is trimmed up to position ${report.trimmedBelow}`]),
    `${plural(report.expired.length, 'snapshot')} expired, ${plural(report.filesDeleted, 'file')} deleted`,
    ...report.droppedRefs.map(
      ({ type, name, table, snapshotId }) => `the ${type} ${name} of ${table}, snapshot ${snapshotId}, was dropped`,
    ),
    ...checkLines(report.check),
  ]
  return lines.map((line) => `${sanitiseCell(line)}\n`).join('')
}

function checkLines(check: Erasure['report']['check']): string[] {
  if (check === undefined) return []
  const found = check.matches === 0 ? 'nothing is left' : `${plural(check.matches, 'place')} still have some of it`
  return [
    `searched ${formatBytes(check.bytes)} in ${formatDuration(check.seconds * 1000)}: ${found}`,
    ...check.places.map(
      ({ place, files, bytes, matches }) =>
        `  ${place}: ${plural(files, 'file')}, ${formatBytes(bytes)}, ${formatCount(matches.length)} found`,
    ),
    ...check.places.flatMap(({ matches }) => matches.map((match) => `  still there: ${match}`)),
    ...check.places.flatMap(({ explained }) => explained.map((text) => `  for another reason: ${text}`)),
  ]
}

const columns = [
  { name: 'id' },
  { name: 'stream' },
  { name: 'requested at' },
  { name: 'state' },
  { name: 'rows', align: 'right' },
  { name: 'where' },
] as const

function renderList(erasures: readonly Erasure[], context: CliContext): string {
  if (erasures.length === 0) return 'Nothing was erased yet.\n'
  const rows = erasures.map(({ id, stream, requestedAt, state, where, report }) => [
    id,
    stream,
    requestedAt,
    state,
    formatCount(report.commits.reduce((sum, commit) => sum + commit.rows, 0)),
    where,
  ])
  return renderTable(columns, rows, { style: styleFor(context, context.stdout), width: terminalWidth(context.stdout) })
    .text
}
