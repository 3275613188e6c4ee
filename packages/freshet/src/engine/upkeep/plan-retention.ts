/**
 * Decides which data files go because all of their partition is older than the stream keeps events. Only whole partitions go, by their
 * own width (a file of a former partitioning by its own), so that it is a change of metadata alone; a partition that the limit cuts
 * across stays whole until all of it is past. Age is by the time that the partitions are cut by.
 */
import { partitionRange, partitionText } from '../../lake/partition.ts'
import type { ScanFile } from '../../lake/scan.ts'

/** A partition that is past. */
export interface PastPartition {
  partition: string
  files: readonly ScanFile[]
}

export interface RetentionPlan {
  /** Oldest first. */
  past: readonly PastPartition[]
  /** In words: why nothing else goes. */
  reason: string
}

/** @param nowMs a time that can be trusted (trusted-clock.ts) */
export function planRetention(files: readonly ScanFile[], retainMs: number, nowMs: number): RetentionPlan {
  const limitUs = BigInt(Math.floor(nowMs - retainMs)) * 1000n
  const past = files.filter((file) => endOf(file) !== undefined && endOf(file)! <= limitUs)
  const byPartition = Map.groupBy(past, (file) => partitionText(file.partition!.unit, file.partitionValue!))
  const sorted = [...byPartition].toSorted(([, [a]], [, [b]]) => (endOf(a!)! < endOf(b!)! ? -1 : 1))
  const unknown = files.filter((file) => endOf(file) === undefined).length
  const limit = new Date(nowMs - retainMs).toISOString()
  const others = unknown === 0 ? '' : `; ${unknown} files have no time partition that Freshet knows, and stay`
  return {
    past: sorted.map(([partition, members]) => ({ partition, files: members })),
    reason: `no other partition ends before ${limit}${others}`,
  }
}

/** End of a file's partition, microseconds since 1970. */
function endOf({ partition, partitionValue }: ScanFile): bigint | undefined {
  if (partition === undefined || partitionValue === null) return undefined
  return partitionRange(partition.unit, partitionValue).to
}
