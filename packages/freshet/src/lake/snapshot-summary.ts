import { stringifyJson } from './json.ts'
import { formatPositions, positionsKey, type Snapshot } from './metadata.ts'
import type { Positions } from '../log/log.ts'

/** Snapshot summaries (Iceberg spec, Snapshots, and its optional summary fields): what a commit did, and what there is after it. */
type SnapshotOperation = 'append' | 'replace' | 'overwrite' | 'delete'

/** What a summary needs to know of a data or delete file. */
export interface FileFigures {
  /** 0 data, 1 position deletes, 2 equality deletes. */
  content: number
  recordCount: number
  bytes: number
  partition: unknown
}

export interface SummaryOptions {
  operation: SnapshotOperation
  parent: Snapshot | undefined
  added: readonly FileFigures[]
  removed: readonly FileFigures[]
  /** undefined for a table that was never loaded from a log. */
  positions: Positions | undefined
  /** Further fields; they cannot change the positions. */
  extra?: Record<string, string> | undefined
}

export function summaryOf({
  operation,
  parent,
  added,
  removed,
  positions,
  extra,
}: SummaryOptions): Record<string, string> {
  const data = { added: added.filter(isData), removed: removed.filter(isData) }
  const deletes = { added: added.filter(isDeletes), removed: removed.filter(isDeletes) }
  const partitions = new Set([...added, ...removed].map(({ partition }) => stringifyJson(partition)))
  const total = (name: string, change: number): Record<string, string> => {
    const before = parent === undefined ? '0' : parent.summary[name]
    return before === undefined ? {} : { [name]: String(BigInt(before) + BigInt(change)) }
  }
  const removedOnes =
    removed.length === 0
      ? {}
      : {
          'deleted-data-files': String(data.removed.length),
          'deleted-records': String(recordsOf(data.removed)),
          'removed-files-size': String(bytesOf(removed)),
        }
  const removedDeletes =
    deletes.removed.length === 0
      ? {}
      : {
          'removed-delete-files': String(deletes.removed.length),
          'removed-position-deletes': String(recordsOf(deletes.removed.filter(({ content }) => content === 1))),
        }
  return {
    operation,
    'added-data-files': String(data.added.length),
    'added-records': String(recordsOf(data.added)),
    'added-files-size': String(bytesOf(added)),
    ...removedOnes,
    ...removedDeletes,
    'changed-partition-count': String(partitions.size),
    ...total('total-records', recordsOf(data.added) - recordsOf(data.removed)),
    ...total('total-files-size', bytesOf(added) - bytesOf(removed)),
    ...total('total-data-files', data.added.length - data.removed.length),
    ...total('total-delete-files', deletes.added.length - deletes.removed.length),
    ...total('total-position-deletes', -recordsOf(deletes.removed.filter(({ content }) => content === 1))),
    ...total('total-equality-deletes', -recordsOf(deletes.removed.filter(({ content }) => content === 2))),
    ...extra,
    ...positionsField(positions),
  }
}

/** The summary field, and table property, of log positions. */
export function positionsField(positions: Positions | undefined): Record<string, string> {
  return positions === undefined ? {} : { [positionsKey]: formatPositions(positions) }
}

function isData({ content }: FileFigures): boolean {
  return content === 0
}

function isDeletes({ content }: FileFigures): boolean {
  return content !== 0
}

function recordsOf(files: readonly FileFigures[]): number {
  return files.reduce((sum, { recordCount }) => sum + recordCount, 0)
}

function bytesOf(files: readonly FileFigures[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0)
}
