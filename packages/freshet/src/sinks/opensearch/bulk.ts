/** Requests and answers of `_bulk` (OpenSearch and Elasticsearch, "Bulk API"): a line for what to do, and one for the document. */
import { exactFields, textOf, valueAt } from '../event-fields.ts'
import type { SinkEvent } from '../sink.ts'
import type { TemplatePart } from '../text-template.ts'
import { indexFor } from './index-name.ts'
import type { OpenSearchOptions } from './settings.ts'

/** What is done for one event: its lines, each with its end. */
export interface BulkAction {
  index: number
  lines: string
}

/** Longest id of a document. */
const idBytesMax = 512

/** What is done for an event, or why nothing can be. */
export function actionFor(
  event: SinkEvent,
  index: number,
  options: OpenSearchOptions & { indexParts: readonly TemplatePart[] },
): BulkAction | { refused: string } {
  const name = indexFor(options.indexParts, event)
  if (typeof name === 'object') return { refused: name.reason }
  const fields = exactFields(event)
  const id = options.id === undefined ? event.id : textOf(valueAt(fields, options.id))
  if (id === '') return { refused: `The field ${options.id} is empty, and is the id of the document.` }
  if (Buffer.byteLength(id) > idBytesMax)
    return { refused: `The id of the document has more than ${idBytesMax} bytes.` }
  const version = options.version === undefined ? '' : versionOf(textOf(valueAt(fields, options.version)))
  if (version === undefined)
    return { refused: `The field ${options.version} is no version: a whole number from 0, or a date and time.` }
  const place = `{"_index":${JSON.stringify(name)},"_id":${JSON.stringify(id)}${version}}`
  const { delete: tombstone } = options
  if (tombstone !== undefined && valueAt(event.fields, tombstone.field) === tombstone.value)
    return { index, lines: `{"delete":${place}}\n` }
  return { index, lines: `{"index":${place}}\n${documentOf(event, fields)}\n` }
}

/** Members that give a document an external version. An equal version is taken too, so that an event may come again. */
function versionOf(text: string): string | undefined {
  const micros = /^\d{4}-\d\d-\d\dT/.test(text) ? microsOf(text) : /^\d{1,19}$/.test(text) ? BigInt(text) : -1n
  if (micros < 0n || micros >= 2n ** 63n) return undefined
  return `,"version":${micros},"version_type":"external_gte"`
}

/** Microseconds since 1970 of a date-time; negative for none. */
function microsOf(text: string): bigint {
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) return -1n
  const beyondMs = /\.\d{3}(\d{1,3})/.exec(text)?.[1] ?? ''
  return BigInt(Math.floor(ms)) * 1000n + BigInt(beyondMs.padEnd(3, '0'))
}

/**
 * The event's own fields, and its time as `@timestamp` unless it has such a field. System columns stay out: names that begin with
 * `_` belong to the documents' own metadata there.
 */
function documentOf(event: SinkEvent, fields: Record<string, unknown>): string {
  const own = Object.entries(fields).filter(([name]) => !name.startsWith('_'))
  return JSON.stringify({ '@timestamp': event.eventTime, ...Object.fromEntries(own) })
}

/** What became of one action. */
export type ItemOutcome = 'done' | { refused: string } | { away: string }

interface BulkItem {
  status: number
  error?: { type?: string; reason?: string; caused_by?: { reason?: string } } | string
}

/**
 * What became of each action, in their order.
 * @throws Error when the answer is none to a bulk request of so many actions
 */
export function outcomesOf(answer: string, count: number): ItemOutcome[] {
  let items: unknown
  try {
    items = (JSON.parse(answer) as { items?: unknown }).items
  } catch {
    items = undefined
  }
  if (!Array.isArray(items) || items.length !== count)
    throw new Error('What was answered is no answer to a bulk request.')
  return items.map((item: Record<string, BulkItem>) => {
    const [[action, result] = ['', { status: 500 }]] = Object.entries(item)
    return outcomeOf(action, result)
  })
}

function outcomeOf(action: string, { status, error }: BulkItem): ItemOutcome {
  if (status >= 200 && status < 300) return 'done'
  // Nothing to remove: the document is not there, or not even its index. And one with a newer version stays.
  if (action === 'delete' && status === 404) return 'done'
  const type = typeof error === 'object' ? error.type : undefined
  if (status === 409 && type === 'version_conflict_engine_exception') return 'done'
  const said = `${status}${error === undefined ? '' : ` ${reasonOf(error)}`}`
  // Other answers below 500 tell of the index or the account: it is missing, closed, read-only or not allowed.
  return status === 400 || status === 413 ? { refused: said } : { away: said }
}

function reasonOf(error: NonNullable<BulkItem['error']>): string {
  if (typeof error === 'string') return error
  const cause = error.caused_by?.reason
  return `${error.type ?? ''}: ${error.reason ?? ''}${cause === undefined ? '' : ` (${cause})`}`
}
