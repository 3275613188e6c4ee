/**
 * Takes data files out of a table and puts others in their place, in one snapshot: compaction (`replace`), changed rows (`overwrite`),
 * dropped partitions (`delete`). Log positions, ledger and sources stay what the table has: no event comes in by it.
 *
 * In the snapshot, removed files are deleted entries, with the snapshot that removed them and their own sequence numbers; only the
 * manifests that have one are written anew, whatever else the table holds. Added files are in manifests of their own.
 *
 * A `replace` gives its files the data sequence number of the snapshot it was planned on (Iceberg spec, Sequence Numbers): the rows
 * are as old as that, so equality deletes that another engine commits meanwhile go on applying to them.
 *
 * Order: manifests, manifest list, then the swap (snapshot-commit.ts, with what a crash or a lost answer leaves). When others
 * committed since the plan, the rewrite is made on top of theirs, if every removed file is still live, and no delete file has come in that
 * applies to one of them: its rows would come back in the added files. Otherwise it is a conflict, and to be planned anew. The
 * new files are durable before, and removed by the caller after a conflict. The removed ones stay, for older snapshots.
 */
import { FreshetError } from '../runtime/errors.ts'
import type { LoadedTable } from './catalog.ts'
import type { DataFile } from './data-file.ts'
import { mayReach, partitionKey, scopeOf } from './delete-files.ts'
import { locateFiles, type LocatedFiles } from './locate-files.ts'
import { entryStatus, readManifest, type ManifestEntry, type ManifestFile } from './manifest.ts'
import {
  isIntegerSpec,
  carryManifests,
  specById,
  writeManifest,
  type ManifestWriter,
  type OpenManifest,
} from './manifest-writer.ts'
import { defaultMergePolicy, mergeManifests, pack } from './merge-manifests.ts'
import {
  currentSchema,
  currentSnapshot,
  positionsKey,
  snapshotById,
  tablePositions,
  type Snapshot,
  type TableMetadata,
} from './metadata.ts'
import { currentManifests, liveManifests, nextSequenceNumber, nextSnapshot } from './next-snapshot.ts'
import type { LedgerDelta } from './ledger.ts'
import type { Positions } from '../log/log.ts'
import { commitInLoop, newSnapshotId, reload, type Attempt, type CommitDeps } from './snapshot-commit.ts'
import type { IcebergSchema } from './schema.ts'
import { summaryOf, type FileFigures } from './snapshot-summary.ts'
import { keyOf } from './table-paths.ts'

/** A file to add. It belongs to the table's default partition spec, or to the one that is named. */
interface AddedFile extends DataFile {
  specId?: number
}

export interface RewriteRequest {
  /** The table as it was when the files to remove were chosen and read; others may have committed since. */
  table: LoadedTable
  /** Paths of live data files, as the metadata has them. There may be none where `properties` say what the commit is for. */
  remove: readonly string[]
  /** Already durable in the store. They hold the rows that stay of the removed files. */
  add: readonly AddedFile[]
  operation: 'replace' | 'overwrite' | 'delete'
  /** Paths of live delete files that nothing needs any more: every data file that they apply to is among the removed ones. */
  removeDeletes?: readonly string[]
  /** Further fields for the snapshot's summary. */
  summary?: Record<string, string>
  /** What is added to the ledger by it (I6). */
  ledger?: LedgerDelta
  /** Table properties to set in the same commit, given the metadata it is made on; asked again for each attempt. */
  properties?: (base: TableMetadata) => Record<string, string>
  /** The table's metadata with the schema and the partitioning of the added files, where they are not the table's own. */
  evolve?: (base: TableMetadata) => TableMetadata
}

export interface RewriteResult {
  table: LoadedTable
  snapshot: Snapshot
  /** Commits by others that this one had to be rebased on, once it had begun. */
  conflicts: number
}

/**
 * Commits a rewrite as one snapshot.
 * @throws FreshetError `commit_conflict` when it has to be planned anew: nothing was changed, and the caller removes the added files.
 * `unsupported_table` when a manifest that another engine wrote cannot be written anew. Any other error leaves it open whether the commit
 * was made: load the table and look for the removed files.
 */
export async function rewriteFiles(deps: CommitDeps, planned: RewriteRequest): Promise<RewriteResult> {
  checkRequest(planned)
  const request = { ...planned, table: evolved(planned, planned.table) }
  const newest = await reload(deps, request.table)
  const snapshotId = newSnapshotId(newest.metadata, deps.random)
  const writer = { store: deps.store, random: deps.random, snapshotId, written: [] }
  checkBase(request, evolved(request, newest))
  const added = await writeAdded({ ...writer, table: request.table }, request)
  const { table, conflicts } = await commitInLoop(deps, {
    base: newest,
    written: writer.written,
    isMade: (metadata) => snapshotById(metadata, snapshotId) !== undefined,
    attempt: (base) => {
      const current = evolved(request, base)
      checkBase(request, current)
      return rewriteOn(deps, { ...writer, table: current }, request, added)
    },
  })
  return { table, snapshot: snapshotById(table.metadata, snapshotId)!, conflicts }
}

function evolved({ evolve }: RewriteRequest, table: LoadedTable): LoadedTable {
  return evolve === undefined ? table : { ...table, metadata: evolve(table.metadata) }
}

/** Mistakes of the caller. */
function checkRequest({ table, remove, add, operation, removeDeletes = [], properties }: RewriteRequest): void {
  const removed = new Set(remove)
  const wrong =
    (remove.length + removeDeletes.length === 0 && properties === undefined && 'removes nothing') ||
    (removed.size < remove.length && 'removes a file twice') ||
    (add.some(({ path }) => removed.has(path)) && 'adds a file that it removes') ||
    (new Set(add.map(({ path }) => path)).size < add.length && 'adds a file twice') ||
    (operation === 'delete' && add.length > 0 && 'deletes, and adds files')
  if (wrong !== false) throw new FreshetError('internal', `A rewrite of ${table.name} ${wrong}.`)
}

/** Whether the added files can be files of `base`. */
function checkBase(request: RewriteRequest, base: LoadedTable): void {
  const { metadata } = request.table
  const known = request.add.every((file) => specById(base.metadata, specOf(request, file)) !== undefined)
  const isSame = metadata['table-uuid'] === base.metadata['table-uuid'] && known
  const fits = request.evolve === undefined || sameFields(currentSchema(metadata), currentSchema(base.metadata))
  if (isSame && fits) return
  throw conflict(base, 'The table was replaced, or lost the columns or the partitioning of the new files')
}

function sameFields(a: IcebergSchema, b: IcebergSchema): boolean {
  return JSON.stringify(a.fields) === JSON.stringify(b.fields)
}

function specOf({ table }: RewriteRequest, { specId }: AddedFile): number {
  return specId ?? table.metadata['default-spec-id']
}

/** A manifest for each partition spec of the added files. Sequence numbers that are left out are those of the commit that succeeds. */
async function writeAdded(writer: ManifestWriter, request: RewriteRequest): Promise<ManifestFile[]> {
  const planned = currentSnapshot(request.table.metadata)
  const sequenceNumber = request.operation === 'replace' ? (planned?.['sequence-number'] ?? null) : null
  const manifests: ManifestFile[] = []
  for (const [specId, files] of Map.groupBy(request.add, (file) => specOf(request, file))) {
    const entries = files.map(({ specId: _specId, ...file }): ManifestEntry => ({
      status: entryStatus.added,
      snapshotId: writer.snapshotId,
      sequenceNumber,
      fileSequenceNumber: null,
      content: 0,
      format: 'PARQUET',
      file,
      splitOffsets: null,
      sortOrderId: 0,
      keyMetadata: null,
    }))
    const spec = specById(request.table.metadata, specId)
    if (spec === undefined) throw new FreshetError('internal', `${request.table.name} has no partition spec ${specId}.`)
    manifests.push(await writeManifest(writer, spec, entries, Number.MAX_SAFE_INTEGER))
  }
  return manifests
}

async function rewriteOn(
  deps: CommitDeps,
  writer: ManifestWriter,
  request: RewriteRequest,
  added: readonly ManifestFile[],
): Promise<Attempt> {
  const { metadata } = writer.table
  const sequenceNumber = nextSequenceNumber(metadata)
  const policy = deps.merge ?? defaultMergePolicy
  const manifests = await currentManifests(writer)
  const data = await locateFiles(writer, manifests, 0, request.remove)
  const deletes = await locateFiles(writer, manifests, 1, request.removeDeletes ?? [])
  const missing = [...data.missing, ...deletes.missing]
  if (missing.length > 0) {
    const others = missing.length === 1 ? '' : ` and ${missing.length - 1} others`
    throw conflict(writer.table, `The file ${missing[0]}${others} is no longer in the table`)
  }
  await checkDeletes(writer, request, manifests, data)

  const replaced = new Map<string, readonly ManifestFile[]>()
  for (const { opened, paths } of [
    { opened: data.opened, paths: new Set(request.remove) },
    { opened: deletes.opened, paths: new Set(request.removeDeletes) },
  ]) {
    for (const group of groupsOf(metadata, opened, policy)) {
      const rewritten = await carryManifests(writer, group, paths, sequenceNumber)
      group.forEach(({ row }, index) => replaced.set(row.path, index === 0 ? rewritten : []))
    }
  }
  const own = added.map((manifest) => ({
    ...manifest,
    sequenceNumber,
    minSequenceNumber: Math.min(manifest.minSequenceNumber, sequenceNumber),
  }))
  const next = [...own, ...manifests.flatMap((manifest) => replaced.get(manifest.path) ?? manifest)]
  const merged = await mergeManifests(writer, next, sequenceNumber, policy)

  const parent = currentSnapshot(metadata)
  const positions = positionsOf(metadata)
  const summary = summaryOf({
    operation: request.operation,
    parent,
    added: request.add.map((file) => ({ ...file, content: 0 })),
    removed: [...data.files, ...deletes.files].map(figuresOf),
    positions,
    extra: request.summary,
  })
  const { ledger } = request
  const properties = request.properties?.(metadata)
  return nextSnapshot(deps, writer, { metadata, parent, manifests: merged, summary, positions, ledger, properties })
}

/** Log positions of a table that stay; undefined for one that was never loaded from a log. */
export function positionsOf(metadata: TableMetadata): Positions | undefined {
  const positions = tablePositions(metadata)
  return positions.size > 0 || metadata.properties[positionsKey] !== undefined ? positions : undefined
}

/** Manifests that are written as one. Where we cannot order partitions, each stays by itself and keeps its summary. */
function groupsOf(
  metadata: TableMetadata,
  opened: readonly OpenManifest[],
  policy: Parameters<typeof pack>[1],
): OpenManifest[][] {
  const bySpec = Map.groupBy(opened, ({ row }) => row.specId)
  return [...bySpec].flatMap(([specId, manifests]) => {
    const spec = specById(metadata, specId)
    if (spec === undefined || !isIntegerSpec(spec)) return manifests.map((manifest) => [manifest])
    return pack(manifests, policy, ({ row }) => row)
  })
}

/**
 * Refuses a rewrite that would bring back rows: delete files that came in since the plan, and apply to a file that is removed.
 * Equality deletes that are younger than the plan go on applying to the files of a `replace`.
 */
async function checkDeletes(
  writer: ManifestWriter,
  request: RewriteRequest,
  manifests: readonly ManifestFile[],
  data: LocatedFiles,
): Promise<void> {
  const current = manifests.filter(({ content }) => content === 1)
  const planned = currentSnapshot(request.table.metadata)
  if (current.length === 0 || data.files.length === 0) return
  const before = planned === undefined ? [] : await plannedDeletes({ ...writer, table: request.table }, planned)
  const known = new Set(before.map(({ path }) => path))
  const fresh = current.filter(({ path }) => !known.has(path))
  if (fresh.length === 0) return
  const knownFiles = new Set<string>()
  for (const manifest of before) for (const { file } of await liveEntries(writer, manifest)) knownFiles.add(file.path)
  const targets = data.files.map(({ row, entry }) => ({
    path: entry.data_file.file_path,
    partition: partitionKey(row.specId, entry.data_file.partition),
  }))
  for (const manifest of fresh) {
    for (const entry of await liveEntries(writer, manifest)) {
      if (knownFiles.has(entry.file.path)) continue
      if (request.removeDeletes?.includes(entry.file.path) === true) continue
      const scope = scopeOf(manifest, entry)
      const isYounger = scope.sequenceNumber > (planned?.['sequence-number'] ?? 0)
      if (entry.content === 2 && request.operation === 'replace' && isYounger) continue
      const isGlobal = entry.content === 2 && Object.keys(entry.file.partition).length === 0
      const reached = targets.find((target) =>
        entry.content === 2 ? isGlobal || scope.partition === target.partition : mayReach(scope, target),
      )
      if (reached !== undefined) throw conflict(writer.table, `Rows of the file ${reached.path} were deleted`)
    }
  }
}

async function plannedDeletes(
  writer: Pick<ManifestWriter, 'store' | 'table'>,
  planned: Snapshot,
): Promise<ManifestFile[]> {
  try {
    return (await liveManifests(writer, planned)).filter(({ content }) => content === 1)
  } catch (error) {
    if (!(error instanceof FreshetError) || error.code !== 'corrupt_table') throw error
    throw conflict(writer.table, `The snapshot ${planned['snapshot-id']} has expired`)
  }
}

async function liveEntries(
  { store, table }: Pick<ManifestWriter, 'store' | 'table'>,
  manifest: ManifestFile,
): Promise<ManifestEntry[]> {
  const entries = await readManifest(store, keyOf(table, manifest.path), manifest)
  return entries.filter(({ status }) => status !== entryStatus.deleted)
}

function figuresOf({ entry }: LocatedFiles['files'][number]): FileFigures {
  const { content, record_count: records, file_size_in_bytes: bytes, partition } = entry.data_file
  return { content: content ?? 0, recordCount: Number(records), bytes: Number(bytes), partition }
}

function conflict({ name }: Pick<LoadedTable, 'name'>, reason: string): FreshetError {
  return new FreshetError(
    'commit_conflict',
    `${reason} of ${name} since its files were chosen for being rewritten. Nothing was changed.`,
    { hint: 'The rewrite is planned again from the table as it is.' },
  )
}
