/** The events of the batch that a receipt names, as the log still has them. */
import type { Chunk, Log, Position } from '../../log/log.ts'
import { unknownReceipt, type Receipt } from '../../log/receipt.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { locateId, scanEvents, type Scope } from '../dedup/scan.ts'

/** An event, by what is needed to find it again. */
export interface BatchEvent {
  /** Its id and the partition that keeps it apart from others of that id (`eventKey`). */
  key: string
  /** Where its line starts in the log. */
  position: Position
}

/** What is read at once, unless a batch is larger. */
const readBytesMax = 1024 * 1024
/** Batches that arrived at the same time are not looked at beyond this much log. */
const sameArrivalBytesMax = 64n * 1024n * 1024n

/** One text for an id within its partition of event time. */
export function eventKey(partition: number, id: string): string {
  return `${partition} ${id}`
}

/** The id in a key. */
export function idInKey(key: string): string {
  return key.slice(key.indexOf(' ') + 1)
}

/**
 * The events of the batch, in order; undefined when the log has let go of it.
 * @throws FreshetError `unknown_receipt` when the log has something else there
 */
export async function readReceiptBatch(log: Log, receipt: Receipt, scope: Scope): Promise<BatchEvent[] | undefined> {
  const { text, from, to, count, receivedAtMs } = receipt
  const chunk = await readAt(log, receipt, from, Number(to - from))
  if (chunk === 'trimmed') return undefined
  const batch = chunk === 'none' ? undefined : chunk.batches[0]
  if (chunk === 'none' || batch?.count !== count || batch.receivedAtMs !== receivedAtMs) {
    throw unknownReceipt(text, 'no such batch begins at its place')
  }
  const { events, ends } = eventsOf(chunk.bytes, chunk.count, from, scope, count)
  if (ends !== to) throw unknownReceipt(text, 'the batch at its place ends elsewhere')
  return events
}

/** The events of the batches before it that arrived at the same time; undefined when the log does not reach back so far. */
export async function readSameArrival(log: Log, receipt: Receipt, scope: Scope): Promise<BatchEvent[] | undefined> {
  const { from, sameArrivalFrom = from } = receipt
  if (from - sameArrivalFrom > sameArrivalBytesMax) return undefined
  const found: BatchEvent[] = []
  for (let at = sameArrivalFrom; at < from;) {
    const chunk = await readAt(log, receipt, at, Number(from - at))
    if (typeof chunk === 'string') return undefined
    const { events } = eventsOf(chunk.bytes, chunk.count, at, scope, chunk.count)
    found.push(...events.filter(({ position }) => position < from))
    at = chunk.next
  }
  return found
}

async function readAt(log: Log, receipt: Receipt, at: Position, bytes: number): Promise<Chunk | 'trimmed' | 'none'> {
  // A segment that is trimmed at this moment is seen as such the second time.
  for (const last of [false, true]) {
    try {
      const chunk = await log.read(receipt.stream, receipt.partition, at, Math.min(bytes, readBytesMax))
      return chunk.next > at ? chunk : 'none'
    } catch (error) {
      const code = error instanceof FreshetError ? error.code : undefined
      if (code === 'log_trimmed') return 'trimmed'
      if (code !== 'corrupt_log') throw error
      // Whether the log is damaged, or the place was made up, is not for this one to say.
      if (last) return 'none'
    }
  }
  return 'none'
}

/** The first `wanted` events in `bytes`, which were read at `from`, and where the last of them ends. */
function eventsOf(
  bytes: Buffer,
  count: number,
  from: Position,
  scope: Scope,
  wanted: number,
): { events: BatchEvent[]; ends: Position } {
  const scanned = scanEvents(bytes, count, scope, 0)
  const id = { bytes, start: 0, end: 0 }
  const events: BatchEvent[] = []
  for (let index = 0; index < wanted; index++) {
    locateId(bytes, scanned, index, id)
    const key = eventKey(scanned.partition[index]!, id.bytes.toString('utf8', id.start, id.end))
    events.push({ key, position: from + BigInt(scanned.start[index]!) })
  }
  return { events, ends: from + BigInt(scanned.end[wanted - 1] ?? 0) }
}
