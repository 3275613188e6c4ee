/** The event times that a replay is about. */
import { partitionRange, type PartitionUnit } from '../../lake/partition.ts'
import { identifier } from '../sql-text.ts'

/** Microseconds since 1970, `to` exclusive; undefined for no bound. */
export interface TimeRange {
  from: bigint | undefined
  to: bigint | undefined
}

export const allTimes: TimeRange = { from: undefined, to: undefined }

/** A condition for rows whose time is in the range. */
export function inRange(column: string, { from, to }: TimeRange): string {
  const name = identifier(column)
  const parts = [
    from === undefined ? '' : `${name} >= make_timestamptz(${from})`,
    to === undefined ? '' : `${name} < make_timestamptz(${to})`,
  ]
  return parts.filter((part) => part !== '').join(' AND ') || 'true'
}

export function rangeOfPartition(unit: PartitionUnit, partition: number): TimeRange {
  return partitionRange(unit, partition)
}

/** Whether values between two bounds can lie in the range. */
export function mayOverlap(
  { from, to }: TimeRange,
  { lower, upper }: { lower: bigint | undefined; upper: bigint | undefined },
): boolean {
  if (from !== undefined && upper !== undefined && upper < from) return false
  return !(to !== undefined && lower !== undefined && lower >= to)
}
