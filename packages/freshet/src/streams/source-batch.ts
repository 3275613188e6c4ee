/** What a consumer is given at once: events of its stream, in order, and the batches that they arrived in. */
import type { LoggedBatch } from '../log/log.ts'
import { isLakePlace, type Place, type RowPlace } from './place.ts'

export interface SourceBatch {
  /** Whole NDJSON lines, with frame lines among them or not. */
  bytes: Buffer
  /** Events in `bytes`; the first `skip` of them are dealt with already. */
  count: number
  skip: number
  /** Events, by index, that the consumer was given before as others: it is not given them again. */
  repeats?: ReadonlySet<number>
  /** Their batches, in order; the counts add up to `count`. Some have no events: heartbeats. */
  batches: readonly LoggedBatch[]
  /** Where the first batch begins. */
  from: Place
  to: Place
}

/** One event's line, without its end. */
export interface Line {
  start: number
  end: number
}

const lineFeed = 0x0a
/** Events' lines begin with `{"_e`, those of frames with `{"_f`. */
const tellingByte = 3
const frameLetter = 0x66

/** The lines of events in `bytes`, in order. */
export function* eventLines(bytes: Uint8Array): Generator<Line> {
  let start = 0
  while (start < bytes.length) {
    const found = bytes.indexOf(lineFeed, start)
    const end = found < 0 ? bytes.length : found
    if (end > start && bytes[start + tellingByte] !== frameLetter) yield { start, end }
    start = end + 1
  }
}

/**
 * The place behind the first events of a batch.
 * @param last the last of them, by which a place among rows of a table is known
 */
export function placeBehind(batch: SourceBatch, events: number, last: RowPlace | undefined): Place {
  const { from } = batch
  if (events === batch.count) return batch.to
  if (!isLakePlace(from)) return { log: from.log, skip: events }
  if (last === undefined) return from
  return { ...from, after: { receivedAt: last.receivedAt, eventTime: last.eventTime, id: last.id } }
}

/** Events that arrived one after the other from one source, within one hour: what the ledger counts together. */
export interface Run {
  /** Index of its first event in the batch. */
  first: number
  count: number
  source: string | undefined
  receivedAtMs: number
  eventTimeMaxMs: number | undefined
}

const hourMs = 3_600_000

/** The runs of batches. The same batches always have the same runs. */
export function runsOf(batches: readonly LoggedBatch[]): Run[] {
  const runs: Run[] = []
  let first = 0
  for (const { source, receivedAtMs, count, eventTimeMaxMs } of batches) {
    const last = runs.at(-1)
    if (
      last !== undefined &&
      last.source === source &&
      Math.floor(last.receivedAtMs / hourMs) === Math.floor(receivedAtMs / hourMs)
    ) {
      last.count += count
      last.receivedAtMs = Math.max(last.receivedAtMs, receivedAtMs)
      last.eventTimeMaxMs = later(last.eventTimeMaxMs, eventTimeMaxMs)
    } else {
      runs.push({ first, count, source, receivedAtMs, eventTimeMaxMs })
    }
    first += count
  }
  return runs
}

function later(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined) return b
  return b === undefined ? a : Math.max(a, b)
}
