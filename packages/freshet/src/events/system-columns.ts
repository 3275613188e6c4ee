/**
 * The start of a stored line, which the engine scans byte by byte:
 *
 *     {"_event_id":"<id>","_event_time":"YYYY-MM-DDTHH:MM:SS[.f{1,6}]Z","_received_at":"YYYY-MM-DDTHH:MM:SS.mmmZ","_source":"..."
 *
 * then a comma and the client's own bytes after its opening brace, untouched, and `\n`. `_source` is left out when there is none.
 */
import type { StreamPlan } from '../config/plan.ts'
import type { Arrival } from './arrival.ts'
import { idIndex, idText, type IdMaker } from './event-id.ts'
import { createTimeReader, type TimeReader } from './event-time.ts'
import { nameIn, namesOf } from './former-names.ts'
import { pointer, type EventFault } from './refusal.ts'

/** The parts of the system columns that all events of a batch share. */
export interface BatchColumns {
  receivedAtMs: number
  /** The arrival time, as stored. */
  receivedAt: string
  /** Start of the ids that are made for this batch. */
  idStart: string
  /** Everything from behind the event time's text to the comma that the client's bytes follow. */
  tail: string
  /** The latest event time so far, as stored; empty before the first event. */
  eventTimeMax: string
}

/** @param source the value of `_source`, printable ASCII, or undefined */
export function batchColumns(arrival: Arrival, ids: IdMaker, source: string | undefined): BatchColumns {
  const receivedAtMs = arrival.nowMs()
  const receivedAt = arrival.text()
  return {
    receivedAtMs,
    receivedAt,
    idStart: ids.batch(receivedAtMs),
    tail: `","_received_at":"${receivedAt}"${source === undefined ? '' : `,"_source":${JSON.stringify(source)}`},`,
    eventTimeMax: '',
  }
}

/** Whether a stored time is later than another one, or than none. */
function isLater(time: string, than: string): boolean {
  // Fractions of different length compare as digits only without the Z.
  return time.length === than.length ? time > than : time.slice(0, -1) > than.slice(0, -1)
}

/** Gives the start of each stored line of one stream. */
export class SystemColumns {
  readonly #idNames: readonly string[] | undefined
  readonly #timeNames: readonly string[] | undefined
  readonly #readTime: TimeReader | undefined

  /** @param plan where id and time are system columns, they are not in the event: whoever makes its line gives them */
  constructor({ id, time, renames }: Pick<StreamPlan, 'id' | 'time' | 'renames'>) {
    if (id !== null && id !== '_event_id') this.#idNames = namesOf(id, renames)
    if (time === null || time.field === '_event_time') return
    this.#timeNames = namesOf(time.field, renames)
    this.#readTime = createTimeReader(time)
  }

  /** The line's start up to the comma, or what is wrong with the event's id or time. */
  head(event: Record<string, unknown>, raw: string, index: number, batch: BatchColumns): string | EventFault {
    const id = this.id(event, raw, '')
    if (typeof id !== 'string') return id
    const time = this.time(event, batch.receivedAt)
    if (typeof time !== 'string') return time
    if (isLater(time, batch.eventTimeMax)) batch.eventTimeMax = time
    return `{"_event_id":"${id === '' ? batch.idStart + idIndex(index) : id}","_event_time":"${time}${batch.tail}`
  }

  /** The event's id as stored, `without` for a stream whose events bring none; or what is wrong with it. */
  id(event: Record<string, unknown>, raw: string, without: string): string | EventFault {
    if (this.#idNames === undefined) return without
    const field = nameIn(event, this.#idNames)
    const read = idText(event[field], raw, field)
    return typeof read === 'string' ? read : { code: 'invalid_event', path: pointer('', field), reason: read.reason }
  }

  /** The event's time as stored, `without` for a stream whose events bring none; or what is wrong with it. */
  time(event: Record<string, unknown>, without: string): string | EventFault {
    if (this.#readTime === undefined) return without
    const field = nameIn(event, this.#timeNames!)
    const value = event[field]
    const read = this.#readTime(value)
    if (typeof read === 'string') return read
    const reason = value === undefined ? 'is missing, and it is the time of the event' : read.reason
    return { code: 'invalid_event', path: pointer('', field), reason }
  }
}
