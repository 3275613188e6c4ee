/**
 * Keeps posted events that do not fit as dead letters, for a stream that wants it so: they are durable in the log of its letters before the
 * batch is answered (I1).
 *
 * A batch that is sent again, as nobody answered it, brings the same letters again. One that has a mark (producer and sequence, or an
 * Idempotency-Key) gives its letters the same ids each time, so they are recognised; one without a mark is a new batch to everybody.
 */
import { crc32 } from 'node:zlib'
import type { StreamDoor } from '../events/door.ts'
import { appendDeadLetters, type DeadLetter } from '../events/dead-letter.ts'
import { idIndex } from '../events/event-id.ts'
import type { BatchColumns } from '../events/system-columns.ts'
import type { BatchHeaders } from './batch-headers.ts'
import type { RejectedEvent } from './batch.ts'
import type { GatewayContext } from './context.ts'

export interface RejectedBatch {
  door: StreamDoor
  columns: BatchColumns
  headers: BatchHeaders
  /** The body as it was unpacked. */
  body: Buffer
}

/** @throws what `Log.append` throws; none of the events may be answered as kept then */
export async function keepRejected(
  { log, logHealth, metrics }: GatewayContext,
  rejected: readonly RejectedEvent[],
  batch: RejectedBatch,
): Promise<void> {
  const { door, columns, headers } = batch
  const place = placeOf(batch)
  const letters = rejected.map(({ fault, raw }): DeadLetter => {
    const { index, code, path, reason } = fault
    return {
      stream: door.name,
      stage: 'door',
      code,
      path,
      message: reason,
      event: raw,
      place: `${place}:${index}`,
      // What the event would have been called, where it brings no id: a replay calls it so.
      ...(door.plan.id === null && { eventId: columns.idStart + idIndex(index) }),
      failedAtMs: columns.receivedAtMs,
      eventTime: columns.receivedAt,
      receivedAt: columns.receivedAt,
      ...(headers.source !== undefined && { source: headers.source }),
    }
  })
  try {
    await appendDeadLetters(log, letters)
    logHealth.succeeded()
  } catch (error) {
    logHealth.failed(error)
    throw error
  }
  metrics.stream(door.name).deadLettered.inc(letters.length)
}

/** What all letters of a batch are called by; with the body's checksum, so that a mark that is used anew means other letters. */
function placeOf({ headers: { producer, idempotencyKey }, columns, body }: RejectedBatch): string {
  if (producer !== undefined) return `${producer.id}:${producer.sequence}:${crc32(body)}`
  return idempotencyKey === undefined ? columns.idStart : `${idempotencyKey}:${crc32(body)}`
}
