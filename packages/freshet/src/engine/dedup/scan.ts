/**
 * Finds the events in a chunk of log bytes without parsing them: the gateway writes each line's id and time first, in one form.
 *
 *     {"_event_id":"<id>","_event_time":"YYYY-MM-DDTHH:...
 *
 * The id is hashed as its UTF-8 bytes, unescaped, with a random seed: 64 bits, of which nobody outside can make two collide on
 * purpose.
 */
import { daysFromCivil, partitionValueAt } from '../../lake/partition.ts'

const opening = Buffer.from('{"_event_id":"')
const between = '","_event_time":"'.length
const quote = 34
const backslash = 92
const newline = 10

/** The unit of time by which ids are kept apart; `table`: not at all. */
export type Scope = 'hour' | 'day' | 'month' | 'table'

/** The events of a chunk in order; entry i of each array belongs to event i. Offsets are bytes from the chunk's start. */
export interface ScannedEvents {
  count: number
  start: Uint32Array
  /** Behind the line's newline. */
  end: Uint32Array
  /** Where the id ends: its closing quote. */
  idEnd: Uint32Array
  /** The ids that are written with escapes, as their own UTF-8 bytes; all others are in the chunk as they are. */
  unescaped: Map<number, Buffer>
  low: Uint32Array
  high: Uint32Array
  /** Which partition the event's id belongs to: hours, days or months since 1970, or 0 for scope `table`. */
  partition: Int32Array
}

/** Scans `bytes`, whole lines with `count` events and any number of frame lines. */
export function scanEvents(bytes: Buffer, count: number, scope: Scope, seed: number): ScannedEvents {
  const events: ScannedEvents = {
    count: 0,
    start: new Uint32Array(count),
    end: new Uint32Array(count),
    idEnd: new Uint32Array(count),
    unescaped: new Map(),
    low: new Uint32Array(count),
    high: new Uint32Array(count),
    partition: new Int32Array(count),
  }
  const hash = new IdHash(seed)
  let at = 0
  while (at < bytes.length) {
    const found = bytes.indexOf(newline, at)
    const end = found === -1 ? bytes.length : found + 1
    if (isEvent(bytes, at)) {
      const index = events.count++
      const idStart = at + opening.length
      const idEnd = hash.ofText(bytes, idStart)
      events.start[index] = at
      events.end[index] = end
      events.idEnd[index] = idEnd
      if (hash.unescaped !== undefined) events.unescaped.set(index, hash.unescaped)
      events.low[index] = hash.low
      events.high[index] = hash.high
      events.partition[index] = partitionAt(bytes, idEnd + between, scope)
    }
    at = end
  }
  return events
}

/** Where an id's own UTF-8 bytes lie. */
export interface IdBytes {
  bytes: Buffer
  start: number
  end: number
}

/** Points `id` at the id of event `index`. */
export function locateId(bytes: Buffer, events: ScannedEvents, index: number, id: IdBytes): void {
  const unescaped = events.unescaped.size === 0 ? undefined : events.unescaped.get(index)
  id.bytes = unescaped ?? bytes
  id.start = unescaped ? 0 : events.start[index]! + opening.length
  id.end = unescaped ? unescaped.length : events.idEnd[index]!
}

function isEvent(bytes: Buffer, at: number): boolean {
  // `{"_e` tells an event from a frame line (`{"_f`); the lines are ours, checked by the frame's checksum.
  return bytes[at + 3] === opening[3]
}

function closingQuote(bytes: Buffer, start: number): number {
  let at = start
  while (bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1
  return at
}

/** The hash of one id at a time, in `low` and `high`. */
export class IdHash {
  low = 0
  high = 0
  /** The bytes of the id that `ofText` hashed last, if it was written with escapes. */
  unescaped: Buffer | undefined
  readonly #seed: number

  constructor(seed: number) {
    this.#seed = seed | 0
  }

  /** Hashes the JSON string that starts at `start`, behind its opening quote; returns the offset of its closing quote. */
  ofText(bytes: Buffer, start: number): number {
    let low = this.#seed ^ 0x9e3779b9
    let high = this.#seed ^ 0x85ebca6b
    let at = start
    this.unescaped = undefined
    for (;;) {
      const byte = bytes[at]!
      if (byte === quote) break
      if (byte === backslash) {
        const end = closingQuote(bytes, at)
        const id = Buffer.from(JSON.parse(`"${bytes.toString('utf8', start, end)}"`) as string)
        this.ofBytes(id, 0, id.length)
        this.unescaped = id
        return end
      }
      low = Math.imul(low ^ byte, 0x01000193)
      high = Math.imul(high ^ byte, 0x5bd1e995) + (low >>> 15)
      at++
    }
    this.#finish(low, high)
    return at
  }

  /** Hashes the id whose UTF-8 bytes lie from `start` to `end`. */
  ofBytes(bytes: Buffer, start: number, end: number): void {
    let low = this.#seed ^ 0x9e3779b9
    let high = this.#seed ^ 0x85ebca6b
    for (let at = start; at < end; at++) {
      const byte = bytes[at]!
      low = Math.imul(low ^ byte, 0x01000193)
      high = Math.imul(high ^ byte, 0x5bd1e995) + (low >>> 15)
    }
    this.#finish(low, high)
  }

  #finish(low: number, high: number): void {
    this.low = avalanche(low ^ (high >>> 13))
    this.high = avalanche(high ^ Math.imul(low, 0x27d4eb2f))
  }
}

function avalanche(value: number): number {
  let mixed = value
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x7feb352d)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846ca68b)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

function partitionAt(bytes: Buffer, at: number, scope: Scope): number {
  if (scope === 'table') return 0
  const year = digits(bytes, at, 4)
  const month = digits(bytes, at + 5, 2)
  if (scope === 'month') return (year - 1970) * 12 + month - 1
  const day = daysFromCivil(year, month, digits(bytes, at + 8, 2))
  return scope === 'day' ? day : day * 24 + digits(bytes, at + 11, 2)
}

function digits(bytes: Buffer, at: number, count: number): number {
  let value = 0
  for (let index = at; index < at + count; index++) value = value * 10 + bytes[index]! - 48
  return value
}

/** The partition of a time in microseconds since 1970. */
export function partitionOf(epochMicros: bigint, scope: Scope): number {
  if (scope === 'table') return 0
  return partitionValueAt(scope, epochMicros)
}
