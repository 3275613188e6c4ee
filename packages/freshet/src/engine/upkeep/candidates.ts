/**
 * Which present partition each live data file belongs to, or why compaction leaves it alone.
 *
 * Files of a former partitioning (another column or unit) are written into the present one only where that costs nothing extra: all
 * their rows lie in one present partition, and there are others to merge them with (plan-compaction.ts). A file that spans several, as
 * after a change from day to hour, stays as it is: cutting it up would make more files, not fewer, and queries prune by its bounds anyway.
 */
import { columnTypeText } from '../../config/column-types.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema, defaultSpec, snapshotById } from '../../lake/metadata.ts'
import {
  partitionRange,
  partitionText,
  partitionValueAt,
  timePartitionOf,
  type TimePartition,
} from '../../lake/partition.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { columnsOf } from '../../lake/schema.ts'
import { isReadOnly } from '../columns.ts'
import type { CandidateFile } from './plan-compaction.ts'

/** A candidate, and the file it stands for. */
export interface Candidate extends CandidateFile {
  file: ScanFile
}

/** Files that are left alone together, for one reason. */
interface LeftFiles {
  /** In words; null where there are several. */
  partition: string | null
  files: number
  bytes: number
  rows: number
  reason: string
}

export interface Candidates {
  /** How the table's new files are cut; undefined for a table that another engine cuts in a way that Freshet does not write. */
  time: TimePartition | undefined
  candidates: Candidate[]
  left: LeftFiles[]
}

export function candidatesOf(table: LoadedTable, files: readonly ScanFile[]): Candidates {
  const time = timePartitionOf(defaultSpec(table.metadata), currentSchema(table.metadata))
  if (time === undefined) {
    const reason = 'the table is partitioned in a way that Freshet does not write'
    return { time, candidates: [], left: files.length === 0 ? [] : [leftOf(null, reason, files)] }
  }
  const foreign = columnsOf(currentSchema(table.metadata)).find(isReadOnly)
  if (foreign !== undefined) {
    const reason = `column ${foreign.name} has the type ${columnTypeText(foreign.type)}, which Freshet reads and does not write`
    return { time, candidates: [], left: files.length === 0 ? [] : [leftOf(null, reason, files)] }
  }
  const candidates: Candidate[] = []
  const left = new Map<string, { partition: string | null; reason: string; files: ScanFile[] }>()
  for (const file of files) {
    const place = placeOf(file, time)
    if (typeof place === 'number') {
      const { path, bytes, recordCount: rows, deletes } = file
      const addedMs = snapshotById(table.metadata, file.snapshotId)?.['timestamp-ms']
      candidates.push({ path, bytes, rows, partition: place, deletes: deletes.length, addedMs, file })
      continue
    }
    const partition = file.partition && file.partitionValue !== null ? ownPartition(file) : null
    const key = `${partition} ${place.reason}`
    const group = left.get(key) ?? { partition, reason: place.reason, files: [] }
    group.files.push(file)
    left.set(key, group)
  }
  return { time, candidates, left: [...left.values()].map((one) => leftOf(one.partition, one.reason, one.files)) }
}

/** The value of the present partition that has all rows of a file. */
function placeOf(file: ScanFile, time: TimePartition): number | { reason: string } {
  const own = file.partition
  if (own === undefined) return { reason: 'partitioned in a way that Freshet does not write' }
  if (file.partitionValue === null) return { reason: 'its rows have no time' }
  if (own.column === time.column && own.unit === time.unit) return file.partitionValue
  const range = own.column === time.column ? partitionRange(own.unit, file.partitionValue) : undefined
  const bounds = time.column === '_received_at' ? file.receivedAt : file.eventTime
  const lower = bounds.lower ?? range?.from
  const upper = bounds.upper ?? (range && range.to - 1n)
  if (lower !== undefined && upper !== undefined) {
    const first = partitionValueAt(time.unit, lower)
    if (first === partitionValueAt(time.unit, upper)) return first
  }
  return { reason: `of the former partitioning by ${own.unit}, and spans several partitions of the present one` }
}

function ownPartition({ partition, partitionValue }: ScanFile): string {
  return partitionText(partition!.unit, partitionValue!)
}

function leftOf(partition: string | null, reason: string, files: readonly ScanFile[]): LeftFiles {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  return { partition, files: files.length, bytes, rows: files.reduce((sum, file) => sum + file.recordCount, 0), reason }
}

/** Delete files that nothing needs once these data files are gone: they apply to no other. */
export function deletesDoneWith(all: readonly ScanFile[], gone: readonly ScanFile[]): string[] {
  const done = new Set(gone.flatMap(({ deletes }) => deletes.map(({ path }) => path)))
  if (done.size === 0) return []
  const leaving = new Set(gone.map(({ path }) => path))
  for (const file of all) if (!leaving.has(file.path)) for (const { path } of file.deletes) done.delete(path)
  return [...done]
}
