/**
 * Takes the rows that an erasure means out of a table's files: files that have some are written anew without them, those that have
 * nothing else are just left out, in one commit for each bounded group.
 *
 * Crash points: before a commit, new files without the erased rows are left behind, which nothing refers to (orphan removal); after it, those
 * files have no such rows any more, and the next run passes them over. Each commit carries the erasure's id in its snapshot, by which
 * a resumed erasure finds what was done before it was noted down.
 *
 * The ledger is told in the same commit how many rows left the table (I6), and the book of ids that ids may be gone: an event that is
 * sent again later is a new one.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { LoadedTable } from '../../lake/catalog.ts'
import type { CommitDeps } from '../../lake/commit.ts'
import { currentSchema } from '../../lake/metadata.ts'
import { rewriteFiles, type RewriteRequest } from '../../lake/rewrite.ts'
import type { ScanFile, ScanPlan } from '../../lake/scan.ts'
import { columnsOf } from '../../lake/schema.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import { removedOnConflict, writeSelected, type WrittenFile } from '../data-files.ts'
import type { Database } from '../duckdb.ts'
import { countGone, toldOfGone, type GoneRows } from '../gone-rows.ts'
import { deletesDoneWith } from '../upkeep/candidates.ts'
import type { KeptTable } from '../upkeep/job.ts'
import type { ErasureCommit } from './record.ts'
import { countMatches, selectRows, storedColumns } from './rows.ts'
import type { ChooseFiles } from './wanted.ts'

export interface RewriteDeps extends CommitDeps {
  database: Database
  fileSystem: FileSystem
  lakeDir: string
  tmpDir: string
  /** The sources that a ledger must not forget. */
  keptSources: () => ReadonlySet<string>
}

/** What an erasure needs of a table beyond what upkeep does. */
export interface ErasedTable extends KeptTable {
  /** The files of `table`, with their manifests. */
  readonly scanned: ScanPlan | undefined
}

export interface FilesRequest {
  /** The erasure's id. */
  id: string
  /** The field of a snapshot's summary that has it; `erasureKey` if left out. */
  summaryKey?: string
  kept: ErasedTable
  /** See `rowCondition`. */
  condition: string
  /** Of the schema by whose names the condition speaks of columns; see `meantColumns`. */
  schemaId?: number | undefined
  /** Which files are looked into for rows that are meant. */
  choose: ChooseFiles
  signal: AbortSignal
}

/** Fields of a snapshot's summary. */
export const erasureKey = 'freshet.erasure'
const erasedRowsKey = 'freshet.erased-rows'

const groupFilesMax = 32
const groupBytesMax = 256 * 1024 * 1024

/** Erases from the table as it is, until no file has a row that is meant. `onCommit` is told of each commit. */
export async function eraseFromFiles(
  deps: RewriteDeps,
  request: FilesRequest,
  onCommit: (commit: ErasureCommit) => Promise<void>,
): Promise<void> {
  const { kept, signal } = request
  for (;;) {
    signal.throwIfAborted()
    const { table, scanned } = kept
    if (table === undefined || scanned === undefined) return
    const { files } = scanned
    const chosen = await request.choose(table, scanned)
    const matches = await deps.database.with((connection) =>
      countMatches(connection, { ...deps, ...request, table, files: chosen }),
    )
    if (matches.size === 0) return
    for (const group of groupsOf(files.filter(({ key }) => matches.has(key)))) {
      signal.throwIfAborted()
      try {
        await onCommit(await eraseGroup(deps, request, { table, files, group, matches }))
      } catch (error) {
        // The files have changed since they were looked at.
        if (error instanceof FreshetError && error.code === 'commit_conflict') break
        throw error
      }
    }
  }
}

/** Commits that an erasure has made, as far as the table still has their snapshots. */
export function commitsOf(id: string, { name, metadata }: LoadedTable): ErasureCommit[] {
  return metadata.snapshots
    .filter(({ summary }) => summary[erasureKey] === id)
    .map(({ 'snapshot-id': snapshotId, summary }) => commitOf(name, snapshotId, summary))
}

function commitOf(table: string, snapshotId: bigint, summary: Record<string, string>): ErasureCommit {
  return {
    table,
    snapshotId: String(snapshotId),
    rows: Number(summary[erasedRowsKey] ?? 0),
    filesRemoved: Number(summary['deleted-data-files'] ?? 0),
    filesAdded: Number(summary['added-data-files'] ?? 0),
    bytes: Number(summary['removed-files-size'] ?? 0),
  }
}

function groupsOf(files: readonly ScanFile[]): ScanFile[][] {
  const groups: ScanFile[][] = []
  let bytes = 0
  for (const file of files) {
    const last = groups.at(-1)
    if (last === undefined || last.length === groupFilesMax || bytes + file.bytes > groupBytesMax) {
      groups.push([file])
      bytes = file.bytes
    } else {
      last.push(file)
      bytes += file.bytes
    }
  }
  return groups
}

interface Group {
  table: LoadedTable
  /** All files of the table. */
  files: readonly ScanFile[]
  group: readonly ScanFile[]
  /** Rows that are meant, by key of the file. */
  matches: ReadonlyMap<string, number>
}

async function eraseGroup(deps: RewriteDeps, request: FilesRequest, planned: Group): Promise<ErasureCommit> {
  const { kept, id, summaryKey = erasureKey, signal } = request
  const { table, files, group, matches } = planned
  const written: WrittenFile[] = []
  const gone = await deps.database.with(async (connection) => {
    const interrupt = (): void => connection.interrupt()
    signal.addEventListener('abort', interrupt)
    try {
      for (const file of group) {
        const isWhole = matches.get(file.key) === file.recordCount
        if (!isWhole) written.push(...(await writeRest(connection, deps, request, table, file)))
      }
      const isExact = group.every(({ deletes }) => deletes.length === 0)
      const before = group.reduce((sum, { recordCount }) => sum + recordCount, 0)
      const meant = group.reduce((sum, { key }) => sum + (matches.get(key) ?? 0), 0)
      const after = written.reduce((sum, { dataFile }) => sum + dataFile.recordCount, 0)
      if (isExact && after !== before - meant)
        throw new Error(`Of ${before} rows of ${table.name}, ${meant} are to be erased, but ${after} were kept`)
      return await countMeant(connection, deps, request, table, group)
    } finally {
      signal.removeEventListener('abort', interrupt)
    }
  })
  const rows = gone.count
  const removeDeletes = deletesDoneWith(files, group)
  const base: RewriteRequest = {
    table,
    remove: group.map(({ path }) => path),
    add: written.map(({ dataFile }) => dataFile),
    operation: written.length === 0 ? 'delete' : 'overwrite',
    summary: { [summaryKey]: id, [erasedRowsKey]: String(rows) },
    ...(removeDeletes.length > 0 && { removeDeletes }),
    ...toldOfGone(kept, gone, deps.keptSources),
  }
  let snapshotId = 0n
  let summary: Record<string, string> = {}
  await kept.change(async () => {
    const commit = (): ReturnType<typeof rewriteFiles> => rewriteFiles(deps, base)
    const { table: next, snapshot } = await removedOnConflict(deps, written, commit)
    snapshotId = snapshot['snapshot-id']
    summary = snapshot.summary
    return next
  }, 'fewer')
  return commitOf(table.name, snapshotId, summary)
}

/** What is left of a file, in the columns and types of the table's present schema. */
async function writeRest(
  connection: DuckDBConnection,
  deps: RewriteDeps,
  { condition, schemaId }: FilesRequest,
  table: LoadedTable,
  file: ScanFile,
): Promise<WrittenFile[]> {
  const schema = currentSchema(table.metadata)
  const rows = await selectRows(connection, table, { files: [file], lakeDir: deps.lakeDir, schemaId })
  const select = `SELECT ${storedColumns(schema)} FROM (${rows}) WHERE NOT ${condition}`
  return writeSelected(connection, deps, { table, schema, columns: columnsOf(schema), select })
}

/** Rows that leave the table; those that delete files take out have left it before. */
async function countMeant(
  connection: DuckDBConnection,
  { lakeDir }: RewriteDeps,
  { condition, kept, schemaId }: FilesRequest,
  table: LoadedTable,
  group: readonly ScanFile[],
): Promise<GoneRows> {
  const rows = await selectRows(connection, table, { files: group, lakeDir, schemaId })
  return countGone(connection, kept, `SELECT * FROM (${rows}) WHERE ${condition}`)
}
