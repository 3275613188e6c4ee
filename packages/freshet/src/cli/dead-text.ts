/** What `freshet dead` prints. */
import { terminalWidth, type CliContext } from './context.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { styleFor } from './output/style.ts'
import { renderTable, type TableColumn } from './output/table.ts'
import { formatCount, plural } from './output/units.ts'

export interface Letter {
  id: string
  stage: string
  consumer: string | null
  code: string
  path: string | null
  message: string
  stack?: string | null
  event: string
  eventId: string | null
  position: number | null
  version: string | null
  failedAt: string
  eventTime: string
  receivedAt: string
  source: string | null
}

export interface Overview {
  streams: { stream: string; letters: number; stages: { stage: string; consumer: string | null; letters: number }[] }[]
}

interface Failed {
  id: string
  code: string
  path: string
  message: string
}

export interface Replay {
  id: string
  stream: string
  state: 'running' | 'done'
  letters: number
  replayed: number
  failed: number
  failures: Failed[]
  more: boolean
  waitingFor: string | null
}

export interface Forecast {
  stream: string
  letters: number
  accepted: number
  failed: number
  more: boolean
  outcomes: ({ id: string; accepted: true } | ({ accepted: false } & Failed))[]
}

const shownMax = 20

function table(
  columns: readonly TableColumn[],
  rows: readonly (readonly (string | null)[])[],
  context: CliContext,
): string {
  const options = { style: styleFor(context, context.stdout), width: terminalWidth(context.stdout) }
  return renderTable(columns, rows, options).text
}

export function renderOverview({ streams }: Overview, context: CliContext): string {
  const rows = streams.flatMap(({ stream, stages }) =>
    stages.map(({ stage, consumer, letters }) => [stream, stage, consumer ?? '-', formatCount(letters)]),
  )
  if (rows.length === 0) return 'There are no dead letters.\n'
  const columns = [
    { name: 'stream' },
    { name: 'stage' },
    { name: 'consumer' },
    { name: 'letters', align: 'right' },
  ] as const
  return table(columns, rows, context)
}

export function renderLetters(
  stream: string,
  { letters, more }: { letters: readonly Letter[]; more: boolean },
  context: CliContext,
): string {
  if (letters.length === 0) return `${sanitiseCell(stream)} has no such dead letters.\n`
  const rows = letters.map(({ id, stage, code, path, message, failedAt }) => {
    return [id, stage, failedAt, code, path === null || path === '' ? message : `${path} ${message}`]
  })
  const columns = [{ name: 'id' }, { name: 'stage' }, { name: 'failed at' }, { name: 'code' }, { name: 'reason' }]
  const rest = more ? 'There are more; ask for them with --limit or --where.\n' : ''
  return table(columns, rows, context) + rest
}

export function renderLetter(letter: Letter): string {
  const { id, stage, consumer, code, path, message, stack, event, eventId, version, failedAt, receivedAt, source } =
    letter
  const lines = [
    `dead letter ${id}`,
    `failed at ${failedAt}: ${consumer ?? stage}${version === null ? '' : `, version ${version}`}`,
    `${code}${path === null || path === '' ? '' : ` at ${path}`}: ${message}`,
    `arrived at ${receivedAt}${source === null ? '' : ` from ${source}`}${eventId === null ? '' : `, id ${eventId}`}`,
    ...(stack == null ? [] : ['', ...stack.split('\n')]),
    '',
    ...event.split('\n'),
  ]
  return lines.map((line) => `${sanitiseCell(line)}\n`).join('')
}

export function renderForecast({ stream, letters, accepted, failed, more, outcomes }: Forecast): string {
  const lines = [
    `Of ${plural(letters, 'dead letter')} of ${stream}, ${formatCount(accepted)} would be accepted and ${formatCount(failed)} would fail again.`,
    ...failuresOf(
      outcomes.flatMap((outcome) => (outcome.accepted ? [] : [outcome])),
      failed,
    ),
    ...(more ? ['There are more letters than one replay takes.'] : []),
    'Nothing was changed.',
  ]
  return lines.map((line) => `${sanitiseCell(line)}\n`).join('')
}

export function renderReplay({ stream, letters, replayed, failed, failures, more }: Replay): string {
  const lines = [
    `Of ${plural(letters, 'dead letter')} of ${stream}, ${formatCount(replayed)} were sent again and ${formatCount(failed)} failed again.`,
    ...failuresOf(failures, failed),
    ...(more ? ['There are more letters than one replay takes: replay again.'] : []),
  ]
  return lines.map((line) => `${sanitiseCell(line)}\n`).join('')
}

export function renderDrop(stream: string, dropped: number, dryRun: boolean): string {
  const letters = plural(dropped, 'dead letter')
  return dryRun
    ? `${letters} of ${sanitiseCell(stream)} would be dropped.\nNothing was changed.\n`
    : `${letters} of ${sanitiseCell(stream)} dropped.\n`
}

function failuresOf(failures: readonly Failed[], failed: number): string[] {
  const shown = failures.slice(0, shownMax)
  return [
    ...shown.map(({ id, code, path, message }) => `  ${id}: ${code}${path === '' ? '' : ` at ${path}`}: ${message}`),
    ...(failed > shown.length && shown.length > 0 ? [`  and ${formatCount(failed - shown.length)} more`] : []),
  ]
}
