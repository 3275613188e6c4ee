/** Turns the text of a body into the lines to append, and a list of what was rejected. */
import type { Plan } from '../config/plan.ts'
import { FreshetError } from '../runtime/errors.ts'
import { acceptEvent, brokenEvent, type AcceptContext } from '../events/accept-event.ts'
import { hasSurrogateEscape } from '../events/check-event.ts'
import type { BodyText } from './decode.ts'
import { brokenJson, openEvents, type BodyForm, type EventSource } from './events.ts'
import { findJsonFault, placeOf } from '../events/json-text.ts'
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
  /** The rejected events that are kept, in the order of their errors; those that are too large are not. */
  rejected: RejectedEvent[]
}

export interface RejectedEvent {
  fault: EventError
  /** The event's own text. */
  raw: string
}

export interface BatchInput {
  body: BodyText
  form: BodyForm
  door: StreamDoor
  columns: BatchColumns
  limits: Plan['limits']
  pool: ChunkPool
}

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
  readonly #context: AcceptContext
  /** Whether every line is one byte a character, whatever its id. */
  readonly #ascii: boolean

  constructor(input: BatchInput) {
    const { body, form, door, columns, limits, pool } = input
    const { text, ascii } = body
    this.#input = input
    this.#source = openEvents(text, form)
    this.lines = new LineWriter(pool, text.length)
    const escapes = text.includes('\\u')
    // An escape such as \u00e9 in an ASCII body can become a letter of more bytes in the id.
    this.#ascii = ascii && !escapes
    const surrogates = escapes && hasSurrogateEscape(text)
    this.#context = { door, columns, limits, ascii, surrogates, returns: form === 'json' || text.includes('\r') }
  }

  read(): ReadyBatch {
    const { limits, door } = this.#input
    const keeps = door.plan.invalid === 'dead-letter'
    const errors: EventError[] = []
    const rejected: RejectedEvent[] = []
    let index = 0
    for (let raw = this.#source.next(); raw !== undefined; raw = this.#source.next()) {
      if (index >= limits.batchEventsMax) {
        throw new FreshetError('batch_too_large', `A request may bring at most ${limits.batchEventsMax} events.`, {
          hint: 'Split the batch.',
        })
      }
      const fault = this.#accept(raw, index)
      if (fault !== undefined) {
        const error = { index, ...fault }
        errors.push(error)
        if (keeps && fault.code !== 'event_too_large') rejected.push({ fault: error, raw })
      }
      index++
    }
    return { lines: this.lines, count: index - errors.length, errors, rejected }
  }

  #accept(raw: string, index: number): EventFault | undefined {
    const line = acceptEvent(raw, index, this.#context)
    if (line === brokenEvent) return this.#broken(raw)
    if (typeof line !== 'string') return line
    this.lines.write(line, this.#ascii || (this.#context.ascii && ascii.test(line.slice(0, headLengthMax))))
    return undefined
  }

  #broken(raw: string): EventFault {
    const { text } = this.#input.body
    const fault = findJsonFault(raw) ?? { offset: 0, reason: 'cannot be parsed' }
    const offset = this.#source.offset + fault.offset
    if (this.#source.whole) throw brokenJson(text, { offset, reason: fault.reason })
    const { line, column } = placeOf(text, offset)
    return { code: 'invalid_json', path: '', reason: `line ${line}, column ${column}: ${fault.reason}` }
  }
}

const ascii = /^[\x20-\x7e]*$/
/** The system columns of a line are in front, within so many characters; behind them are the client's own bytes. */
const headLengthMax = 4096
