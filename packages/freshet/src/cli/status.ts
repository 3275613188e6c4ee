import type { Command } from 'commander'
import { FreshetError } from '../runtime/errors.ts'
import { Client, serverUrl } from './client.ts'
import { subcommand, wholeNumber, type CommandEnvironment } from './command.ts'
import { terminalWidth, writeOut, type CliContext } from './context.ts'
import { exitCodes } from './exit-codes.ts'
import { renderFailure } from './output/failure.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { styleFor, type Style } from './output/style.ts'
import { renderTable } from './output/table.ts'
import { formatBytes, formatCount, formatDuration } from './output/units.ts'
import { completenessLines } from './sites/completeness.ts'
import { fetchStatus, type ServerStatus, type StatusProcess, type StatusStream } from './server-status.ts'

interface StatusFlags {
  url?: string
  json?: boolean
  watch?: boolean
  interval: number
}

export function addStatus(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'status', 'show the processes and streams of a running server')
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print what the server answers, as JSON')
    .option('--watch', 'show it again and again, until Ctrl-C')
    .option('--interval <seconds>', 'seconds between two looks with --watch', wholeNumber(1, 3600), 1)
    .action(async (flags: StatusFlags) => environment.exit(await status(flags, environment.context)))
}

async function status(flags: StatusFlags, context: CliContext): Promise<number> {
  const client = new Client(serverUrl(flags.url, context), 1)
  try {
    if (flags.watch === true) return await watch(client, flags, context)
    await writeOut(context.stdout, await look(client, flags, context))
    return exitCodes.ok
  } finally {
    await client.close()
  }
}

async function look(client: Client, flags: StatusFlags, context: CliContext, signal?: AbortSignal): Promise<string> {
  const found = await fetchStatus(client, signal)
  if (flags.json === true) return `${JSON.stringify(found, null, flags.watch === true ? 0 : 2)}\n`
  const width = terminalWidth(context.stdout)
  return renderStatus(found, {
    url: client.url,
    nowMs: context.nowMs(),
    style: styleFor(context, context.stdout),
    width,
  })
}

async function watch(client: Client, flags: StatusFlags, context: CliContext): Promise<number> {
  const stop = new AbortController()
  const off = context.onInterrupt(() => stop.abort())
  const redraw = context.stdout.isTTY === true && flags.json !== true
  try {
    while (!stop.signal.aborted) {
      const text = await lookOrExplain(client, flags, context, stop.signal)
      // Home, the text with each line cleared to its end, then everything below cleared: no flicker.
      await writeOut(context.stdout, redraw ? `\u001b[H${text.replaceAll('\n', '\u001b[K\n')}\u001b[J` : text)
      await context.sleep(flags.interval * 1000, stop.signal)
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error
  } finally {
    off()
  }
  return exitCodes.ok
}

/** A server that is away for a while does not end the watching. */
async function lookOrExplain(
  client: Client,
  flags: StatusFlags,
  context: CliContext,
  signal: AbortSignal,
): Promise<string> {
  try {
    return await look(client, flags, context, signal)
  } catch (error) {
    if (!(error instanceof FreshetError) || !error.retryable) throw error
    if (flags.json === true) return `${JSON.stringify({ error: { code: error.code, detail: error.message } })}\n`
    return renderFailure(error, { style: styleFor(context, context.stdout), debug: false })
  }
}

interface RenderStatusOptions {
  url: string
  nowMs: number
  style: Style
  width: number | undefined
}

/** The status as two tables. */
function renderStatus(found: ServerStatus, options: RenderStatusOptions): string {
  const { style, width, nowMs } = options
  const title = [`Freshet ${found.version ?? ''}`.trim(), found.mode, options.url].filter((part) => part !== undefined)
  let text = `${style.bold(sanitiseCell(title.join('  ')))}\n\n`
  text += renderTable(
    processColumns,
    found.processes.map((process) => processRow(process, nowMs)),
    { style, width },
  ).text
  if (!found.engine.available)
    text += `${style.yellow('The engine is not running: events are still taken in, queries have to wait.')}\n`
  else if (found.engine.catchingUp === true) text += `${style.yellow(catchingUp(found))}\n`
  text += '\n'
  if (found.streams.length === 0) return `${text}No streams yet.\n`
  const table = renderTable(
    streamColumns,
    found.streams.map((stream) => streamRow(stream, nowMs)),
    { style, width },
  )
  text += table.text
  if (table.hiddenColumns.length > 0)
    text += `${style.dim(`Not shown for want of width: ${table.hiddenColumns.join(', ')}`)}\n`
  return (
    text +
    rollupsText(found, options) +
    consumersText(found, options) +
    bucketsText(found, options) +
    completeness(found, style)
  )
}

/** The rollups, if there are any, and what keeps those that do not get on. */
function rollupsText({ rollups }: ServerStatus, { style, width, nowMs }: RenderStatusOptions): string {
  if (rollups === undefined || rollups === null || rollups.length === 0) return ''
  const rows = rollups.map((rollup) => [
    rollup.name,
    rollup.from ?? '-',
    rollup.bucket ?? 'not kept up',
    present(rollup.rows, formatCount),
    present(rollup.lagMs, formatDuration),
    present(rollup.files, formatCount),
    present(rollup.bytes, formatBytes),
    rollup.completeThrough ?? '-',
    formatAge(rollup.lastCommitAt, nowMs),
  ])
  const problems = rollups.flatMap(({ name, problem }) =>
    problem == null ? [] : [`${style.yellow(sanitiseCell(`${name}: ${problem}`))}\n`],
  )
  return `\n${renderTable(rollupColumns, rows, { style, width }).text}${problems.join('')}`
}

const rollupColumns = [
  { name: 'rollup' },
  { name: 'from' },
  { name: 'bucket' },
  { name: 'rows', align: 'right' },
  { name: 'lag', align: 'right' },
  { name: 'files', align: 'right' },
  { name: 'size', align: 'right' },
  { name: 'complete through' },
  { name: 'last commit', align: 'right' },
] as const

/** The consumers, if there are any, and what keeps those that do not get on. */
function consumersText({ consumers }: ServerStatus, { style, width, nowMs }: RenderStatusOptions): string {
  if (consumers === undefined || consumers === null || consumers.length === 0) return ''
  const rows = consumers.map((consumer) => [
    consumer.name,
    consumer.from,
    consumer.state,
    present(consumer.lagBytes, formatBytes),
    present(consumer.events, formatCount),
    formatAge(consumer.lastTakenAt, nowMs),
  ])
  const problems = consumers.flatMap(({ name, problem }) =>
    problem == null ? [] : [`${style.yellow(sanitiseCell(`${name}: ${problem}`))}\n`],
  )
  return `\n${renderTable(consumerColumns, rows, { style, width }).text}${problems.join('')}`
}

const consumerColumns = [
  { name: 'consumer' },
  { name: 'from' },
  { name: 'state' },
  { name: 'lag', align: 'right' },
  { name: 'events', align: 'right' },
  { name: 'last taken', align: 'right' },
] as const

/** The buckets, if there are any. */
function bucketsText({ buckets }: ServerStatus, { style, width }: RenderStatusOptions): string {
  if (buckets === undefined || buckets === null || buckets.length === 0) return ''
  const rows = buckets.map((bucket) => [
    bucket.name,
    bucket.stream,
    present(bucket.objects, formatCount),
    present(bucket.bytes, formatBytes),
    present(bucket.storedBytes, formatBytes),
    present(bucket.uploads, formatCount),
  ])
  const problems = buckets.flatMap(({ name, problem }) =>
    problem == null ? [] : [`${style.yellow(sanitiseCell(`${name}: ${problem}`))}\n`],
  )
  return `\n${renderTable(bucketColumns, rows, { style, width }).text}${problems.join('')}`
}

const bucketColumns = [
  { name: 'bucket' },
  { name: 'stream' },
  { name: 'objects', align: 'right' },
  { name: 'size', align: 'right' },
  { name: 'stored', align: 'right' },
  { name: 'uploads', align: 'right' },
] as const

function completeness({ sites, streams }: ServerStatus, style: Style): string {
  const problem = sites?.problem == null ? [] : [style.yellow(sanitiseCell(sites.problem))]
  const lines = [...problem, ...completenessLines(streams)]
  return lines.length === 0 ? '' : `\n${lines.map((line) => `${line}\n`).join('')}`
}

function catchingUp({ streams }: ServerStatus): string {
  const bytes = streams.reduce((sum, { behindBytes }) => sum + Number(behindBytes ?? 0), 0)
  return `The engine has just started and is catching up: ${formatBytes(bytes)} of the log are not in SQL again yet.`
}

const processColumns = [
  { name: 'process' },
  { name: 'pid', align: 'right' },
  { name: 'state' },
  { name: 'restarts', align: 'right' },
  { name: 'up', align: 'right' },
  { name: 'memory', align: 'right' },
  { name: 'cpu time', align: 'right' },
  { name: 'cpu', align: 'right' },
] as const

function processRow(process: StatusProcess, nowMs: number): string[] {
  const startedMs = Date.parse(process.startedAt ?? '')
  const upMs = process.state === 'running' && Number.isFinite(startedMs) ? Math.max(0, nowMs - startedMs) : null
  const cpuSeconds = process.cpuSeconds ?? null
  const share = upMs === null || cpuSeconds === null || upMs < 1000 ? null : (cpuSeconds * 100_000) / upMs
  return [
    process.role,
    process.pid === 0 ? '-' : String(process.pid),
    process.state,
    formatCount(process.restarts),
    upMs === null ? '-' : formatDuration(upMs),
    present(process.rssBytes, formatBytes),
    cpuSeconds === null ? '-' : formatDuration(cpuSeconds * 1000),
    share === null ? '-' : `${share.toFixed(share < 9.95 ? 1 : 0)}%`,
  ]
}

const streamColumns = [
  { name: 'stream' },
  { name: 'events/s', align: 'right' },
  { name: 'rows', align: 'right' },
  { name: 'hot', align: 'right' },
  { name: 'p50', align: 'right' },
  { name: 'p99', align: 'right' },
  { name: 'lag', align: 'right' },
  { name: 'files', align: 'right' },
  { name: 'size', align: 'right' },
  { name: 'accepted', align: 'right' },
  { name: 'duplicates', align: 'right' },
  { name: 'dead letters', align: 'right' },
  { name: 'in flight', align: 'right' },
  { name: 'log end', align: 'right' },
  { name: 'checkpoint', align: 'right' },
  { name: 'last commit', align: 'right' },
] as const

function streamRow(stream: StatusStream, nowMs: number): string[] {
  return [
    stream.name,
    present(stream.eventsPerSecond, (rate) =>
      rate > 0 && rate < 10 ? rate.toFixed(1) : formatCount(Math.round(rate)),
    ),
    present(stream.rows, formatCount),
    present(stream.hotRows, formatCount),
    present(stream.freshnessMs?.p50, formatDuration),
    present(stream.freshnessMs?.p99, formatDuration),
    present(stream.lagBytes, (bytes) => formatBytes(Number(bytes))),
    present(stream.files, formatCount),
    present(stream.bytes, (bytes) => formatBytes(Number(bytes))),
    present(stream.ledger?.accepted, formatCount),
    present(stream.duplicates, formatCount),
    present(stream.deadLetters, formatCount),
    present(stream.ledger?.inFlight, formatCount),
    present(stream.logEnd, formatCount),
    present(stream.checkpoint, formatCount),
    formatAge(stream.lastCommitAt, nowMs),
  ]
}

function present<T>(value: T | null | undefined, format: (value: T) => string): string {
  return value === null || value === undefined ? '-' : format(value)
}

/** How long ago an ISO time is. */
export function formatAge(time: string | null | undefined, nowMs: number): string {
  const ms = Date.parse(time ?? '')
  return Number.isFinite(ms) ? `${formatDuration(Math.max(0, nowMs - ms))} ago` : '-'
}
