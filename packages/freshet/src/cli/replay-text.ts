/** What `freshet replay` and `freshet replays` print. */
import { terminalWidth, type CliContext } from './context.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { styleFor } from './output/style.ts'
import { renderTable, shorten } from './output/table.ts'
import { formatCount, plural } from './output/units.ts'

interface Counts {
  appear: number
  change: number
  vanish: number
  same: number
}

interface Findings extends Counts {
  events: number
  letters: number
  partitions: (Counts & { partition: string })[]
  partitionsChanged: number
  partitionsSame: number
}

interface Commit {
  rowsRemoved: number
  rowsAdded: number
}

/** A replay, as the server answers. */
export interface Replay {
  id: string
  stream: string
  state: 'previewing' | 'previewed' | 'applying' | 'applied' | 'undoing' | 'undone' | 'failed'
  requestedAt: string
  from: string | null
  to: string | null
  version: string
  preview: Findings | null
  applied: Findings | null
  commits: Commit[]
  undone: Commit[]
  waitingFor: string | null
  undoUntil: string | null
  sample?: {
    rows: { id: string; kind: string; columns: Record<string, { before?: unknown; after?: unknown }> }[]
    letters: { event_id: string | null; code: string; message: string }[]
  } | null
}

const partitionsShownMax = 20
const valueWidthMax = 60

export function renderReplay(replay: Replay, context: CliContext): string {
  const { id, stream, state, version, waitingFor } = replay
  const head = [
    `replay ${id} of ${stream}: ${state}`,
    `event times ${rangeOf(replay)}, code of version ${version}`,
    ...(waitingFor === null ? [] : [`${state === 'failed' ? 'failed' : 'waits'}: ${waitingFor}`]),
  ]
  return textOf(head) + renderResult(replay, context)
}

/** Whether something differs from what the code makes. */
export function differs({ preview }: Replay): boolean {
  return preview !== null && preview.appear + preview.change + preview.vanish > 0
}

function renderResult(replay: Replay, context: CliContext): string {
  const { id, state, applied, preview, commits, undone, undoUntil } = replay
  if (state === 'undone') {
    return textOf([
      `${plural(sumOf(undone).rowsAdded, 'row')} are back, ${formatCount(sumOf(undone).rowsRemoved)} gone`,
    ])
  }
  if (applied !== null) {
    const back = undoUntil === null ? [] : [`until ${undoUntil} it can be undone: freshet replay --undo ${id}`]
    const done = state === 'applied' || state === 'undoing' ? [`by ${plural(commits.length, 'commit')}`] : []
    return renderFindings(applied, false, context) + textOf([...done, ...back])
  }
  return preview === null ? '' : renderFindings(preview, true, context) + renderSample(replay)
}

function renderFindings(findings: Findings, isPlanned: boolean, context: CliContext): string {
  const { appear, change, vanish, same, events, letters, partitions, partitionsChanged, partitionsSame } = findings
  const [appears, changes, vanishes, fail] = isPlanned
    ? ['would appear', 'would change', 'would vanish', 'would fail']
    : ['appeared', 'changed', 'vanished', 'failed']
  const lines = [
    `${plural(events, 'event')} given to the code: ${plural(appear, 'row')} ${appears}, ${formatCount(change)} ${changes}, ` +
      `${formatCount(vanish)} ${vanishes}; ${formatCount(same)} the same`,
    ...(letters === 0 ? [] : [`${plural(letters, 'event')} ${fail}: dead letters`]),
  ]
  if (partitions.length === 0) return textOf(lines)
  const shown = partitions.slice(0, partitionsShownMax)
  const cells = shown.map((one) => [one.partition, ...kinds.map((kind) => formatCount(one[kind]))])
  const options = { style: styleFor(context, context.stdout), width: terminalWidth(context.stdout) }
  const columns = [{ name: 'partition' }, ...kinds.map((name) => ({ name, align: 'right' as const }))]
  const rest = [
    ...(partitionsChanged > shown.length ? [`and ${plural(partitionsChanged - shown.length, 'partition')} more`] : []),
    ...(partitionsSame > 0 ? [`${plural(partitionsSame, 'partition')} not touched`] : []),
  ]
  return `${textOf(lines)}\n${renderTable(columns, cells, options).text}${textOf(rest)}`
}

const kinds = ['appear', 'change', 'vanish', 'same'] as const

function renderSample({ sample, preview }: Replay): string {
  if (sample === undefined || sample === null) return ''
  const { rows, letters } = sample
  const lines = rows.flatMap(({ id, kind, columns }) => [
    `${id}: ${kind}`,
    ...Object.entries(columns)
      .filter(([name]) => kind === 'change' || !name.startsWith('_'))
      .map(([name, { before, after }]) => `  ${name}: ${[before, after].filter(isThere).map(valueText).join(' -> ')}`),
  ])
  const all = preview === null ? 0 : preview.appear + preview.change + preview.vanish
  const rest = all > rows.length ? [`... ${plural(all - rows.length, 'row')} more`] : []
  const failed = letters.map(({ event_id: event, code, message }) => `${event ?? '-'}: ${code}: ${message}`)
  return [lines.length === 0 ? [] : ['', ...lines, ...rest], failed.length === 0 ? [] : ['', ...failed]]
    .map(textOf)
    .join('')
}

const isThere = (value: unknown): boolean => value !== undefined

function valueText(value: unknown): string {
  return shorten(sanitiseCell(JSON.stringify(value)), valueWidthMax)
}

export function renderReplays(replays: readonly Replay[], context: CliContext): string {
  if (replays.length === 0) return 'No stream was replayed yet.\n'
  const rows = replays.map((replay) => {
    const { id, stream, requestedAt, state, applied, preview, undoUntil } = replay
    const found = applied ?? preview
    const counts = (['appear', 'change', 'vanish'] as const).map((kind) => found && formatCount(found[kind]))
    return [id, stream, requestedAt, rangeOf(replay), state, ...counts.map((count) => count ?? '-'), undoUntil ?? '-']
  })
  const columns = [
    { name: 'id' },
    { name: 'stream' },
    { name: 'requested at' },
    { name: 'event times' },
    { name: 'state' },
    { name: 'appear', align: 'right' },
    { name: 'change', align: 'right' },
    { name: 'vanish', align: 'right' },
    { name: 'undo until' },
  ] as const
  const options = { style: styleFor(context, context.stdout), width: terminalWidth(context.stdout) }
  return renderTable(columns, rows, options).text
}

function rangeOf({ from, to }: Pick<Replay, 'from' | 'to'>): string {
  if (from === null && to === null) return 'all'
  return [from === null ? '' : `from ${from}`, to === null ? '' : `before ${to}`]
    .filter((part) => part !== '')
    .join(' ')
}

function sumOf(commits: readonly Commit[]): Commit {
  return commits.reduce(
    (sum, { rowsRemoved, rowsAdded }) => ({
      rowsRemoved: sum.rowsRemoved + rowsRemoved,
      rowsAdded: sum.rowsAdded + rowsAdded,
    }),
    { rowsRemoved: 0, rowsAdded: 0 },
  )
}

function textOf(lines: readonly string[]): string {
  return lines.map((line) => `${sanitiseCell(line)}\n`).join('')
}
