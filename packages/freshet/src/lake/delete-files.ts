/**
 * Delete files (Iceberg spec, Row-level Deletes and Scan Planning): rows that another engine, or an erasure, took out of data files
 * without writing those anew. A position delete file is Parquet with the columns `file_path` and `pos`; a reader leaves out those rows.
 *
 * It applies to a data file when it is not older (sequence numbers), is of the same partition and spec, and its bounds for `file_path` do not
 * exclude the data file. Equality deletes, and deletion vectors (format version 3), are refused: leaving them out would show rows
 * that are deleted.
 */
import { FreshetError } from '../runtime/errors.ts'
import type { LoadedTable } from './catalog.ts'
import { stringifyJson } from './json.ts'
import type { ManifestEntry, ManifestFile } from './manifest.ts'
import { keyOf } from './table-paths.ts'

/** A position delete file that readers of a data file have to apply. */
export interface DeleteFile {
  /** Object store key. */
  key: string
  /** Path as the table's metadata has it. */
  path: string
  recordCount: number
  bytes: number
  sequenceNumber: number
}

/** Where a delete file applies. */
export interface DeleteScope {
  /** `partitionKey` of its partition. */
  partition: string
  sequenceNumber: number
  /** Paths of data files that it deletes from are not below or above these. */
  lower: Buffer | undefined
  upper: Buffer | undefined
}

/** A delete file and where it applies. */
export interface ScopedDelete {
  file: DeleteFile
  scope: DeleteScope
}

/** A data file, as far as deletes go. */
export interface DeleteTarget {
  path: string
  partition: string
  sequenceNumber: number
}

/** Field ids of a position delete file's columns. */
export const deleteFileFieldIds = { filePath: 2_147_483_546, pos: 2_147_483_545 } as const

/** Two files with the same key are of one spec and partition. */
export function partitionKey(specId: number, partition: Record<string, unknown>): string {
  return `${specId}:${stringifyJson(Object.values(partition))}`
}

/** What is known of a delete file from its manifest entry. @throws FreshetError `unsupported_table` for all but position deletes in Parquet */
export function deleteFileOf(table: LoadedTable, manifest: ManifestFile, entry: ManifestEntry): ScopedDelete {
  const { path, recordCount, bytes } = entry.file
  const format = entry.format.toUpperCase()
  if (entry.content === 2) throw unsupported(table, `equality deletes of another engine (${path})`)
  if (format === 'PUFFIN') throw unsupported(table, `deletion vectors of another engine (${path})`)
  if (format !== 'PARQUET') throw unsupported(table, `delete files in the format ${entry.format} (${path})`)
  const scope = scopeOf(manifest, entry)
  const { sequenceNumber } = scope
  return { file: { key: keyOf(table, path), path, recordCount, bytes, sequenceNumber }, scope }
}

/** Where a delete file applies, whatever its kind and format. */
export function scopeOf(manifest: ManifestFile, entry: ManifestEntry): DeleteScope {
  const { file, referencedDataFile } = entry
  const only = referencedDataFile === undefined ? undefined : Buffer.from(referencedDataFile, 'utf8')
  return {
    partition: partitionKey(manifest.specId, file.partition),
    sequenceNumber: entry.sequenceNumber ?? manifest.sequenceNumber,
    lower: only ?? file.lowerBounds.get(deleteFileFieldIds.filePath),
    upper: only ?? file.upperBounds.get(deleteFileFieldIds.filePath),
  }
}

/** Whether position deletes may be for a file, judged by all but their age. */
export function mayReach(scope: DeleteScope, file: Omit<DeleteTarget, 'sequenceNumber'>): boolean {
  if (scope.partition !== file.partition) return false
  const path = Buffer.from(file.path, 'utf8')
  if (scope.lower !== undefined && scope.lower.compare(path) > 0) return false
  // Bounds may be cut; not every writer rounds a cut upper one up.
  const cut = scope.upper !== undefined && path.subarray(0, scope.upper.length).equals(scope.upper)
  return scope.upper === undefined || cut || path.compare(scope.upper) <= 0
}

/** The delete files of a snapshot, found by the data files that they are for. */
export class DeleteIndex {
  readonly size: number
  readonly #byPartition: ReadonlyMap<string, ScopedDelete[]>

  constructor(deletes: readonly ScopedDelete[]) {
    this.size = deletes.length
    this.#byPartition = Map.groupBy(deletes, ({ scope }) => scope.partition)
  }

  /** Delete files that apply to a data file, by path. */
  of(target: DeleteTarget): DeleteFile[] {
    const candidates = this.#byPartition.get(target.partition)
    if (candidates === undefined) return []
    return candidates
      .filter(({ scope }) => target.sequenceNumber <= scope.sequenceNumber && mayReach(scope, target))
      .map(({ file }) => file)
      .toSorted((a, b) => (a.path < b.path ? -1 : 1))
  }
}

function unsupported(table: LoadedTable, what: string): FreshetError {
  return new FreshetError('unsupported_table', `The table ${table.name} has ${what}, which Freshet cannot apply.`, {
    hint: 'Have that engine rewrite the data files (for example with rewrite_data_files), and delete by copy-on-write or position deletes from then on.',
  })
}
