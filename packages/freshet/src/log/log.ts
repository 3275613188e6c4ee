/**
 * The contract of the log: durable, ordered within a partition, replayable.
 * A position is a 64-bit integer that only the backend interprets (a byte offset in the file log, a record offset in Kafka);
 * it names the place just after what was appended or read, and 0 is the start.
 */
export type Position = bigint

/** Position by partition number. */
export type Positions = ReadonlyMap<number, Position>

/** Events that are appended together, and become durable together or not at all. */
export interface AppendBatch {
  /** NDJSON: each line one event with its system columns spliced in, ended by `\n`. One or more buffers, in order. */
  lines: readonly Uint8Array[]
  /** How many lines there are; 0 for a heartbeat, which says only how far its source has reported. */
  count: number
  /** Arrival time, milliseconds since 1970. */
  receivedAtMs: number
  /** Who sent it: the `_source` of its events. */
  source?: string
  /**
   * The latest event time in the batch, or the time until which a heartbeat says that there is nothing (more) to come;
   * milliseconds since 1970, rounded down.
   */
  eventTimeMaxMs?: number
  /** Set together: the producer's name and this batch's number in its sequence (an integer from 0 below 2^53). */
  producer?: { id: string; sequence: number }
  /** The client's Idempotency-Key, with a checksum of the body it came with. */
  idempotency?: { key: string; checksum: number }
}

/** Where an appended batch is in the log, and what it is known by. */
export interface BatchPlace {
  partition: number
  from: Position
  /** The position behind it. */
  to: Position
  count: number
  receivedAtMs: number
  /**
   * Where the first batch of the partition with this arrival time begins: this one, or one before it. undefined when no other
   * batch has this arrival time.
   */
  sameArrivalFrom: Position | undefined
}

export interface Appended {
  /** Where the batch begins; for a duplicate the same as `position`. */
  from: Position
  position: Position
  /** True when the producer sequence or idempotency key was already durable: nothing was written this time. */
  duplicate: boolean
  /** Where the batch is; for a duplicate where the batch that it repeats is, left out when the log has forgotten that. */
  place?: BatchPlace
}

/** What the log knows of one batch in a chunk. */
export interface LoggedBatch {
  /** Its events; 0 for a heartbeat. */
  count: number
  /** Arrival time, milliseconds since 1970. */
  receivedAtMs: number
  source: string | undefined
  /** See `AppendBatch`. */
  eventTimeMaxMs: number | undefined
}

/** Durable bytes of one partition: whole NDJSON lines, events and frame lines (`{"_frame":...}`) in order. */
export interface Chunk {
  bytes: Buffer
  /** Where the next read continues. */
  next: Position
  /** Events in `bytes`. */
  count: number
  /** The batches in `bytes`, in order; their counts add up to `count`. */
  batches: readonly LoggedBatch[]
  /** Arrival time of the newest batch in the chunk, milliseconds since 1970; 0 for an empty chunk. */
  receivedAtMs: number
  /** A local file that holds just these bytes and changes no more, where there is one: a reader may have it read in place. */
  file?: string
}

export interface Log {
  /**
   * Appends a batch; resolves once it is durable (I1).
   * @throws FreshetError `log_unwritable` or `disk_full` (nothing of the batch is kept), `idempotency_conflict`, `sequence_gap`.
   */
  append(stream: string, batch: AppendBatch): Promise<Appended>
  /**
   * Durable bytes from `from` on (I2), whole batches, about `maxBytes` of them but at least one batch if there is one.
   * @throws FreshetError `log_trimmed` when the log no longer reaches back to `from`, `corrupt_log` when what is there is no whole
   * batch or a checksum does not match.
   */
  read(stream: string, partition: number, from: Position, maxBytes: number): Promise<Chunk>
  /** The durable end of each partition; empty for a stream that has no log. */
  ends(stream: string): Promise<Positions>
  /** Allows everything below the positions to be deleted (I7: the caller passes the minimum over all consumers). */
  trim(stream: string, below: Positions): Promise<void>
  /** Calls `onGrowth` soon after the durable end of any stream moves, with the stream's name. */
  subscribe(onGrowth: (stream: string) => void): () => void
}
