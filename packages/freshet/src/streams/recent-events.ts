/**
 * Tells the events of a stream that its log has twice, by what SQL knows them by: the id, and the time where the stream declares one. A consumer
 * whose target would show the repeat is not given it.
 *
 * What is remembered is a window: the newest events in front of a place of the log, in memory. After a restart they are read from the log again, as far
 * back as it still goes: nothing holds the log for them, as an erasure waits until it is gone. So a repeat may pass, but nothing is ever
 * taken for one that is none.
 */
import type { StreamPlan } from '../config/plan.ts'
import type { Position } from '../log/log.ts'
import { FreshetError } from '../runtime/errors.ts'
import { isLakePlace, type Place } from './place.ts'
import { eventLines, type SourceBatch } from './source-batch.ts'

export interface RecentEventsOptions {
  identity: Identity
  /** Most events that are remembered. */
  eventsMax?: number
  /** Most bytes of the log that they have there. */
  bytesMax?: number
}

/** What two events must share to be the same one. */
export type Identity = 'id' | 'id and time'

/** Reads about so many bytes of the stream's log; `next` is behind them. */
export type ReadLog = (from: Position, bytesMax: number) => Promise<{ bytes: Buffer; next: Position }>

interface Part {
  from: Position
  bytes: number
  keys: string[]
}

const eventsDefault = 50_000
const bytesDefault = 32 * 1024 * 1024
const readBytesMax = 1024 * 1024
/** Places that are noted of a window: where the log has lost the first, a later one may be there. */
const marksMax = 8
/** What follows an id, or a time, in a line of the log (events/system-columns.ts); neither can have it, as quotes are escaped. */
const ends: Readonly<Record<Identity, string>> = { id: '","_event_time":"', 'id and time': '","_received_at":"' }

/** What the events of a stream are known by; undefined where they have no ids of their own, and so no repeats. */
export function identityOf({ id, time }: Pick<StreamPlan, 'id' | 'time'>): Identity | undefined {
  if (id === null) return undefined
  return time === null ? 'id' : 'id and time'
}

export class RecentEvents {
  readonly #end: string
  readonly #eventsMax: number
  readonly #bytesMax: number
  readonly #parts: Part[] = []
  readonly #keys = new Set<string>()
  #bytes = 0
  /** Up to where the window reaches; undefined while there is none. */
  #reach: Position | undefined

  constructor({ identity, eventsMax = eventsDefault, bytesMax = bytesDefault }: RecentEventsOptions) {
    this.#end = ends[identity]
    this.#eventsMax = eventsMax
    this.#bytesMax = bytesMax
  }

  /**
   * Makes the window be the one in front of a batch: unless it is that already, by reading the log again.
   * @param marks places in front of the batch at which an earlier window had parts, the first of them first
   */
  async goTo(batch: SourceBatch, marks: readonly Position[], read: ReadLog): Promise<void> {
    // What a table has, it has once.
    const to = isLakePlace(batch.from) ? undefined : batch.from.log
    if (to === this.#reach) return
    this.#forget()
    this.#reach = to
    if (to === undefined) return
    for (const mark of marks) {
      try {
        if (mark < to) await this.#readBack(mark, to, read)
        return
      } catch (error) {
        this.#forget()
        if (!(error instanceof FreshetError)) throw error
        // The log does not reach back so far, or is damaged there: whoever needs it will say so.
        if (error.code !== 'log_trimmed' && error.code !== 'corrupt_log') throw error
      }
    }
  }

  /** The events of a batch, by their index, that were in the window or before in the batch itself. */
  repeatsIn(batch: SourceBatch): number[] {
    const repeats: number[] = []
    const own = new Set<string>()
    let index = 0
    for (const key of this.#keysOf(batch.bytes)) {
      if (this.#keys.has(key) || own.has(key)) repeats.push(index)
      own.add(key)
      index++
    }
    return repeats
  }

  /** Adds a batch that is dealt with to the window, and forgets the oldest ones. */
  add({ from, to, bytes }: SourceBatch): void {
    if (isLakePlace(from) || isLakePlace(to)) return
    this.#append(from.log, bytes)
    this.#reach = to.log
  }

  /** Where the window in front of a place begins, and some of its later parts; undefined while it is another one. */
  marksAt(place: Place): Position[] | undefined {
    if (isLakePlace(place) || place.log !== this.#reach) return undefined
    const step = Math.max(1, Math.ceil(this.#parts.length / marksMax))
    return this.#parts.filter((_, index) => index % step === 0).map(({ from }) => from)
  }

  async #readBack(from: Position, to: Position, read: ReadLog): Promise<void> {
    for (let at = from; at < to;) {
      const { bytes, next } = await read(at, Math.min(readBytesMax, Number(to - at)))
      // What is behind the place is not dealt with: of a read that goes beyond it only the bytes in front belong to the window.
      if (next <= at || next - at !== BigInt(bytes.length)) return
      this.#append(at, next <= to ? bytes : bytes.subarray(0, Number(to - at)))
      at = next
    }
  }

  #append(from: Position, bytes: Buffer): void {
    const keys: string[] = []
    for (const key of this.#keysOf(bytes)) {
      if (this.#keys.has(key)) continue
      this.#keys.add(key)
      keys.push(key)
    }
    this.#parts.push({ from, bytes: bytes.length, keys })
    this.#bytes += bytes.length
    while (this.#parts.length > 1 && (this.#keys.size > this.#eventsMax || this.#bytes > this.#bytesMax)) {
      const oldest = this.#parts.shift()!
      this.#bytes -= oldest.bytes
      for (const key of oldest.keys) this.#keys.delete(key)
    }
  }

  #forget(): void {
    this.#parts.length = 0
    this.#keys.clear()
    this.#bytes = 0
  }

  *#keysOf(bytes: Buffer): Generator<string> {
    for (const { start, end } of eventLines(bytes)) {
      const found = bytes.indexOf(this.#end, start)
      // The whole line for one that is written otherwise: then nothing else is like it.
      yield bytes.toString('utf8', start, found < 0 || found > end ? end : found)
    }
  }
}
