/**
 * Former snapshots that still reach erased rows, and files that nothing reaches: both hold the rows as much as the table did.
 *
 * A snapshot goes when one of its files has a row that is meant, when its manifests show bounds of a removed file that may come from such rows, or
 * when it cannot be read so that nobody can tell; a tag or branch that keeps it is dropped first. The files are removed once the
 * queries that may read them have ended.
 *
 * Files that no snapshot reaches are left by crashes, or are about to be committed by an upkeep that began before the erasure. Those that
 * have rows that are meant, or show bounds of them, are removed while no commit of ours is under way: what upkeep made from files that have
 * been erased from meets a conflict when it commits. Where other engines write to the table, their files are given a day, as they may
 * be about to commit them. That no other Freshet loads the table is what the lock on the data folder says.
 *
 * Crash points: refs are dropped, then snapshots expired, then files removed; whatever is left is found again by the next run.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { LoadedTable } from '../../lake/catalog.ts'
import { dropDeletedBounds, hasDeletedBounds, isManifestWith, type IsMeant } from '../../lake/deleted-bounds.ts'
import { expireSnapshots, type ExpireResult } from '../../lake/expire.ts'
import { currentSnapshot, positionsKey } from '../../lake/metadata.ts'
import { reachedKeys } from '../../lake/reachable.ts'
import { dropRef } from '../../lake/refs.ts'
import { planScan, type ScanFile, type ScanPlan } from '../../lake/scan.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { KeptTable } from '../upkeep/job.ts'
import type { ErasureReport } from './record.ts'
import { erasureKey, type FilesRequest, type RewriteDeps } from './rewrite.ts'
import { countMatches } from './rows.ts'

const foreignFileAgeMs = 24 * 3600 * 1000

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
  const { removed } = await expireIds(
    deps,
    kept,
    [...doomed],
    refs.map(([ref]) => ref),
  )
  report.filesDeleted += removed.length
  await save()
}

async function expireIds(
  deps: RewriteDeps,
  kept: KeptTable,
  ids: readonly bigint[],
  refs: readonly string[],
): Promise<ExpireResult> {
  const committed = Promise.withResolvers<void>()
  const removal = Promise.withResolvers<void>()
  let expiring: Promise<ExpireResult> | undefined
  try {
    // Queries are waited for when the table has been let go of: loads must not wait with them.
    await kept.change(async (table) => {
      let base = table
      for (const ref of refs) if (base.metadata.refs[ref]) base = (await dropRef(deps, base, ref)).table
      const ready = async (): Promise<void> => {
        committed.resolve()
        await removal.promise
      }
      expiring = expireSnapshots(deps, base, { olderThanMs: 0, keepLast: Number.MAX_SAFE_INTEGER, ids, ready })
      const early = await Promise.race([committed.promise, expiring])
      return early?.table ?? (await deps.catalog.load(table.name)) ?? base
    }, 'fewer')
  } finally {
    await kept.readersGone()
    removal.resolve()
    await expiring?.catch(() => undefined)
  }
  return expiring!
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
      for (const file of plan.files) {
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

/** Removes files that no snapshot reaches and that have rows that are meant, or bounds that may come from such. */
export async function removeUnreached(
  deps: RewriteDeps,
  request: HistoryRequest,
  report: ErasureReport,
): Promise<void> {
  const { kept, isMeant } = request
  if (kept.table === undefined) return
  const { data, manifests } = await unreachedFiles(deps, kept.table)
  if (data.length + manifests.length === 0) return
  await kept.change(async (table) => {
    const loose = await unreachedFiles(deps, table)
    const doomed = await deps.database.with((connection) => countEach(connection, deps, request, table, loose.data))
    for (const key of loose.manifests) {
      const bytes = await deps.store.get(key)
      if (bytes !== undefined && isManifestWith(bytes, isMeant)) doomed.add(key)
    }
    await deps.store.delete([...doomed])
    report.filesDeleted += doomed.size
    return table
  }, 'kept')
}

/** Files in the table's folder that no snapshot reaches, and that nobody else may be about to commit. */
async function unreachedFiles(
  deps: RewriteDeps,
  table: LoadedTable,
): Promise<{ data: ScanFile[]; manifests: string[] }> {
  const reached = await reachedKeys(deps, table)
  const hasOthers = table.metadata.snapshots.some(({ summary }) => summary[positionsKey] === undefined)
  const agedMs = deps.clock.nowMs() - foreignFileAgeMs
  const loose = (await deps.store.list(`${table.name}/`)).filter(({ key }) => !reached.has(key))
  return {
    data: loose
      .filter(({ key, modifiedMs }) => key.endsWith('.parquet') && (isOurs(key) || modifiedMs < agedMs))
      .map(({ key, bytes }) => looseFile(key, bytes)),
    manifests: loose
      .filter(({ key, modifiedMs }) => key.endsWith('.avro') && (!hasOthers || modifiedMs < agedMs))
      .map(({ key }) => key),
  }
}

function isOurs(key: string): boolean {
  return /\/[0-9a-f]{32}\.parquet$/.test(key)
}

/** A file of which nothing is known but where it is. */
export function looseFile(key: string, bytes: number): ScanFile {
  const open = { lower: undefined, upper: undefined }
  return {
    key,
    path: key,
    specId: 0,
    partitionKey: '',
    partition: undefined,
    partitionValue: null,
    recordCount: 0,
    bytes,
    deletes: [],
    eventId: open,
    eventTime: open,
    receivedAt: open,
    snapshotId: 0n,
    sequenceNumber: 0,
  }
}
