/**
 * From when on a table has all of its rows (`freshet.retained-from`): retention says it in the commit that drops partitions. What a rollup has of
 * earlier buckets stands, since nobody can compute it again: those buckets are not touched, neither by the drop nor by what comes late (I9).
 */
import type { TableMetadata } from '../../lake/metadata.ts'
import { partitionRange } from '../../lake/partition.ts'
import type { ScanFile } from '../../lake/scan.ts'

const retainedKey = 'freshet.retained-from'

/** Microseconds since 1970; undefined where retention has dropped nothing. */
export function retainedFrom({ properties }: Pick<TableMetadata, 'properties'>): bigint | undefined {
  const text = properties[retainedKey]
  return text !== undefined && /^-?\d+$/.test(text) ? BigInt(text) : undefined
}

/**
 * The property that says so once these files are dropped. Where a table is cut by arrival, what arrived before its event's time is not
 * reckoned with: one clock that is ahead must not keep buckets of the future from being computed.
 */
export function withRetainedFrom(base: TableMetadata, dropped: readonly ScanFile[]): Record<string, string> {
  let from = retainedFrom(base)
  for (const { partition, partitionValue } of dropped) {
    if (partition === undefined || partitionValue === null) continue
    const { to } = partitionRange(partition.unit, partitionValue)
    if (from === undefined || to > from) from = to
  }
  return from === undefined ? {} : { [retainedKey]: String(from) }
}
