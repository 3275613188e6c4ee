/** Turns the text of a body into the lines to append, and a list of what was rejected. */
import type { Plan } from '../config/plan.ts'
import { FreshetError } from '../runtime/errors.ts'
import { brokenTextFault, hasSurrogateEscape } from '../events/check-event.ts'
import type { DecimalWriter } from '../events/decimal-text.ts'
import type { BodyText } from './decode.ts'
import { brokenJson, openEvents, type BodyForm, type EventSource } from './events.ts'
import { extentOf, findJsonFault, placeOf, skipSpace } from '../events/json-text.ts'
import { LineWriter, type ChunkPool } from '../events/lines.ts'
import type { EventError, EventFault } from '../events/refusal.ts'
import type { StreamDoor } from '../events/door.ts'
import type { BatchColumns } from '../events/system-columns.ts'

export interface ReadyBatch {
  /** Give it back after the append. */
  lines: LineWriter
  /** Events in `lines`. */
  count: number
  errors: EventError[]
}

export interface BatchInput {
  body: BodyText
  form: BodyForm
  door: StreamDoor
  columns: BatchColumns
  limits: Plan['limits']
  pool: ChunkPool
}

/** Longer events have their levels counted before they are parsed, so that nesting cannot cost memory out of proportion. */
const parseFreelyLength = 4096

const closeBrace = 0x7d

/**
 * Reads every event of a body: parsed, checked, validated, its system columns spliced in.
 * @throws FreshetError `invalid_json`, `invalid_body` when the body breaks as a whole; `batch_too_large`
 */
export function readBatch(input: BatchInput): ReadyBatch {
  const reader = new BatchReader(input)
  try {
    return reader.read()
  } catch (error) {
    reader.lines.release()
    throw error
  }
}

class BatchReader {
  readonly lines: LineWriter
  readonly #input: BatchInput
  readonly #source: EventSource
  readonly #surrogates: boolean
  readonly #returns: boolean
  readonly #escapes: boolean

  constructor(input: BatchInput) {
    const { text } = input.body
    this.#input = input
    this.#source = openEvents(text, input.form)
    this.lines = new LineWriter(input.pool, text.length)
    this.#escapes = text.includes('\\u')
    this.#surrogates = this.#escapes && hasSurrogateEscape(text)
    this.#returns = input.form === 'json' || text.includes('\r')
  }

  read(): ReadyBatch {
    const { batchEventsMax } = this.#input.limits
    const errors: EventError[] = []
    let index = 0
    for (let raw = this.#source.next(); raw !== undefined; raw = this.#source.next()) {
      if (index >= batchEventsMax) {
        throw new FreshetError('batch_too_large', `A request may bring at most ${batchEventsMax} events.`, {
          hint: 'Split the batch.',
        })
      }
      const fault = this.#accept(raw, index)
      if (fault !== undefined) errors.push({ index, ...fault })
      index++
    }
    return { lines: this.lines, count: index - errors.length, errors }
  }

  #accept(raw: string, index: number): EventFault | undefined {
    const { door, columns, body } = this.#input
    const sizeFault = this.#sizeFault(raw)
    if (sizeFault !== undefined) return sizeFault
    let event: Record<string, unknown>
    try {
      event = JSON.parse(raw) as Record<string, unknown>
    } catch {
      return this.#brokenEvent(raw)
    }
    if (typeof event !== 'object' || event === null || Array.isArray(event)) {
      return { code: 'invalid_event', path: '', reason: 'an event must be a JSON object' }
    }
    const fault = (this.#surrogates ? brokenTextFault(event) : undefined) ?? door.validate(event)
    if (fault !== undefined) return fault
    const head = door.columns.head(event, raw, index, columns)
    if (typeof head !== 'string') return head
    const text = door.decimals === undefined ? raw : this.#withDecimals(raw, door.decimals)
    if (typeof text !== 'string') return text
    const line = this.#returns && (text.includes('\n') || text.includes('\r')) ? text.replaceAll(/[\r\n]/g, ' ') : text
    this.lines.write(joinLine(head, line), body.ascii && (!this.#escapes || isAsciiText(head)))
    return undefined
  }

  /** Quotes make an event longer, and the engine's buffers are made for the limit. */
  #withDecimals(raw: string, write: DecimalWriter): string | EventFault {
    const text = write(raw)
    return typeof text === 'string' && text !== raw ? (this.#sizeFault(text) ?? text) : text
  }

  #sizeFault(raw: string): EventFault | undefined {
    const { limits, body } = this.#input
    const { eventBytesMax, nestingMax } = limits
    if (
      raw.length > eventBytesMax ||
      (!body.ascii && raw.length * 3 > eventBytesMax && Buffer.byteLength(raw) > eventBytesMax)
    ) {
      return { code: 'event_too_large', path: '', reason: `an event may have at most ${eventBytesMax} bytes` }
    }
    if (raw.length > parseFreelyLength && extentOf(raw, 0, raw.length).levels > nestingMax) {
      return { code: 'event_too_deep', path: '', reason: `an event may have at most ${nestingMax} levels` }
    }
    return undefined
  }

  #brokenEvent(raw: string): EventFault {
    const { text } = this.#input.body
    const fault = findJsonFault(raw) ?? { offset: 0, reason: 'cannot be parsed' }
    const offset = this.#source.offset + fault.offset
    if (this.#source.whole) throw brokenJson(text, { offset, reason: fault.reason })
    const { line, column } = placeOf(text, offset)
    return { code: 'invalid_json', path: '', reason: `line ${line}, column ${column}: ${fault.reason}` }
  }
}

/** The stored line: system columns with a comma unless the event is empty, the client's bytes behind the opening brace. */
function joinLine(head: string, raw: string): string {
  const isEmpty = raw.charCodeAt(skipSpace(raw, 1, raw.length)) === closeBrace
  return isEmpty ? `${head.slice(0, -1)}}` : head + raw.slice(1)
}

const ascii = /^[\x20-\x7e]*$/

/** An escape such as \u00e9 in an ASCII body can become a letter of more bytes in the id. */
function isAsciiText(text: string): boolean {
  return ascii.test(text)
}
