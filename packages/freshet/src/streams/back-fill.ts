/** What a table has of a stream, for consumers that are new to it: row by row in the order of arrival, as of one snapshot. */
import type { LoggedBatch, Position } from '../log/log.ts'
import type { LakePlace, RowPlace } from './place.ts'

export interface BackFill {
  /**
   * Keeps the newest snapshot of a stream's table for a consumer until `end`. undefined while there is no table.
   * @throws FreshetError `engine_unavailable`
   */
  begin(stream: string, consumer: string): Promise<{ snapshot: string; position: Position } | undefined>
  /** The next rows behind a place, as lines of the log; none at the end. @throws FreshetError `unknown_snapshot`, `engine_unavailable` */
  read(stream: string, place: LakePlace, bytesMax: number): Promise<BackFillRows>
  /** Lets the snapshot go. */
  end(stream: string, consumer: string): Promise<void>
}

export interface BackFillRows {
  bytes: Buffer
  /** Rows in `bytes`. */
  count: number
  /** As if they were in the log: by source and hour. */
  batches: LoggedBatch[]
  /** The last row; undefined without rows. */
  last: RowPlace | undefined
}
