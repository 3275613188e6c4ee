import { messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/logging.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import { readManifestList } from './manifest.ts'
import { snapshotById, type Snapshot, type TableMetadata } from './metadata.ts'
import { keyOf } from './table-paths.ts'

/**
 * Every commit rewrites the table's metadata, so the snapshots in it have to stay few: the oldest leave it. Their rows stay, for
 * an append carries all earlier files on; only looking back at the table as it was ends.
 */
export function expireExcess(
  metadata: TableMetadata,
  snapshotsMax: number,
): { next: TableMetadata; expired: Snapshot[] } {
  const excess = metadata.snapshots.length - snapshotsMax
  if (excess <= 0) return { next: metadata, expired: [] }
  const kept = new Set(Object.values(metadata.refs).map((ref) => ref['snapshot-id']))
  const expired = metadata.snapshots.slice(0, excess).filter((snapshot) => !kept.has(snapshot['snapshot-id']))
  return { next: withoutSnapshots(metadata, expired), expired }
}

/** What a snapshot's entry in `statistics` and `partition-statistics` has (Iceberg spec, Table Statistics). */
export interface StatisticsFile {
  'snapshot-id': number | bigint
  'statistics-path': string
}

/** Statistics files of other engines that the metadata names. */
export function statisticsFiles(metadata: TableMetadata): StatisticsFile[] {
  const fields = metadata as unknown as Record<string, StatisticsFile[] | undefined>
  return statisticsKeys.flatMap((key) => fields[key] ?? [])
}

const statisticsKeys = ['statistics', 'partition-statistics'] as const

/** The metadata without some snapshots, and without what it says of them. */
export function withoutSnapshots(metadata: TableMetadata, expired: readonly Snapshot[]): TableMetadata {
  if (expired.length === 0) return metadata
  const gone = new Set(expired.map((snapshot) => snapshot['snapshot-id']))
  // The log is cut after its last expired entry: the spec wants it without holes.
  const log = metadata['snapshot-log']
  const cut = log.findLastIndex((entry) => gone.has(entry['snapshot-id'])) + 1
  const fields = metadata as unknown as Record<string, StatisticsFile[] | undefined>
  const statistics = statisticsKeys.flatMap((key) => {
    const kept = fields[key]?.filter((file) => !gone.has(BigInt(file['snapshot-id'])))
    return kept === undefined ? [] : [[key, kept] as const]
  })
  return {
    ...metadata,
    ...Object.fromEntries(statistics),
    snapshots: metadata.snapshots.filter((snapshot) => !gone.has(snapshot['snapshot-id'])),
    'snapshot-log': log.slice(cut),
  }
}

/**
 * Removes the manifest lists of expired snapshots, and the manifests that only they list. Called after the commit; what fails to
 * be removed only takes space. Data files stay.
 */
export async function removeExpired(
  deps: { store: ObjectStore; logger: Logger },
  table: LoadedTable,
  expired: readonly Snapshot[],
): Promise<void> {
  try {
    const oldest = oldestAncestor(table.metadata)
    // With branches, tags or a rolled-back table, what a snapshot alone lists is not seen from one neighbour.
    const linear =
      Object.keys(table.metadata.refs).length === 1 &&
      oldest !== undefined &&
      oldest.depth === table.metadata.snapshots.length
    if (!linear) return
    const kept = await readManifestList(deps.store, keyOf(table, oldest.snapshot['manifest-list']))
    const keptPaths = new Set(kept.map((manifest) => manifest.path))
    const doomed = new Set<string>()
    for (const snapshot of expired) {
      const listKey = keyOf(table, snapshot['manifest-list'])
      if ((await deps.store.get(listKey, { start: 0, end: 1 })) === undefined) continue
      for (const manifest of await readManifestList(deps.store, listKey)) {
        if (!keptPaths.has(manifest.path)) doomed.add(keyOf(table, manifest.path))
      }
      doomed.add(listKey)
    }
    await deps.store.delete([...doomed])
  } catch (error) {
    deps.logger.warn({ table: table.name, reason: messageOf(error) }, 'files of expired snapshots could not be removed')
  }
}

function oldestAncestor(metadata: TableMetadata): { snapshot: Snapshot; depth: number } | undefined {
  const byId = new Map(metadata.snapshots.map((snapshot) => [snapshot['snapshot-id'], snapshot]))
  let snapshot = snapshotById(metadata, metadata['current-snapshot-id'])
  let depth = 0
  for (let next = snapshot; next !== undefined; next = byId.get(next['parent-snapshot-id'] ?? -1n)) {
    snapshot = next
    depth++
  }
  return snapshot === undefined ? undefined : { snapshot, depth }
}
