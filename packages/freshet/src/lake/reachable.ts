/** Which files a table's snapshots refer to. */
import type { ObjectStore } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import { ledgerFileKeys } from './ledger.ts'
import { entryStatus, readManifestList, readRawManifest, type ManifestFile, type PartitionSummary } from './manifest.ts'
import type { Snapshot } from './metadata.ts'
import { statisticsFiles } from './snapshot-cap.ts'
import { keyOf } from './table-paths.ts'

interface ReachDeps {
  store: ObjectStore
}

/** Paths of the files in a manifest. Those of deleted entries count: they are in the manifest, though not in the snapshot. */
async function filesIn(
  { store }: ReachDeps,
  table: LoadedTable,
  manifest: ManifestFile,
): Promise<{ path: string; isLive: boolean }[]> {
  const { entries } = await readRawManifest(store, keyOf(table, manifest.path), manifest)
  return entries.map(({ status, data_file: file }) => ({
    path: file.file_path,
    isLive: status !== entryStatus.deleted,
  }))
}

/** The manifests that snapshots of the table list, by path. @throws FreshetError `corrupt_table` */
async function keptManifests({ store }: ReachDeps, table: LoadedTable): Promise<Map<string, ManifestFile>> {
  const manifests = new Map<string, ManifestFile>()
  for (const snapshot of table.metadata.snapshots) {
    for (const manifest of await readManifestList(store, keyOf(table, snapshot['manifest-list'])))
      manifests.set(manifest.path, manifest)
  }
  return manifests
}

/**
 * Keys of the files that expired snapshots refer to, and no snapshot of `table` does. Manifests of what stays are read only where
 * their partitions overlap with what goes. @throws FreshetError `corrupt_table` when what stays cannot be read.
 */
export async function unreachedFiles(
  deps: ReachDeps,
  table: LoadedTable,
  expired: readonly Snapshot[],
): Promise<string[]> {
  const kept = await keptManifests(deps, table)
  const doomed = new Set<string>()
  const going = new Map<string, ManifestFile>()
  for (const snapshot of expired) {
    const listKey = keyOf(table, snapshot['manifest-list'])
    if (!(await exists(deps, listKey))) continue
    for (const manifest of await readManifestList(deps.store, listKey)) {
      if (!kept.has(manifest.path)) going.set(manifest.path, manifest)
    }
    doomed.add(listKey)
  }
  const files = new Map<string, string>()
  const read: ManifestFile[] = []
  for (const manifest of going.values()) {
    const key = keyOf(table, manifest.path)
    if (!(await exists(deps, key))) continue
    read.push(manifest)
    doomed.add(key)
    for (const { path } of await filesIn(deps, table, manifest)) files.set(path, keyOf(table, path))
  }
  for (const manifest of kept.values()) {
    if (files.size === 0) break
    if (!read.some((other) => mayShareFiles(manifest, other))) continue
    for (const { path, isLive } of await filesIn(deps, table, manifest)) if (isLive) files.delete(path)
  }
  return [...files.values(), ...doomed]
}

async function exists({ store }: ReachDeps, key: string): Promise<boolean> {
  return (await store.get(key, { start: 0, end: 1 })) !== undefined
}

/** A file never changes its partition, so manifests of other partitions cannot have it. */
function mayShareFiles(a: ManifestFile, b: ManifestFile): boolean {
  if (a.specId !== b.specId || a.content !== b.content) return false
  return (a.partitions ?? []).every((summary, index) => mayOverlap(summary, b.partitions?.[index]))
}

function mayOverlap(a: PartitionSummary, b: PartitionSummary | undefined): boolean {
  if (b === undefined || (a.containsNull && b.containsNull)) return true
  const [aFrom, aTo, bFrom, bTo] = [a.lower, a.upper, b.lower, b.upper].map((bound) => bound ?? undefined)
  if (aFrom === undefined || aTo === undefined || bFrom === undefined || bTo === undefined) {
    // No bounds: nothing but nulls, or a writer that left them out.
    return (
      !(a.containsNull && aFrom === undefined && !b.containsNull) &&
      !(b.containsNull && bFrom === undefined && !a.containsNull)
    )
  }
  const values = [aFrom, aTo, bFrom, bTo].map((bound) => (bound.length === 4 ? bound.readInt32LE() : undefined))
  const [lowA, highA, lowB, highB] = values
  if (lowA === undefined || highA === undefined || lowB === undefined || highB === undefined) return true
  return lowA <= highB && lowB <= highA
}

/**
 * Keys of everything that the table's metadata refers to: manifest lists and manifests of its snapshots, their live files, the
 * ledger's files, statistics, and earlier metadata.
 * @param known live files by manifest path, from an earlier call for the same table: those manifests are not read again
 * @throws FreshetError `corrupt_table` when some of it cannot be read; `unsupported_table` when some of it lies elsewhere, so that it cannot be
 * told apart from other files
 */
export async function reachedKeys(
  deps: ReachDeps,
  table: LoadedTable,
  known: Map<string, readonly string[]> = new Map(),
): Promise<Set<string>> {
  const { metadata } = table
  const manifests = await keptManifests(deps, table)
  for (const manifest of manifests.values()) {
    if (known.has(manifest.path)) continue
    const files = await filesIn(deps, table, manifest)
    known.set(
      manifest.path,
      files.flatMap(({ path, isLive }) => (isLive ? keyOf(table, path) : [])),
    )
  }
  const paths = [
    ...metadata.snapshots.map((snapshot) => snapshot['manifest-list']),
    ...manifests.keys(),
    ...statisticsFiles(metadata).map((file) => file['statistics-path']),
    ...metadata['metadata-log'].map((entry) => entry['metadata-file']),
  ]
  const keys = new Set([...paths.map((path) => keyOf(table, path)), ...ledgerFileKeys(table)])
  for (const path of manifests.keys()) for (const key of known.get(path) ?? []) keys.add(key)
  return keys
}
