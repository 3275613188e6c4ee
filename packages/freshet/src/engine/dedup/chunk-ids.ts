/** The ids of a chunk's events, where they stand: what is looked up, and what is noted. */
import type { IdTable } from './id-table.ts'
import type { WantedIds } from './partition-ids.ts'
import { locateId, type IdBytes, type ScannedEvents } from './scan.ts'

export class ChunkIds implements WantedIds {
  readonly low: Uint32Array
  readonly high: Uint32Array
  readonly #bytes: Buffer
  readonly #events: ScannedEvents
  readonly #id: IdBytes
  readonly #other: IdBytes
  /** An open-addressing table of the events that `isFirst` was asked for: indexes plus 1, 0 for a free slot. */
  readonly #slots: Uint32Array

  /** @param count of how many events `isFirst` will be asked */
  constructor(bytes: Buffer, events: ScannedEvents, count: number) {
    this.low = events.low
    this.high = events.high
    this.#bytes = bytes
    this.#events = events
    this.#id = { bytes, start: 0, end: 0 }
    this.#other = { bytes, start: 0, end: 0 }
    this.#slots = new Uint32Array(2 ** Math.ceil(Math.log2(2 * count + 1)))
  }

  same(index: number, bytes: Uint8Array, start: number, end: number): boolean {
    locateId(this.#bytes, this.#events, index, this.#id)
    return sameBytes(this.#id, bytes, start, end)
  }

  inTable(table: IdTable, index: number): boolean {
    const id = this.#id
    locateId(this.#bytes, this.#events, index, id)
    return table.has(this.low[index]!, this.high[index]!, id.bytes, id.start, id.end)
  }

  /** False when `isFirst` was asked for another event with this id already. */
  isFirst(index: number): boolean {
    const slots = this.#slots
    const mask = slots.length - 1
    const low = this.low[index]!
    const high = this.high[index]!
    for (let slot = low & mask; ; slot = (slot + 1) & mask) {
      const other = slots[slot]! - 1
      if (other < 0) {
        slots[slot] = index + 1
        return true
      }
      if (this.low[other] !== low || this.high[other] !== high) continue
      const { bytes, start, end } = this.#located(other)
      if (this.same(index, bytes, start, end)) return false
    }
  }

  /** How many bytes the ids of these events take. */
  bytesOf(indexes: readonly number[]): number {
    let sum = 0
    for (const index of indexes) {
      const { start, end } = this.#located(index)
      sum += end - start
    }
    return sum
  }

  /** Adds the id of an event to a table that has room for it. */
  addTo(table: IdTable, index: number): void {
    const { bytes, start, end } = this.#located(index)
    table.add(this.low[index]!, this.high[index]!, bytes, start, end)
  }

  #located(index: number): IdBytes {
    locateId(this.#bytes, this.#events, index, this.#other)
    return this.#other
  }
}

function sameBytes(id: IdBytes, bytes: Uint8Array, start: number, end: number): boolean {
  if (id.end - id.start !== end - start) return false
  for (let at = id.start, to = start; to < end; at++, to++) if (id.bytes[at] !== bytes[to]) return false
  return true
}
