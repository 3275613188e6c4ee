/**
 * Bounds in manifests that come from rows which are no longer there. The entry of a removed file says, in other engines' manifests, what the
 * file's least and greatest values were; so does a manifest that a crash left behind. Erasure looks for them, and drops them.
 *
 * Bounds of live files need no look: a file's bounds come from its own rows, and files never change.
 */
import type { ObjectStore } from '../storage/object-store.ts'
import { decodeAvro } from './avro.ts'
import type { LoadedTable } from './catalog.ts'
import { entryStatus, readRawManifest, type ManifestFile, type RawEntry } from './manifest.ts'
import { carryManifests, openManifest } from './manifest-writer.ts'
import { currentSnapshot, snapshotById, type Snapshot } from './metadata.ts'
import { currentManifests, liveManifests, nextSequenceNumber, nextSnapshot } from './next-snapshot.ts'
import { positionsOf } from './rewrite.ts'
import { commitInLoop, newSnapshotId, type Attempt, type CommitDeps } from './snapshot-commit.ts'
import { summaryOf } from './snapshot-summary.ts'
import { keyOf } from './table-paths.ts'

/** Whether a bound, in Iceberg's binary form, may be one of the values that are looked for. */
export type IsMeant = (bound: Buffer) => boolean

/**
 * Whether a snapshot's manifests have such bounds of removed files.
 * @param known what was found out before, by path of the manifest
 */
export async function hasDeletedBounds(
  { store }: { store: ObjectStore },
  table: LoadedTable,
  snapshot: Snapshot,
  isMeant: IsMeant,
  known: Map<string, boolean> = new Map(),
): Promise<boolean> {
  for (const manifest of await liveManifests({ store, table }, snapshot)) {
    const found = known.get(manifest.path) ?? (await manifestHas(store, table, manifest, isMeant))
    known.set(manifest.path, found)
    if (found) return true
  }
  return false
}

async function manifestHas(
  store: ObjectStore,
  table: LoadedTable,
  manifest: ManifestFile,
  isMeant: IsMeant,
): Promise<boolean> {
  if (manifest.deletedFiles === 0) return false
  const { entries } = await readRawManifest(store, keyOf(table, manifest.path), manifest)
  return entries.some((entry) => entry.status === entryStatus.deleted && boundsOf(entry).some(isMeant))
}

function boundsOf({ data_file: file }: RawEntry): Buffer[] {
  return [...(file.lower_bounds ?? []), ...(file.upper_bounds ?? [])].map(({ value }) => value)
}

/** Whether the bytes are a manifest with such bounds, of whatever files; what is no whole manifest has none. */
export function isManifestWith(bytes: Buffer, isMeant: IsMeant): boolean {
  try {
    return decodeAvro<Partial<RawEntry>>(bytes).records.some(
      (record) => record.data_file !== undefined && boundsOf(record as RawEntry).some(isMeant),
    )
  } catch {
    return false
  }
}

/**
 * Writes the table's manifests that have such bounds of removed files again, without those entries; nothing when none has. A snapshot
 * without changed rows, like a regrouping of manifests (rewrite-manifests.ts), with the same crash points.
 */
export async function dropDeletedBounds(
  deps: CommitDeps,
  table: LoadedTable,
  isMeant: IsMeant,
  extra: Record<string, string> = {},
): Promise<LoadedTable> {
  const snapshotId = newSnapshotId(table.metadata, deps.random)
  const writer = { store: deps.store, random: deps.random, snapshotId, written: [] }
  const { table: committed } = await commitInLoop(deps, {
    base: table,
    written: writer.written,
    isMade: (metadata) => snapshotById(metadata, snapshotId) !== undefined,
    attempt: async (base): Promise<Attempt | 'nothing'> => {
      const onBase = { ...writer, table: base }
      const { metadata } = base
      const manifests: ManifestFile[] = []
      let replaced = 0
      for (const manifest of await currentManifests(onBase)) {
        if (!(await manifestHas(deps.store, base, manifest, isMeant))) manifests.push(manifest)
        else {
          replaced++
          const opened = await openManifest(onBase, manifest)
          manifests.push(...(await carryManifests(onBase, [opened], new Set(), nextSequenceNumber(metadata))))
        }
      }
      if (replaced === 0) return 'nothing'
      const parent = currentSnapshot(metadata)
      const positions = positionsOf(metadata)
      const summary = summaryOf({ operation: 'replace', parent, added: [], removed: [], positions, extra })
      return nextSnapshot(deps, onBase, { metadata, parent, manifests, summary, positions })
    },
  })
  return committed
}
