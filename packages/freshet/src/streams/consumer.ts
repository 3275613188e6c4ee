/** The contract of a consumer: what is given the events of a stream, batch after batch, by a runner (runner.ts). */
import type { Identity } from './recent-events.ts'
import type { SourceBatch } from './source-batch.ts'

/** What is known of a batch before it is taken. */
export interface TakeContext {
  /** Number of the next batch that the consumer appends somewhere: grows with each, and is the same when a batch is taken again. */
  sequence: number
  /** Aborted when the runner stops. */
  signal: AbortSignal
}

export interface Consumer {
  /** `transform:<stream>` or `sink:<name>`. */
  readonly name: string
  /** The stream that it reads. */
  readonly from: string
  /** Hash of its code, for one that has any. */
  readonly version: string
  /** Whether a consumer that is new is given what the stream has already. */
  readonly startsAt: 'all' | 'new'
  /** What its events are known by, for one that is not to be given an event twice that the log has twice. */
  readonly identity?: Identity | undefined
  /** Bytes that it is given at once, roughly. */
  readonly batchBytesMax: number
  /**
   * The checkpoint that its target keeps: text of a place, '' for none yet, undefined where the target keeps none. Asked when it starts, and
   * after each failure.
   */
  checkpoint(): Promise<string | undefined>
  /** Work on a batch that may be done ahead, and anew: it changes nothing. `take` waits for it. */
  prepare?(batch: SourceBatch): void
  /**
   * Deals with a batch: resolves when all that came of it is durable, dead letters included. It is given the same batch again when it fails, and
   * may be after a crash.
   * @returns the sequence to go on with
   * @throws what may pass: the batch is taken again later
   */
  take(batch: SourceBatch, context: TakeContext): Promise<number>
  close(): Promise<void>
}
