import type { Positions } from '../log/log.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { LoadedTable } from './catalog.ts'
import type { DataFile } from './data-file.ts'
import type { LedgerDelta } from './ledger.ts'
import { entryStatus, type ManifestEntry, type ManifestFile } from './manifest.ts'
import { writeManifest, type ManifestWriter } from './manifest-writer.ts'
import { defaultMergePolicy, mergeManifests } from './merge-manifests.ts'
import {
  currentSnapshot,
  defaultSpec,
  formatPositions,
  samePositions,
  snapshotById,
  tablePositions,
  withSchema,
  type Snapshot,
} from './metadata.ts'
import { currentManifests, nextSequenceNumber, nextSnapshot } from './next-snapshot.ts'
import type { Evolution } from './schema.ts'
import { commitInLoop, newSnapshotId, type Attempt, type CommitDeps } from './snapshot-commit.ts'
import { summaryOf } from './snapshot-summary.ts'

export { confirmDurable, type CommitDeps, type CommitLimits } from './snapshot-commit.ts'

/**
 * Appends to a table: data files, the log positions they cover, and what the ledger has to say of them (I6) enter it in one
 * snapshot, or not at all (I3).
 *
 * Order: manifest, ledger file, manifest list, then the catalog's compare-and-swap of the metadata (snapshot-commit.ts, with what a
 * crash or a lost answer leaves). When another commit was first, the table is loaded again, and only if its positions still are those that
 * this load began from is the commit made anew on top: so a second loader, a zombie or a repeated commit loads nothing twice.
 */

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

/**
 * Commits data files and positions as one snapshot.
 * @throws FreshetError `commit_conflict` when the table has moved on to other positions, or its schema to other fields, or others
 * committed first too often; the data files are then in no snapshot and the caller removes them. Any other error leaves it open
 * whether the commit was made: load the table and compare its positions before doing anything else.
 */
export async function appendFiles(deps: CommitDeps, request: AppendRequest): Promise<AppendResult> {
  const snapshotId = newSnapshotId(request.table.metadata, deps.random)
  const writer = { store: deps.store, random: deps.random, snapshotId, written: [] }
  checkBase(request, request.table)
  const added = await writeAdded({ ...writer, table: request.table }, request)
  const { table, conflicts } = await commitInLoop(deps, {
    base: request.table,
    written: writer.written,
    isMade: (metadata) => snapshotById(metadata, snapshotId) !== undefined,
    attempt: (base) => {
      checkBase(request, base)
      return appendTo(deps, { ...writer, table: base }, request, added)
    },
  })
  return { table, snapshot: snapshotById(table.metadata, snapshotId)!, conflicts }
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

async function appendTo(
  deps: CommitDeps,
  writer: ManifestWriter,
  request: AppendRequest,
  added: ManifestFile | undefined,
): Promise<Attempt> {
  const base = writer.table.metadata
  const metadata = request.evolution === undefined ? base : withSchema(base, request.evolution)
  const parent = currentSnapshot(base)
  const sequenceNumber = nextSequenceNumber(base)
  const manifests = await currentManifests(writer)
  if (added !== undefined) manifests.unshift({ ...added, sequenceNumber, minSequenceNumber: sequenceNumber })
  const evolvedWriter = { ...writer, table: { ...writer.table, metadata } }
  const merged = await mergeManifests(evolvedWriter, manifests, sequenceNumber, deps.merge ?? defaultMergePolicy)
  const summary = summaryOf({
    operation: 'append',
    parent,
    added: request.dataFiles.map((file) => ({ ...file, content: 0 })),
    removed: [],
    positions: request.to,
    extra: request.summary,
  })
  const { ledger, to: positions } = request
  return nextSnapshot(deps, writer, { metadata, parent, manifests: merged, summary, positions, ledger })
}
