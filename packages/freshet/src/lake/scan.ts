import { FreshetError } from '../runtime/errors.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { decodeLong } from './bound-values.ts'
import type { LoadedTable } from './catalog.ts'
import { DeleteIndex, deleteFileOf, partitionKey, type DeleteFile, type ScopedDelete } from './delete-files.ts'
import { entryStatus, readManifest, readManifestList, type ManifestEntry, type ManifestFile } from './manifest.ts'
import { currentSchema, currentSnapshot, type Snapshot } from './metadata.ts'
import { timeColumnOf, timePartitionOf, type TimePartition } from './partition.ts'
import { keyOf } from './table-paths.ts'

/** A live data file of a snapshot. */
export interface ScanFile {
  /** Object store key. */
  key: string
  /** Path as the table's metadata has it. */
  path: string
  specId: number
  /** Files with the same one are of one partition spec and partition, whatever the spec. */
  partitionKey: string
  /** How the file is partitioned by time; undefined for a spec that Freshet does not write. */
  partition: TimePartition | undefined
  /** Its partition value; null for rows without the time, or without such a partition. */
  partitionValue: number | null
  recordCount: number
  bytes: number
  /** Position deletes that whoever reads the file has to apply; `recordCount` includes the rows that they take out. */
  deletes: readonly DeleteFile[]
  /** No `_event_id` in the file is below or above these; cut to 16 characters. */
  eventId: { lower: string | undefined; upper: string | undefined }
  /** Likewise `_event_time`, or `bucket` in a table without events; microseconds since 1970. */
  eventTime: { lower: bigint | undefined; upper: bigint | undefined }
  /** Likewise `_received_at`. */
  receivedAt: { lower: bigint | undefined; upper: bigint | undefined }
  /** The snapshot that added it. */
  snapshotId: bigint
  sequenceNumber: number
}

/** The files of one snapshot. A plan is never changed: hand it to `planScan` for the next one. */
export interface ScanPlan {
  /** null for an empty table. */
  snapshotId: bigint | null
  files: readonly ScanFile[]
  /** What came and went since the plan that this one was made from; all files for a first plan. */
  added: readonly ScanFile[]
  removed: readonly ScanFile[]
  /** Files, as they are in `files`, that were there before and have other `deletes` than they had. */
  changed: readonly ScanFile[]
  /** Files by manifest path, what the next plan need not read again. */
  manifests: ReadonlyMap<string, readonly ScanFile[]>
  /** Likewise the delete files. */
  deletes: ReadonlyMap<string, readonly ScopedDelete[]>
  /** The snapshot's manifests of data files, as its manifest list has them: what `manifests` has, with partition bounds. */
  list: readonly ManifestFile[]
}

/**
 * The data files of a snapshot (the current one if none is given), each with the deletes to apply to it. With `previous`, a plan of the
 * same table, only manifests that it did not have are read: after an append of our own that is one. With `only`, the plan has no more
 * than the files of such manifests; its `list` has all. `onRead` is told the entries of each manifest of data files that is read.
 * @throws FreshetError `unsupported_table` when another engine left equality deletes, deletion vectors or files that are not Parquet,
 * `corrupt_table` when a manifest is missing or damaged.
 */
export async function planScan(
  store: ObjectStore,
  table: LoadedTable,
  options: {
    snapshot?: Snapshot
    previous?: ScanPlan
    only?: (manifest: ManifestFile) => boolean
    onRead?: (manifest: ManifestFile, entries: readonly ManifestEntry[]) => void
  } = {},
): Promise<ScanPlan> {
  const snapshot = options.snapshot ?? currentSnapshot(table.metadata)
  const before = options.previous?.manifests ?? new Map<string, readonly ScanFile[]>()
  const manifests = new Map<string, readonly ScanFile[]>()
  const added = new Map<string, ScanFile>()
  const removed = new Map<string, ScanFile>()
  const rows = snapshot === undefined ? [] : await readManifestList(store, keyOf(table, snapshot['manifest-list']))
  const list = rows.filter(({ content }) => content === 0)
  const paths = new Set(list.map((manifest) => manifest.path))
  for (const [path, files] of before) {
    if (!paths.has(path)) for (const file of files) removed.set(file.path, file)
  }
  for (const manifest of list) {
    if (options.only?.(manifest) === false) continue
    const known = before.get(manifest.path)
    if (known !== undefined) {
      manifests.set(manifest.path, known)
      continue
    }
    const files: ScanFile[] = []
    const entries = await readManifest(store, keyOf(table, manifest.path), manifest)
    options.onRead?.(manifest, entries)
    for (const entry of entries) {
      if (entry.status === entryStatus.deleted) continue
      // A merge moves files to another manifest: they neither come nor go.
      const moved = removed.get(entry.file.path)
      const file = moved ?? scanFile(table, manifest, entry)
      if (moved === undefined) added.set(file.path, file)
      else removed.delete(file.path)
      files.push(file)
    }
    manifests.set(manifest.path, files)
  }
  const deletes = await readDeletes(store, table, rows, options.previous)
  const changed = applyDeletes(manifests, deletes, added)
  return {
    snapshotId: snapshot?.['snapshot-id'] ?? null,
    files: [...manifests.values()].flat(),
    added: [...added.values()],
    removed: [...removed.values()],
    changed,
    manifests,
    deletes,
    list,
  }
}

async function readDeletes(
  store: ObjectStore,
  table: LoadedTable,
  rows: readonly ManifestFile[],
  previous: ScanPlan | undefined,
): Promise<Map<string, readonly ScopedDelete[]>> {
  const deletes = new Map<string, readonly ScopedDelete[]>()
  for (const manifest of rows) {
    if (manifest.content === 0) continue
    const known = previous?.deletes.get(manifest.path)
    if (known !== undefined) {
      deletes.set(manifest.path, known)
      continue
    }
    const entries = await readManifest(store, keyOf(table, manifest.path), manifest)
    const live = entries.filter(({ status }) => status !== entryStatus.deleted)
    deletes.set(
      manifest.path,
      live.map((entry) => deleteFileOf(table, manifest, entry)),
    )
  }
  return deletes
}

/** Puts the deletes that apply to each file into it, in place of those it had; returns the files that have changed by it. */
function applyDeletes(
  manifests: Map<string, readonly ScanFile[]>,
  deletes: ReadonlyMap<string, readonly ScopedDelete[]>,
  added: Map<string, ScanFile>,
): ScanFile[] {
  const index = new DeleteIndex([...deletes.values()].flat())
  const changed: ScanFile[] = []
  const current = (file: ScanFile): ScanFile => {
    const found = index.of({ path: file.path, partition: file.partitionKey, sequenceNumber: file.sequenceNumber })
    if (samePaths(found, file.deletes)) return file
    const next = { ...file, deletes: found }
    if (added.has(file.path)) added.set(file.path, next)
    else changed.push(next)
    return next
  }
  for (const [path, files] of manifests) {
    if (index.size > 0 || files.some((file) => file.deletes.length > 0)) manifests.set(path, files.map(current))
  }
  return changed
}

function samePaths(a: readonly DeleteFile[], b: readonly DeleteFile[]): boolean {
  return a.length === b.length && a.every(({ path }, index) => path === b[index]!.path)
}

/** What a scan needs to know of a manifest entry. @throws FreshetError `unsupported_table` */
export function scanFile(table: LoadedTable, manifest: ManifestFile, entry: ManifestEntry): ScanFile {
  const { file } = entry
  if (entry.format.toUpperCase() !== 'PARQUET') {
    throw new FreshetError(
      'unsupported_table',
      `The table ${table.name} has the file ${file.path} in the format ${entry.format}; Freshet reads Parquet.`,
      {
        hint: 'Another engine wrote it: set write.format.default to parquet there and rewrite the file.',
      },
    )
  }
  const schema = currentSchema(table.metadata)
  const idOf = (name: string): number => schema.fields.find((field) => field.name === name)?.id ?? -1
  const spec = table.metadata['partition-specs'].find((candidate) => candidate['spec-id'] === manifest.specId)
  const partition = spec && timePartitionOf(spec, schema)
  const value = partition && file.partition[partition.name]
  const eventId = idOf('_event_id')
  const eventTime = idOf(timeColumnOf(schema))
  const receivedAt = idOf('_received_at')
  return {
    key: keyOf(table, file.path),
    path: file.path,
    specId: manifest.specId,
    partitionKey: partitionKey(manifest.specId, file.partition),
    partition,
    partitionValue: typeof value === 'number' ? value : null,
    recordCount: file.recordCount,
    bytes: file.bytes,
    deletes: [],
    eventId: {
      lower: file.lowerBounds.get(eventId)?.toString('utf8'),
      upper: file.upperBounds.get(eventId)?.toString('utf8'),
    },
    eventTime: {
      lower: decodeLong(file.lowerBounds.get(eventTime)),
      upper: decodeLong(file.upperBounds.get(eventTime)),
    },
    receivedAt: {
      lower: decodeLong(file.lowerBounds.get(receivedAt)),
      upper: decodeLong(file.upperBounds.get(receivedAt)),
    },
    snapshotId: entry.snapshotId ?? manifest.addedSnapshotId,
    sequenceNumber: entry.sequenceNumber ?? manifest.sequenceNumber,
  }
}
