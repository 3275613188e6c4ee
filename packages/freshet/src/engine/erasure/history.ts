/**
 * Former snapshots that still reach erased rows: their files hold the rows as much as the table did.
 *
 * A snapshot goes when one of its files has a row that is meant, when its manifests show bounds of a removed file that may come from such rows, or
 * when it cannot be read so that nobody can tell; a tag or branch that keeps it is dropped first. The files are removed once the
 * queries that may read them have ended.
 *
 * Crash points: refs are dropped, then snapshots expired, then files removed; whatever is left is found again by the next run.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { LoadedTable } from '../../lake/catalog.ts'
import { dropDeletedBounds, hasDeletedBounds, type IsMeant } from '../../lake/deleted-bounds.ts'
import { currentSnapshot } from '../../lake/metadata.ts'
import { dropRef } from '../../lake/refs.ts'
import { planScan, type ScanFile, type ScanPlan } from '../../lake/scan.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { expireShown } from '../upkeep/expire-shown.ts'
import type { ErasureReport } from './record.ts'
import { erasureKey, type FilesRequest, type RewriteDeps } from './rewrite.ts'
import { countMatches } from './rows.ts'

export interface HistoryRequest extends FilesRequest {
  /** Whether a bound may come from a row that is meant. */
  isMeant: IsMeant
}

/** Drops what the table's manifests say of removed files, where it may come from rows that are meant. */
export async function dropBounds(deps: RewriteDeps, { id, kept, isMeant }: HistoryRequest): Promise<void> {
  const snapshot = kept.table && currentSnapshot(kept.table.metadata)
  if (snapshot === undefined || !(await hasDeletedBounds(deps, kept.table!, snapshot, isMeant))) return
  await kept.change((table) => dropDeletedBounds(deps, table, isMeant, { [erasureKey]: id }), 'kept')
}

/** Expires the snapshots that reach rows that are meant. What is dropped is added to `report` before it is. */
export async function expireReaching(
  deps: RewriteDeps,
  request: HistoryRequest,
  report: ErasureReport,
  save: () => Promise<void>,
): Promise<void> {
  const { kept, signal } = request
  const { table } = kept
  if (table === undefined) return
  const doomed = await reachingSnapshots(deps, request, table)
  if (doomed.size === 0) return
  signal.throwIfAborted()
  const name = table.name
  const refs = Object.entries(table.metadata.refs).filter(
    ([ref, to]) => ref !== 'main' && doomed.has(to['snapshot-id']),
  )
  for (const [ref, to] of refs)
    report.droppedRefs.push({ table: name, name: ref, type: to.type, snapshotId: String(to['snapshot-id']) })
  for (const id of doomed) report.expired.push({ table: name, snapshotId: String(id) })
  await save()
  const prepare = async (base: LoadedTable): Promise<LoadedTable> => {
    let next = base
    for (const [ref] of refs) if (next.metadata.refs[ref]) next = (await dropRef(deps, next, ref)).table
    return next
  }
  // These alone, whatever the age of others. At a stop the files are left to the next start.
  const options = { olderThanMs: 0, keepLast: Number.MAX_SAFE_INTEGER, ids: [...doomed] }
  const { removed } = await expireShown(deps, { kept, prepare, change: 'fewer', ...options }, signal)
  report.filesDeleted += removed.length
  await save()
}

/** The former snapshots that have a file with rows that are meant, or that cannot be read. */
async function reachingSnapshots(deps: RewriteDeps, request: HistoryRequest, table: LoadedTable): Promise<Set<bigint>> {
  const { metadata } = table
  const current = new Set(request.kept.files.map(({ path }) => path))
  const doomed = new Set<bigint>()
  const former = new Map<string, { file: ScanFile; ids: bigint[] }>()
  const seen = new Map<string, boolean>()
  let previous: ScanPlan | undefined
  for (const snapshot of metadata.snapshots) {
    const id = snapshot['snapshot-id']
    if (id === metadata['current-snapshot-id']) continue
    try {
      const plan: ScanPlan = await planScan(deps.store, table, { snapshot, ...(previous && { previous }) })
      previous = plan
      if (await hasDeletedBounds(deps, table, snapshot, request.isMeant, seen)) doomed.add(id)
      for (const file of await request.choose(table, plan)) {
        if (current.has(file.path)) continue
        const known = former.get(file.path)
        if (known === undefined) former.set(file.path, { file, ids: [id] })
        else known.ids.push(id)
      }
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error
      doomed.add(id)
    }
  }
  const files = [...former.values()]
  const matches = await deps.database.with((connection) =>
    countEach(
      connection,
      deps,
      request,
      table,
      files.map(({ file }) => file),
    ),
  )
  for (const { file, ids } of files) if (matches.has(file.key)) for (const id of ids) doomed.add(id)
  return doomed
}

/** Keys of files that have rows that are meant; one that cannot be read counts as such. */
export async function countEach(
  connection: DuckDBConnection,
  deps: RewriteDeps,
  request: FilesRequest,
  table: LoadedTable,
  files: readonly ScanFile[],
): Promise<Set<string>> {
  const found = new Set<string>()
  const all = { ...deps, ...request, table }
  try {
    for (const key of (await countMatches(connection, { ...all, files })).keys()) found.add(key)
  } catch {
    for (const file of files) {
      request.signal.throwIfAborted()
      const count = await countMatches(connection, { ...all, files: [file] }).catch(() => new Map([[file.key, 1]]))
      if (count.size > 0) found.add(file.key)
    }
  }
  return found
}
