/**
 * Which data files of a table changed its rows between two of its snapshots: those that came, those that went, and those of which another
 * engine deleted rows. The buckets of a rollup that may have to be corrected are those of the rows in them (I9).
 *
 * The snapshots in between are looked at one by one, so that a file which came and was merged meanwhile is not missed, and so that
 * `replace` snapshots (compaction), which change no rows, touch nothing. Where the way back is not whole, since snapshots have expired or
 * the table was rolled back, the files of the two snapshots are compared; that may name more files than changed rows, never fewer.
 *
 * Whoever calls it reads tables (readers.ts) from before it took `table` until it has read the files.
 */
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSnapshot, snapshotById, type Snapshot, type TableMetadata } from '../../lake/metadata.ts'
import { planScan, type ScanFile, type ScanPlan } from '../../lake/scan.ts'
import type { ObjectStore } from '../../storage/object-store.ts'

export interface ChangedFiles {
  /** The files of the table's current snapshot. */
  now: ScanPlan
  /** `all` when the covered snapshot is gone: what changed cannot be told. */
  changed: readonly ScanFile[] | 'all'
}

/**
 * @param covered id of the snapshot that is dealt with; null for the empty table, undefined for nothing at all
 * @param known the plan of that snapshot, so that it need not be read again
 */
export async function changedFiles(
  store: ObjectStore,
  table: LoadedTable,
  covered: bigint | null | undefined,
  known?: ScanPlan,
): Promise<ChangedFiles> {
  const { metadata } = table
  const steps = covered === undefined ? undefined : stepsFrom(metadata, covered)
  const start = typeof covered === 'bigint' ? snapshotById(metadata, covered) : undefined
  const isKnown = known !== undefined && known.snapshotId === covered
  if (covered === undefined || (steps === undefined && (start === undefined || covered === null))) {
    return { now: await planScan(store, table), changed: 'all' }
  }
  let plan = isKnown ? known : start && (await planScan(store, table, { snapshot: start }))
  const last = currentSnapshot(metadata)
  const changed = new Map<string, ScanFile>()
  for (const snapshot of steps ?? (last === undefined ? [] : [last])) {
    const next: ScanPlan = await planScan(store, table, { snapshot, ...(plan && { previous: plan }) })
    if (steps === undefined || snapshot.summary['operation'] !== 'replace') {
      for (const file of [...next.added, ...next.removed]) changed.set(file.path, file)
      // As it was before: the rows that are deleted by now are among those that changed.
      for (const file of next.changed) changed.set(file.path, { ...file, deletes: [] })
    }
    plan = next
  }
  return { now: plan ?? (await planScan(store, table)), changed: [...changed.values()] }
}

/** The snapshots behind the covered one up to the current one, oldest first; undefined when the way between them is not whole. */
function stepsFrom(metadata: TableMetadata, covered: bigint | null): Snapshot[] | undefined {
  const steps: Snapshot[] = []
  let at = currentSnapshot(metadata)
  while (at !== undefined && at['snapshot-id'] !== covered) {
    steps.push(at)
    const parent: bigint | null = at['parent-snapshot-id'] ?? null
    at = parent === null ? undefined : snapshotById(metadata, parent)
    if (at === undefined && !(parent === null && covered === null)) return undefined
  }
  return steps.toReversed()
}
