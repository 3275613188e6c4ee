import type { Positions } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { Catalog, LoadedTable } from './catalog.ts'
import type { DataFile } from './data-file.ts'
import { expireSnapshots, removeExpired } from './expire.ts'
import { nextLedger, type LedgerDelta, type NextLedger } from './ledger.ts'
import { encodeManifestList, entryStatus, readManifestList, type ManifestEntry, type ManifestFile } from './manifest.ts'
import {
  defaultMergePolicy,
  mergeManifests,
  writeManifest,
  type ManifestWriter,
  type MergePolicy,
} from './merge-manifests.ts'
import {
  currentSchema,
  currentSnapshot,
  defaultSpec,
  formatPositions,
  positionsKey,
  samePositions,
  snapshotById,
  tablePositions,
  uuid,
  withSchema,
  type Snapshot,
  type TableMetadata,
} from './metadata.ts'
import type { Evolution } from './schema.ts'
import { keyOf, pathOf } from './table-paths.ts'

/**
 * Appends to a table: data files, the log positions they cover, and what the ledger has to say of them (I6) enter it in one
 * snapshot, or not at all (I3).
 *
 * Order: manifest, ledger file, manifest list, then the catalog's compare-and-swap of the metadata. A crash before the swap leaves files that
 * nothing refers to. When another commit was first, the table is loaded again, and only if its positions still are those that
 * this load began from is the commit made anew on top: so a second loader, a zombie or a repeated commit loads nothing twice.
 * When the swap's answer is lost, our own snapshot id in the table tells that it was made.
 */
export interface CommitDeps extends CommitLimits {
  catalog: Catalog
  store: ObjectStore
  clock: Clock
  random: Random
  logger: Logger
}

/** How much history a table carries along; what is left out has its default. */
export interface CommitLimits {
  merge?: MergePolicy
  /** Snapshots that stay in the metadata, which every commit rewrites; older ones are expired. */
  snapshotsMax?: number
}

export interface AppendRequest {
  /** The table as it was when this load began. */
  table: LoadedTable
  /** Already durable in the store. May be empty: only the positions move on then. */
  dataFiles: readonly DataFile[]
  /** The schema that the files were written with, where it is not the table's own (`evolveTable`). */
  evolution?: Evolution
  /** Log positions that this load began from. */
  from: Positions
  /** Log positions that the table holds afterwards. */
  to: Positions
  /** What this load adds to the ledger (I6); undefined for a table that has none. */
  ledger?: LedgerDelta
  /** Further fields for the snapshot's summary. */
  summary?: Record<string, string>
}

export interface AppendResult {
  table: LoadedTable
  snapshot: Snapshot
  /** Commits by others that this one had to be rebased on. */
  conflicts: number
}

const attemptsMax = 20
const snapshotsMaxDefault = 200

/**
 * Commits data files and positions as one snapshot.
 * @throws FreshetError `commit_conflict` when the table has moved on to other positions, or its schema to other fields, or others
 * committed first too often; the data files are then in no snapshot and the caller removes them. Any other error leaves it open
 * whether the commit was made: load the table and compare its positions before doing anything else.
 */
export async function appendFiles(deps: CommitDeps, request: AppendRequest): Promise<AppendResult> {
  const snapshotId = newSnapshotId(request.table.metadata, deps.random)
  const writer: ManifestWriter = {
    store: deps.store,
    random: deps.random,
    table: request.table,
    snapshotId,
    written: [],
  }
  let base = request.table
  let conflicts = 0
  try {
    checkBase(request, base)
    const added = await writeAdded(writer, request)
    for (;;) {
      const attempt = writer.written.length
      const { next, expired, live, doomed } = await nextMetadata(deps, { ...writer, table: base }, request, added)
      const committed = await commitOnce(deps, base, next, snapshotId)
      if (committed !== undefined) {
        // A manifest of ours that was merged at once.
        const unused = [...writer.written.filter((key) => !live.has(key)), ...doomed]
        if (unused.length > 0) await discard(deps, unused)
        if (expired.length > 0) await removeExpired(deps, committed, expired)
        return { table: committed, snapshot: snapshotById(committed.metadata, snapshotId)!, conflicts }
      }
      conflicts++
      deps.logger.warn({ table: base.name, version: base.version, conflicts }, 'another writer committed first')
      if (conflicts === attemptsMax) {
        throw new FreshetError(
          'commit_conflict',
          `Other writers committed to ${base.name} first, ${attemptsMax} times in a row.`,
          {
            hint: 'Find out what else writes to the table so often, or let it commit less often.',
          },
        )
      }
      await discard(deps, writer.written.splice(attempt))
      base = await reload(deps, base)
      checkBase(request, base)
    }
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'commit_conflict') await discard(deps, writer.written)
    throw error
  }
}

/** Below 2^53, so that engines that read JSON numbers as doubles keep every digit. */
function newSnapshotId(metadata: TableMetadata, random: Random): bigint {
  for (;;) {
    const id = BigInt(`0x${random.hex(7)}`) >> 4n
    if (id > 0n && snapshotById(metadata, id) === undefined) return id
  }
}

/** Whether the load may be made on `base`: its positions are those the load began from, and its fields those of the files. */
function checkBase(request: AppendRequest, base: LoadedTable): void {
  const found = tablePositions(base.metadata)
  if (!samePositions(found, request.from)) {
    throw new FreshetError(
      'commit_conflict',
      `The table ${base.name} is at the log positions ${formatPositions(found)}, but this load began from ${formatPositions(request.from)}.`,
      {
        hint: 'Another engine loads the same stream. Nothing was loaded twice; make sure that one engine runs for each stream.',
      },
    )
  }
  const began = request.table.metadata
  const replaced = began['table-uuid'] !== base.metadata['table-uuid']
  const evolved =
    began['last-column-id'] !== base.metadata['last-column-id'] ||
    began['current-schema-id'] !== base.metadata['current-schema-id'] ||
    began.schemas.length !== base.metadata.schemas.length
  if (replaced || (evolved && request.evolution !== undefined)) {
    throw new FreshetError(
      'commit_conflict',
      `The columns of ${base.name} were changed by another writer while this load ran.`,
      {
        hint: 'The load is made again with the new columns.',
      },
    )
  }
}

/** Entries leave out sequence numbers: they inherit those of the commit that succeeds, so a rebase need not write them again. */
async function writeAdded(writer: ManifestWriter, request: AppendRequest): Promise<ManifestFile | undefined> {
  if (request.dataFiles.length === 0) return undefined
  const { metadata } = request.table
  const entries = request.dataFiles.map((file): ManifestEntry => ({
    status: entryStatus.added,
    snapshotId: writer.snapshotId,
    sequenceNumber: null,
    fileSequenceNumber: null,
    content: 0,
    format: 'PARQUET',
    file,
    splitOffsets: null,
    sortOrderId: 0,
    keyMetadata: null,
  }))
  const evolved = request.evolution === undefined ? metadata : withSchema(metadata, request.evolution)
  return writeManifest({ ...writer, table: { ...request.table, metadata: evolved } }, defaultSpec(metadata), entries, 0)
}

async function nextMetadata(
  deps: CommitDeps,
  writer: ManifestWriter,
  request: AppendRequest,
  added: ManifestFile | undefined,
): Promise<{ next: TableMetadata; expired: Snapshot[]; live: ReadonlySet<string>; doomed: readonly string[] }> {
  const base = writer.table.metadata
  const evolved = request.evolution === undefined ? base : withSchema(base, request.evolution)
  const parent = currentSnapshot(base)
  const sequenceNumber = base['last-sequence-number'] + 1
  const manifests =
    parent === undefined ? [] : await readManifestList(deps.store, keyOf(writer.table, parent['manifest-list']))
  if (added !== undefined) manifests.unshift({ ...added, sequenceNumber, minSequenceNumber: sequenceNumber })
  const evolvedWriter = { ...writer, table: { ...writer.table, metadata: evolved } }
  const merged = await mergeManifests(evolvedWriter, manifests, sequenceNumber, deps.merge ?? defaultMergePolicy)

  const ledger = await ledgerAfter(deps, writer, request)

  const id = writer.snapshotId
  const list = pathOf(writer.table, `metadata/snap-${id}-${uuid(deps.random)}.avro`)
  const listKey = keyOf(writer.table, list)
  writer.written.push(listKey)
  await deps.store.put(listKey, encodeManifestList({ id, parentId: parent?.['snapshot-id'], sequenceNumber }, merged))

  // Never back in time, even when the clock went back: readers order snapshots by it.
  const timestampMs = Math.max(deps.clock.nowMs(), base['last-updated-ms'])
  const snapshot: Snapshot = {
    'snapshot-id': id,
    ...(parent === undefined ? {} : { 'parent-snapshot-id': parent['snapshot-id'] }),
    'sequence-number': sequenceNumber,
    'timestamp-ms': timestampMs,
    'manifest-list': list,
    summary: summaryOf(request, parent),
    'schema-id': currentSchema(evolved)['schema-id'],
  }
  const appended: TableMetadata = {
    ...evolved,
    'last-sequence-number': sequenceNumber,
    'last-updated-ms': timestampMs,
    properties: { ...evolved.properties, ...ledger.properties, [positionsKey]: formatPositions(request.to) },
    snapshots: [...evolved.snapshots, snapshot],
    'current-snapshot-id': id,
    refs: { ...evolved.refs, main: { ...evolved.refs['main'], 'snapshot-id': id, type: 'branch' } },
    'snapshot-log': [...evolved['snapshot-log'], { 'snapshot-id': id, 'timestamp-ms': timestampMs }],
  }
  const live = new Set([listKey, ...ledger.added, ...merged.map((manifest) => keyOf(writer.table, manifest.path))])
  return { ...expireSnapshots(appended, deps.snapshotsMax ?? snapshotsMaxDefault), live, doomed: ledger.doomed }
}

async function ledgerAfter(deps: CommitDeps, writer: ManifestWriter, request: AppendRequest): Promise<NextLedger> {
  if (request.ledger === undefined) return { properties: {}, added: [], doomed: [] }
  return nextLedger({ ...writer, logger: deps.logger }, request.to, request.ledger)
}

function summaryOf(request: AppendRequest, parent: Snapshot | undefined): Record<string, string> {
  const files = request.dataFiles
  const records = files.reduce((sum, file) => sum + file.recordCount, 0)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const total = (name: string, added: number): Record<string, string> => {
    const before = parent === undefined ? '0' : parent.summary[name]
    return before === undefined ? {} : { [name]: String(BigInt(before) + BigInt(added)) }
  }
  return {
    operation: 'append',
    'added-data-files': String(files.length),
    'added-records': String(records),
    'added-files-size': String(bytes),
    'changed-partition-count': String(new Set(files.map((file) => JSON.stringify(file.partition))).size),
    ...total('total-records', records),
    ...total('total-files-size', bytes),
    ...total('total-data-files', files.length),
    ...total('total-delete-files', 0),
    ...total('total-position-deletes', 0),
    ...total('total-equality-deletes', 0),
    ...request.summary,
    [positionsKey]: formatPositions(request.to),
  }
}

/** The committed table; undefined when another commit was first. */
async function commitOnce(
  deps: CommitDeps,
  base: LoadedTable,
  next: TableMetadata,
  snapshotId: bigint,
): Promise<LoadedTable | undefined> {
  try {
    return await deps.catalog.commit(base, next)
  } catch (error) {
    // The answer to a commit can be lost after it was made, and a client that repeats it by itself then sees a conflict.
    const now = await deps.catalog.load(base.name).catch(() => undefined)
    if (now !== undefined && snapshotById(now.metadata, snapshotId) !== undefined) {
      if (!isConflict(error)) await confirmDurable(deps.catalog, now)
      return now
    }
    if (isConflict(error) && now !== undefined) return undefined
    throw isConflict(error) ? unknownOutcome(base, error) : error
  }
}

/**
 * Resolves when the table's state, as it was loaded, is known to survive a power cut: a commit that failed, or whose process died,
 * may be there to see before it is durable. Only a conflict says that what stands in its place stays.
 */
export async function confirmDurable(catalog: Catalog, table: LoadedTable): Promise<void> {
  try {
    await catalog.commit({ ...table, version: table.version - 1 }, table.metadata)
  } catch (error) {
    if (!isConflict(error)) throw error
  }
}

function isConflict(error: unknown): error is FreshetError {
  return error instanceof FreshetError && error.code === 'commit_conflict'
}

function unknownOutcome(base: LoadedTable, cause: Error): FreshetError {
  return new FreshetError(
    'internal',
    `A commit to ${base.name} met a conflict, and then the table could not be loaded.`,
    { cause },
  )
}

async function reload(deps: CommitDeps, base: LoadedTable): Promise<LoadedTable> {
  const table = await deps.catalog.load(base.name)
  if (table === undefined)
    throw new FreshetError('corrupt_table', `The table ${base.name} is gone.`, { hint: 'Restore its metadata folder.' })
  return table
}

/** Removes files that nothing needs; one that cannot be removed only takes space. */
async function discard(deps: CommitDeps, keys: readonly string[]): Promise<void> {
  try {
    await deps.store.delete(keys)
  } catch (error) {
    deps.logger.warn({ keys, reason: messageOf(error) }, 'files that are no longer needed could not be removed')
  }
}
