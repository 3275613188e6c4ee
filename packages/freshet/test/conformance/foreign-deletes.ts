import type { LoadedTable } from '../../src/lake/catalog.ts'
import { deleteFileFieldIds } from '../../src/lake/delete-files.ts'
import {
  encodeManifestList,
  encodeRawManifest,
  entryStatus,
  manifestFormat,
  rawEntry,
  readManifestList,
  type ManifestEntry,
  type ManifestFile,
  type RawEntry,
} from '../../src/lake/manifest.ts'
import { currentSchema, currentSnapshot, defaultSpec, type Snapshot } from '../../src/lake/metadata.ts'
import { keyOf, pathOf } from '../../src/lake/table-paths.ts'
import { dayValue, type Lake } from './lake-fixture.ts'

/** A delete file of another engine. */
export interface ForeignDelete {
  name: string
  /** 1 position deletes (if left out), 2 equality deletes. */
  content?: number
  format?: string
  day?: number
  rows?: number
  /** Bounds of the paths that it deletes from. */
  lower?: string
  upper?: string
  /** The only data file that it is for, named as such. */
  referenced?: string
}

let made = 0

/** Commits delete files as another engine does: a snapshot of its own with one more manifest. The files are in the store. */
export async function commitDeletes(
  lake: Lake,
  table: LoadedTable,
  deletes: readonly ForeignDelete[],
): Promise<LoadedTable> {
  const { metadata } = table
  const parent = currentSnapshot(metadata)!
  const id = 9_000_000_000_000_000_000n + BigInt(++made)
  const sequenceNumber = metadata['last-sequence-number'] + 1
  const entries = deletes.map((one): RawEntry => {
    const raw = rawEntry(entryOf(table, one))
    return one.referenced === undefined
      ? raw
      : { ...raw, data_file: { ...raw.data_file, referenced_data_file: one.referenced } }
  })
  for (const { data_file: file } of entries)
    await lake.store.put(keyOf(table, file.file_path), Buffer.alloc(Number(file.file_size_in_bytes)))
  const spec = defaultSpec(metadata)
  const { schema, header } = manifestFormat(spec, currentSchema(metadata))
  const bytes = encodeRawManifest(
    { schema: withReferences(schema), header: { ...header, content: 'deletes' } },
    entries,
  )
  const path = pathOf(table, `metadata/foreign-${made}-m0.avro`)
  await lake.store.put(keyOf(table, path), bytes)
  const manifest: ManifestFile = {
    path,
    bytes: bytes.length,
    specId: spec['spec-id'],
    content: 1,
    sequenceNumber,
    minSequenceNumber: sequenceNumber,
    addedSnapshotId: id,
    addedFiles: deletes.length,
    existingFiles: 0,
    deletedFiles: 0,
    addedRows: deletes.reduce((sum, { rows = 1 }) => sum + rows, 0),
    existingRows: 0,
    deletedRows: 0,
    partitions: null,
    keyMetadata: null,
  }
  const list = pathOf(table, `metadata/snap-${id}.avro`)
  const before = await readManifestList(lake.store, keyOf(table, parent['manifest-list']))
  const identity = { id, parentId: parent['snapshot-id'], sequenceNumber }
  await lake.store.put(keyOf(table, list), encodeManifestList(identity, [...before, manifest]))
  const { 'freshet.positions': _ours, ...totals } = parent.summary
  const total = (name: string, more: number): Record<string, string> => ({
    [name]: String(Number(parent.summary[name] ?? 0) + more),
  })
  const positions = deletes.filter(({ content = 1 }) => content === 1)
  const snapshot: Snapshot = {
    'snapshot-id': id,
    'parent-snapshot-id': parent['snapshot-id'],
    'sequence-number': sequenceNumber,
    'timestamp-ms': metadata['last-updated-ms'],
    'manifest-list': list,
    summary: {
      ...totals,
      operation: 'overwrite',
      ...total('total-delete-files', deletes.length),
      ...total(
        'total-position-deletes',
        positions.reduce((sum, { rows = 1 }) => sum + rows, 0),
      ),
      ...total('total-equality-deletes', deletes.length - positions.length),
      ...total('total-files-size', deletes.length * 50),
    },
  }
  return lake.catalog.commit(table, {
    ...metadata,
    'last-sequence-number': sequenceNumber,
    snapshots: [...metadata.snapshots, snapshot],
    'current-snapshot-id': id,
    refs: { ...metadata.refs, main: { 'snapshot-id': id, type: 'branch' } },
    'snapshot-log': [...metadata['snapshot-log'], { 'snapshot-id': id, 'timestamp-ms': metadata['last-updated-ms'] }],
  })
}

function entryOf(table: LoadedTable, one: ForeignDelete): ManifestEntry {
  const { name, content = 1, format = 'PARQUET', day = dayValue, rows = 1, lower, upper } = one
  const bound = (text: string | undefined): Map<number, Buffer> =>
    new Map(text === undefined ? [] : [[deleteFileFieldIds.filePath, Buffer.from(text)]])
  return {
    status: entryStatus.added,
    snapshotId: null,
    sequenceNumber: null,
    fileSequenceNumber: null,
    content,
    format,
    file: {
      path: pathOf(table, `data/${name}`),
      partition: { _event_time_day: day },
      recordCount: rows,
      bytes: 50,
      columnSizes: new Map(),
      valueCounts: new Map(),
      nullValueCounts: new Map(),
      nanValueCounts: new Map(),
      lowerBounds: bound(lower),
      upperBounds: bound(upper),
    },
    splitOffsets: null,
    sortOrderId: null,
    keyMetadata: null,
  }
}

/** Another engine's schema of entries: with a field that ours does not have. */
function withReferences(schema: unknown): { type: string } {
  const record = structuredClone(schema) as { type: string; fields: { name: string; type: { fields: unknown[] } }[] }
  const file = record.fields.find(({ name }) => name === 'data_file')!
  file.type.fields.push({ name: 'referenced_data_file', type: ['null', 'string'], default: null, 'field-id': 143 })
  return record
}
