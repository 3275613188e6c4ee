/**
 * How far a consumer is in its stream. As text, it is the checkpoint that sinks keep without looking into it.
 *
 * A consumer that is new to a stream with history is first given what the table has, row by row in the order of arrival (`lake`), as of one
 * snapshot; then what the log has from the position on that the snapshot stands for (`log`).
 */
import type { Position } from '../log/log.ts'

/** Position of the log, where a batch begins, and how many of the events behind it are dealt with. */
export interface LogPlace {
  log: Position
  skip: number
}

/** A row of a snapshot's: everything up to it is dealt with. */
export interface LakePlace {
  /** The snapshot's id. */
  snapshot: string
  /** The log position that the snapshot stands for. */
  next: Position
  /** The row; undefined before the first. */
  after: RowPlace | undefined
}

/** What rows are ordered by. */
export interface RowPlace {
  receivedAt: string
  eventTime: string
  id: string
}

export type Place = LogPlace | LakePlace

export const logStart: Place = { log: 0n, skip: 0 }

export function isLakePlace(place: Place): place is LakePlace {
  return 'snapshot' in place
}

/** The log position below which a consumer at this place needs nothing. */
export function floorOf(place: Place): Position {
  return isLakePlace(place) ? place.next : place.log
}

export function formatPlace(place: Place): string {
  if (!isLakePlace(place)) {
    return JSON.stringify({ log: String(place.log), ...(place.skip > 0 && { skip: place.skip }) })
  }
  const { snapshot, next, after } = place
  return JSON.stringify({ snapshot, next: String(next), ...(after && { after }) })
}

/** @throws Error for text that is no place */
export function parsePlace(text: string): Place {
  const { log, skip = 0, snapshot, next, after } = JSON.parse(text) as Partial<Record<string, unknown>>
  if (typeof log === 'string' && Number.isSafeInteger(skip)) return { log: BigInt(log), skip: skip as number }
  if (typeof snapshot === 'string' && typeof next === 'string') {
    return { snapshot, next: BigInt(next), after: after as RowPlace | undefined }
  }
  throw new Error(`${text.slice(0, 200)} is no place in a stream`)
}
