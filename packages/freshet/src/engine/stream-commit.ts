/**
 * Puts frozen rows of a stream into its table: data files, and then one commit of them with the log position they reach (I3) and
 * what the ledger has to say of them (I6).
 *
 * What a crash leaves, at each step:
 * 1. before the files are in place: scratch files, removed at the next start.
 * 2. before the commit: data files in no snapshot; the log still holds their events, which are loaded again from the position of
 *    the last snapshot.
 * 3. after the commit, before the view and the log know: nothing to do; the table says where to go on.
 *
 * When a commit fails, the table is loaded anew and its positions decide what became of it (`outcomeOf`).
 */
import type { Column } from '../config/plan.ts'
import type { Catalog, LoadedTable } from '../lake/catalog.ts'
import { appendFiles, type CommitDeps } from '../lake/commit.ts'
import type { LedgerDelta } from '../lake/ledger.ts'
import { currentSchema, evolveTable, tablePositions } from '../lake/metadata.ts'
import type { Position } from '../log/log.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import { mergeColumns } from './columns.ts'
import { writeDataFiles } from './data-files.ts'
import type { Database } from './duckdb.ts'
import type { HotTable } from './hot-table.ts'
import { knownColumns } from './stream-view.ts'

/** Hot rows that take no more, and what they stand for. */
export interface FrozenRows {
  tables: readonly HotTable[]
  columns: readonly Column[]
  from: Position
  to: Position
  /** undefined for a stream without a ledger. */
  ledger: LedgerDelta | undefined
}

export interface StreamCommitDeps extends CommitDeps {
  database: Database
  fileSystem: FileSystem
  tmpDir: string
}

const partition = 0

/**
 * Commits frozen rows; returns the table with them.
 * @throws FreshetError `commit_conflict` when they can no longer be committed; their files are removed again. Any other error leaves
 * it open whether the commit was made.
 */
export async function commitRows(deps: StreamCommitDeps, table: LoadedTable, frozen: FrozenRows): Promise<LoadedTable> {
  const { store, fileSystem, random, database, tmpDir } = deps
  // Another writer may have widened the table meanwhile: its types must never become narrower again.
  const columns = mergeColumns(frozen.columns, knownColumns(table))
  const evolution = evolveTable(table.metadata, columns)
  const schema = evolution?.schema ?? currentSchema(table.metadata)
  const hot = frozen.tables.filter(({ rows }) => rows > 0)
  const written =
    hot.length === 0
      ? []
      : await database.with((connection) =>
          writeDataFiles(connection, { store, fileSystem, random, tmpDir }, { table, schema, columns, hot }),
        )
  try {
    const { table: next } = await appendFiles(deps, {
      table,
      dataFiles: written.map(({ dataFile }) => dataFile),
      ...(evolution && { evolution }),
      from: new Map([[partition, frozen.from]]),
      to: new Map([[partition, frozen.to]]),
      ...(frozen.ledger && { ledger: frozen.ledger }),
    })
    return next
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'commit_conflict')
      await store.delete(written.map(({ key }) => key))
    throw error
  }
}

/** What became of a commit. */
export type CommitOutcome =
  | { outcome: 'made'; table: LoadedTable }
  /** The table is as it was, or is not there yet: the frozen rows can be committed again. */
  | { outcome: 'not made'; table: LoadedTable | undefined }
  /** Another engine loads this stream: the frozen rows are no longer what comes next. */
  | { outcome: 'overtaken' }

/** Finds out from the table what became of a commit whose answer was an error. */
export async function outcomeOf(catalog: Catalog, stream: string, frozen: FrozenRows): Promise<CommitOutcome> {
  const table = await catalog.load(stream)
  const reached = table ? (tablePositions(table.metadata).get(partition) ?? 0n) : 0n
  if (table && reached === frozen.to && frozen.to !== frozen.from) return { outcome: 'made', table }
  return reached === frozen.from ? { outcome: 'not made', table } : { outcome: 'overtaken' }
}
