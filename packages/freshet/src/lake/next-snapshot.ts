import type { Positions } from '../log/log.ts'
import { expireExcess } from './snapshot-cap.ts'
import { nextLedger, type LedgerDelta } from './ledger.ts'
import { encodeManifestList, readManifestList, type ManifestFile } from './manifest.ts'
import type { ManifestWriter } from './manifest-writer.ts'
import { currentSchema, currentSnapshot, uuid, type Snapshot, type TableMetadata } from './metadata.ts'
import type { Attempt, CommitDeps } from './snapshot-commit.ts'
import { positionsField } from './snapshot-summary.ts'
import { keyOf, pathOf } from './table-paths.ts'

const snapshotsMaxDefault = 200

/** What a new snapshot of `writer.table` is to be. */
export interface SnapshotParts {
  /** The table's metadata, or that with a schema that enters with the snapshot. */
  metadata: TableMetadata
  /** What its sequence of ancestors goes on from: the current snapshot, but for a rollback. */
  parent: Snapshot | undefined
  manifests: readonly ManifestFile[]
  summary: Record<string, string>
  /** Log positions that the table holds with it. */
  positions: Positions | undefined
  /** What is added to the ledger. */
  ledger?: LedgerDelta | undefined
  /** Table properties that are set with it. */
  properties?: Record<string, string> | undefined
}

/** Writes a snapshot's manifest list, and gives the metadata that has the snapshot as its current one. */
export async function nextSnapshot(deps: CommitDeps, writer: ManifestWriter, parts: SnapshotParts): Promise<Attempt> {
  const base = writer.table.metadata
  const { metadata, parent, manifests } = parts
  const sequenceNumber = nextSequenceNumber(base)
  const ledger =
    parts.ledger === undefined || parts.positions === undefined
      ? { properties: {}, added: [], doomed: [] }
      : await nextLedger({ ...writer, logger: deps.logger }, parts.positions, parts.ledger)

  const id = writer.snapshotId
  const list = pathOf(writer.table, `metadata/snap-${id}-${uuid(deps.random)}.avro`)
  const listKey = keyOf(writer.table, list)
  writer.written.push(listKey)
  await deps.store.put(
    listKey,
    encodeManifestList({ id, parentId: parent?.['snapshot-id'], sequenceNumber }, manifests),
  )

  // Never back in time, even when the clock went back: readers order snapshots by it.
  const timestampMs = Math.max(deps.clock.nowMs(), base['last-updated-ms'])
  const snapshot: Snapshot = {
    'snapshot-id': id,
    ...(parent === undefined ? {} : { 'parent-snapshot-id': parent['snapshot-id'] }),
    'sequence-number': sequenceNumber,
    'timestamp-ms': timestampMs,
    'manifest-list': list,
    summary: parts.summary,
    'schema-id': currentSchema(metadata)['schema-id'],
  }
  const next: TableMetadata = {
    ...metadata,
    'last-sequence-number': sequenceNumber,
    'last-updated-ms': timestampMs,
    properties: {
      ...metadata.properties,
      ...ledger.properties,
      ...parts.properties,
      ...positionsField(parts.positions),
    },
    snapshots: [...metadata.snapshots, snapshot],
    'current-snapshot-id': id,
    refs: { ...metadata.refs, main: { ...metadata.refs['main'], 'snapshot-id': id, type: 'branch' } },
    'snapshot-log': [...metadata['snapshot-log'], { 'snapshot-id': id, 'timestamp-ms': timestampMs }],
  }
  const live = new Set([listKey, ...ledger.added, ...manifests.map((manifest) => keyOf(writer.table, manifest.path))])
  return { ...expireExcess(next, deps.snapshotsMax ?? snapshotsMaxDefault), live, doomed: ledger.doomed }
}

export function nextSequenceNumber(metadata: TableMetadata): number {
  return metadata['last-sequence-number'] + 1
}

/**
 * The manifests that the next snapshot goes on from: those of the current one, without those that only say what went with it.
 * Newest first. @throws FreshetError `corrupt_table`
 */
export async function currentManifests(writer: Pick<ManifestWriter, 'store' | 'table'>): Promise<ManifestFile[]> {
  const snapshot = currentSnapshot(writer.table.metadata)
  return snapshot === undefined ? [] : liveManifests(writer, snapshot)
}

/** The manifests of a snapshot that have live files. Counts that another engine left out do not speak against one. */
export async function liveManifests(
  { store, table }: Pick<ManifestWriter, 'store' | 'table'>,
  snapshot: Snapshot,
): Promise<ManifestFile[]> {
  const list = await readManifestList(store, keyOf(table, snapshot['manifest-list']))
  return list.filter(
    ({ addedFiles, existingFiles, deletedFiles }) => addedFiles + existingFiles > 0 || deletedFiles === 0,
  )
}
