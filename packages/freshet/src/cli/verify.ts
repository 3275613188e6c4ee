import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { BucketReport, StreamReport, VerifyProgress, VerifyReport } from '../app/verify/report.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { Finding } from '../runtime/finding.ts'
import { subcommand, type CommandEnvironment } from './command.ts'
import { terminalWidth, writeOut, type CliContext } from './context.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { sanitiseCell, sanitiseText } from './output/sanitise.ts'
import { styleFor, type Style } from './output/style.ts'
import { renderTable, shorten, type TableColumn } from './output/table.ts'
import { formatBytes, formatCount, plural } from './output/units.ts'

interface VerifyFlags {
  config?: string
  dataDir?: string
  deep?: boolean
  json?: boolean
}

const progressIntervalMs = 100
const problemsShownMax = 50

export function addVerify(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'verify', 'check log, tables, ledger and objects of a data folder, from its files')
    .argument('[streams...]', 'streams to check (default: all)')
    .option('--config <file>', 'the configuration (default: freshet.config.ts)')
    .option('--data-dir <folder>', 'the data folder (default: the one of the configuration)')
    .option('--deep', 'also read every value of every data file')
    .option('--json', 'print JSON')
    .action(async (streams: string[], flags: VerifyFlags) =>
      environment.exit(await verify(streams, flags, environment)),
    )
}

async function verify(streams: string[], flags: VerifyFlags, { context }: CommandEnvironment): Promise<number> {
  // Loaded here, so that other commands start without the server's libraries.
  const [{ loadPlan }, { verifyDataFolder }] = await Promise.all([
    import('../app/load-plan.ts'),
    import('../app/verify/verify.ts'),
  ])
  const plan = await loadPlan({
    cwd: context.cwd,
    // Where `freshet dev` runs without a configuration there is a data folder all the same.
    mode: 'dev',
    ...(flags.config === undefined ? {} : { path: flags.config }),
    overrides: flags.dataDir === undefined ? {} : { dataDir: resolve(context.cwd, flags.dataDir) },
  })
  const progress = new ProgressLine(context)
  const stop = new AbortController()
  const off = context.onInterrupt(() => stop.abort())
  let report: VerifyReport
  try {
    report = await verifyDataFolder({
      plan,
      streams,
      deep: flags.deep === true,
      onProgress: (now) => {
        stop.signal.throwIfAborted()
        progress.show(now)
      },
    })
  } catch (error) {
    if (stop.signal.aborted) return exitCodes.interrupted
    const misnamed = error instanceof FreshetError && error.code === 'unknown_stream'
    throw misnamed ? usageError(error.message, error.hint) : error
  } finally {
    off()
    progress.clear()
  }
  await writeOut(context.stdout, flags.json === true ? `${JSON.stringify(report, null, 2)}\n` : render(report, context))
  return report.ok ? exitCodes.ok : exitCodes.failed
}

/** One line on standard error that is rewritten; nothing where that is no terminal. */
class ProgressLine {
  readonly #context: CliContext
  #shownMs = -Infinity
  #part = ''

  constructor(context: CliContext) {
    this.#context = context
  }

  show({ stream, part, bytes }: VerifyProgress): void {
    const width = terminalWidth(this.#context.stderr)
    if (width === undefined) return
    const now = this.#context.nowMs()
    if (now - this.#shownMs < progressIntervalMs && this.#part === `${stream} ${part}`) return
    this.#shownMs = now
    this.#part = `${stream} ${part}`
    const text = `${sanitiseCell(stream)}: ${part}, ${formatBytes(bytes)} checked`
    this.#context.stderr.write(`\r${shorten(text, width - 1)}\u001b[K`)
  }

  clear(): void {
    if (this.#part !== '') this.#context.stderr.write('\r\u001b[K')
  }
}

function render(report: VerifyReport, context: CliContext): string {
  const style = styleFor(context, context.stdout)
  const width = terminalWidth(context.stdout)
  const title = `${style.bold('Verified')} ${sanitiseCell(report.dataDir)} in ${report.seconds.toFixed(1)} s${report.deep ? ', in depth' : ''}`
  if (report.streams.length === 0 && report.buckets.length === 0 && report.ok)
    return `${title}\n\nIt has no streams yet.\n`
  const tables = [
    renderTable(logColumns, report.streams.filter(({ log }) => log !== null).map(logRow), { style, width }),
    renderTable(tableColumns, report.streams.filter(({ table }) => table !== null).map(tableRow), { style, width }),
    renderTable(ledgerColumns, report.streams.filter(({ ledger }) => ledger !== null).map(ledgerRow), { style, width }),
    ...(report.buckets.length === 0
      ? []
      : [renderTable(bucketColumns, report.buckets.map(bucketRow), { style, width })]),
  ]
  const hidden = tables.flatMap(({ hiddenColumns }) => hiddenColumns)
  const parts = [title, ...tables.map(({ text }) => text.trimEnd())]
  if (hidden.length > 0) parts.push(style.dim(`Not shown for want of width: ${hidden.join(', ')}`))
  if (report.notes.length > 0) parts.push(report.notes.map((note) => noteText(note, style)).join('\n'))
  parts.push(...report.problems.slice(0, problemsShownMax).map((problem) => problemText(problem, style)))
  const unshown = report.problems.length - problemsShownMax
  if (unshown > 0) parts.push(style.dim(`${formatCount(unshown)} more; --json prints all of them.`))
  parts.push(
    report.ok
      ? `${style.green('ok')}: no problem found`
      : style.red(`${plural(report.problems.length, 'problem')} found`),
  )
  return `${parts.join('\n\n')}\n`
}

function noteText({ what, mend }: Finding, style: Style): string {
  return `${style.dim('note:')} ${sanitiseText(what)}${mend === undefined ? '' : ` ${sanitiseText(mend)}`}`
}

function problemText({ what, mend, file, offset }: Finding, style: Style): string {
  const lines = [`${style.red('problem:')} ${sanitiseText(what)}`]
  if (file !== undefined)
    lines.push(`${style.cyan('place:')} ${sanitiseCell(file)}${offset === undefined ? '' : `, byte ${offset}`}`)
  if (mend !== undefined) lines.push(`${style.cyan('mend:')} ${sanitiseText(mend)}`)
  return lines.join('\n')
}

const right = (name: string): TableColumn => ({ name, align: 'right' })
const logColumns = [{ name: 'log' }, ...['segments', 'frames', 'events', 'size', 'from', 'to', 'in flight'].map(right)]
const tableColumns = [
  { name: 'table' },
  ...['snapshots', 'manifests', 'files', 'rows', 'size', 'position', 'orphans'].map(right),
]
const ledgerColumns = [
  { name: 'ledger' },
  ...['rows', 'accepted', 'committed', 'deduplicated', 'dead letters', 'in flight'].map(right),
]
const bucketColumns = [
  { name: 'bucket' },
  ...['objects', 'size', 'versions', 'blobs', 'stored', 'uploads', 'orphans'].map(right),
]

function logRow({ stream, log, inFlight }: StreamReport): string[] {
  const { segments, frames, events, bytes, start, end } = log!
  return [
    stream,
    formatCount(segments),
    formatCount(frames),
    formatCount(events),
    formatBytes(bytes),
    formatCount(start),
    formatCount(end),
    inFlight === null ? '-' : formatCount(inFlight.events),
  ]
}

function tableRow({ stream, table }: StreamReport): string[] {
  const { snapshots, manifests, files, rows, bytes, position, orphans } = table!
  return [
    stream,
    formatCount(snapshots),
    formatCount(manifests),
    formatCount(files),
    formatCount(rows),
    formatBytes(bytes),
    formatCount(position),
    formatCount(orphans.files),
  ]
}

function ledgerRow({ stream, ledger, inFlight }: StreamReport): string[] {
  const { rows, accepted, committed, deduplicated, deadLettered } = ledger!
  const counts = [rows, accepted, committed, deduplicated, deadLettered]
  return [stream, ...counts.map(formatCount), inFlight === null ? '-' : formatCount(inFlight.events)]
}

function bucketRow({ bucket, objects, bytes, versions, blobs, storedBytes, uploads, orphans }: BucketReport): string[] {
  return [
    bucket,
    formatCount(objects),
    formatBytes(bytes),
    formatCount(versions),
    formatCount(blobs),
    formatBytes(storedBytes),
    formatCount(uploads),
    formatCount(orphans.files),
  ]
}
