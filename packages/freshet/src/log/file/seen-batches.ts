/**
 * Which batches a partition has taken already: for each producer the sequence numbers, as ranges, and the newest idempotency
 * keys. What is known here is durable, or is being written (`pending`): a repeat that comes while the first is still on its way
 * shares its fate. A batch that carries both marks is known by its producer and sequence.
 *
 * Sequence numbers may arrive out of order (a producer may have several requests under way), so a number below the highest one
 * is not a repeat unless it was seen itself.
 *
 * Memory is bounded: what was used longest ago is forgotten first, a producer with all its numbers (recent-map.ts). A repeat that
 * comes after that is taken anew, and left to the engine's de-duplication by event id.
 *
 * Of the newest batches it is also known where they are, so that a repeat can be told what became of the first. That is forgotten
 * sooner, and does no harm when it is.
 */
import { crc32 } from 'node:zlib'
import { FreshetError } from '../../runtime/errors.ts'
import type { AppendBatch } from '../log.ts'
import { adjoins, contains, insert, type Ranges } from './ranges.ts'
import { RecentMap } from './recent-map.ts'

/** A producer that leaves more holes than this in its sequence is refused. */
export const rangesMax = 1000
/** Ranges that are remembered at least, over all producers: a producer that leaves no holes has one. */
const rangesKept = 100_000
/** Idempotency keys that are remembered at least, and for how long at most. */
const keysKept = 100_000
export const keyAgeMaxMs = 24 * 3600 * 1000

/** Batches whose places are remembered at least. */
const placesKept = 20_000

/** Where a batch is in the partition. */
export interface SeenPlace {
  from: number
  to: number
  count: number
  receivedAtMs: number
  /** See `BatchPlace`. */
  sameArrivalFrom: number | undefined
}

interface SeenKey {
  checksum: number
  at: number
}

/** The marks by which a batch is known again. */
export type Marks = Pick<AppendBatch, 'producer' | 'idempotency' | 'receivedAtMs'>

/** How much is remembered; tests use less. */
interface SeenLimits {
  rangesKept: number
  keysKept: number
  placesKept: number
}

/** What identifies a batch across repeats; `undefined` for one that carries neither mark. */
function nameOf(batch: Marks): string | undefined {
  if (batch.producer) return `p${batch.producer.sequence} ${batch.producer.id}`
  return batch.idempotency ? `k${batch.idempotency.key}` : undefined
}

export class SeenBatches<Outcome> {
  readonly #producers: RecentMap<Ranges>
  readonly #keys: RecentMap<SeenKey>
  /** By the batch's name. */
  readonly #places: RecentMap<SeenPlace>
  readonly #pending = new Map<string, { outcome: Promise<Outcome>; checksum: number | undefined }>()

  constructor(limits: SeenLimits = { rangesKept, keysKept, placesKept }) {
    this.#producers = new RecentMap(limits.rangesKept)
    this.#keys = new RecentMap(limits.keysKept)
    this.#places = new RecentMap(limits.placesKept)
  }

  /** True when the batch is durable already. @throws FreshetError `idempotency_conflict`, `sequence_gap` */
  has(batch: Marks): boolean {
    if (batch.producer) {
      const ranges = this.#producers.get(batch.producer.id) ?? []
      const { sequence } = batch.producer
      if (contains(ranges, sequence)) return true
      if (ranges.length >= rangesMax && !adjoins(ranges, sequence)) {
        throw new FreshetError(
          'sequence_gap',
          `Producer "${batch.producer.id}" has left ${ranges.length} gaps in its sequence; ${sequence} would open another.`,
          { hint: 'Number batches 0, 1, 2, ... and send each number until it is acknowledged.' },
        )
      }
      return false
    }
    if (!batch.idempotency) return false
    const seen = this.#keys.get(batch.idempotency.key)
    if (seen === undefined || batch.receivedAtMs - seen.at > keyAgeMaxMs) return false
    checkSame(batch.idempotency.checksum, seen.checksum, batch.idempotency.key)
    return true
  }

  /** Where a batch that is durable already is, unless that is forgotten. */
  placeOf(batch: Marks): SeenPlace | undefined {
    const name = nameOf(batch)
    return name === undefined ? undefined : this.#places.get(name)
  }

  /** The outcome of the same batch if it is being written right now. @throws FreshetError `idempotency_conflict` */
  pending(batch: Marks): Promise<Outcome> | undefined {
    const name = nameOf(batch)
    const found = name === undefined ? undefined : this.#pending.get(name)
    if (found?.checksum !== undefined && batch.idempotency) {
      checkSame(batch.idempotency.checksum, found.checksum, batch.idempotency.key)
    }
    return found?.outcome
  }

  /** Notes that a batch is being written; `settle` ends that. */
  track(batch: Marks, outcome: Promise<Outcome>): void {
    const name = nameOf(batch)
    if (name === undefined) return
    this.#pending.set(name, { outcome, checksum: batch.producer ? undefined : batch.idempotency?.checksum })
  }

  /**
   * Ends `track`: the batch is remembered if it has become durable, at `place`. The caller says so before it saves what `encode`
   * gives.
   */
  settle(batch: Marks, place: SeenPlace | undefined): void {
    const name = nameOf(batch)
    if (name === undefined) return
    this.#pending.delete(name)
    if (place !== undefined) this.add(batch, place)
  }

  /** Remembers a durable batch. */
  add(batch: Marks, place: SeenPlace): void {
    const name = nameOf(batch)
    if (name === undefined) return
    this.#places.set(name, place, 1)
    if (batch.producer) {
      const { id, sequence } = batch.producer
      const ranges = this.#producers.get(id) ?? []
      insert(ranges, sequence)
      this.#producers.set(id, ranges, ranges.length)
    } else if (batch.idempotency) {
      this.#keys.set(batch.idempotency.key, { checksum: batch.idempotency.checksum, at: batch.receivedAtMs }, 1)
    }
  }

  /** Everything durable that is known, as bytes with their checksum. */
  encode(nowMs: number): Buffer {
    const keys: [key: string, checksum: number, at: number][] = []
    for (const [key, { checksum, at }] of this.#keys.entries()) {
      if (nowMs - at <= keyAgeMaxMs) keys.push([key, checksum, at])
    }
    const places = [...this.#places.entries()].map(([name, place]) => [name, ...numbersOf(place)])
    const text = JSON.stringify({ producers: [...this.#producers.entries()], keys, places })
    return Buffer.from(`${crc32(text)}\n${text}\n`)
  }

  /** Takes over what `encode` wrote, or its former self, without places; false, and nothing changed, when the bytes are damaged. */
  decode(bytes: Buffer): boolean {
    const split = bytes.indexOf('\n')
    const text = bytes.subarray(split + 1, -1)
    if (split === -1 || bytes.at(-1) !== 10 || bytes.toString('latin1', 0, split) !== String(crc32(text))) return false
    const saved = JSON.parse(text.toString()) as SavedBatches
    for (const [id, ranges] of saved.producers) this.#producers.set(id, ranges, ranges.length)
    for (const [key, checksum, at] of saved.keys) this.#keys.set(key, { checksum, at }, 1)
    for (const [name, from, to, count, receivedAtMs, sameArrivalFrom] of saved.places ?? []) {
      this.#places.set(name, { from, to, count, receivedAtMs, sameArrivalFrom }, 1)
    }
    return true
  }
}

type PlaceNumbers = [from: number, to: number, count: number, receivedAtMs: number, sameArrivalFrom?: number]

interface SavedBatches {
  producers: [id: string, ranges: Ranges][]
  keys: [key: string, checksum: number, at: number][]
  places?: [name: string, ...PlaceNumbers][]
}

function numbersOf({ from, to, count, receivedAtMs, sameArrivalFrom }: SeenPlace): PlaceNumbers {
  return sameArrivalFrom === undefined
    ? [from, to, count, receivedAtMs]
    : [from, to, count, receivedAtMs, sameArrivalFrom]
}

function checkSame(checksum: number, before: number, key: string): void {
  if (checksum === before) return
  throw new FreshetError('idempotency_conflict', `Idempotency-Key "${key}" came before with a different body.`, {
    hint: 'Use a new key for a new body; send the same bytes again to repeat a request.',
  })
}
