/**
 * Puts rows in the place of others, in one commit: files that have rows which go are written anew without them, and the rows that come get files of
 * their own. What else is in those files stays as it is.
 *
 * Crash points: before the commit, new files are left behind, which nothing refers to (orphan removal); after it, nothing is left to do. The
 * commit carries the replay's id in its snapshot. The ledger is told in the same commit of the rows that leave the table, and of those that
 * come as rows that come back (I6): no event was accepted for them. The book of ids looks into the new files (I5).
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { appendFiles } from '../../lake/commit.ts'
import { currentSchema, evolveTable, tablePositions, type Snapshot } from '../../lake/metadata.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { rewriteFiles } from '../../lake/rewrite.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { columnsOf } from '../../lake/schema.ts'
import type { Column } from '../../config/plan.ts'
import { mergeColumns } from '../columns.ts'
import { removedOnConflict, writeSelected, type WrittenFile } from '../data-files.ts'
import type { ErasedTable, RewriteDeps } from '../erasure/rewrite.ts'
import { countMatches, selectRows, storedColumns } from '../erasure/rows.ts'
import { addGone, countGone, toldOfGone, type GoneRows } from '../gone-rows.ts'
import { knownColumns } from '../stream-view.ts'
import { deletesDoneWith } from '../upkeep/candidates.ts'
import { comingRows, goingRows, type Difference } from './difference.ts'
import type { ReplayCommit } from './record.ts'

/** Rows of some files of a table. */
export interface SwapPart {
  difference: Difference
  files: readonly ScanFile[]
}

export interface SwapRequest {
  /** The field of the snapshot's summary, and the id that it has. */
  key: string
  id: string
  /** Which partitions, in words. */
  partitions: string
  parts: readonly SwapPart[]
  /** The table that the differences were found in, with all its files. */
  table: LoadedTable
  files: readonly ScanFile[]
}

const rowsRemovedKey = 'freshet.rows-removed'
const rowsAddedKey = 'freshet.rows-added'
const partitionsKey = 'freshet.partitions'

/** Gives the table the columns that new rows have. @returns whether it had not */
export async function growTable(deps: RewriteDeps, kept: ErasedTable, columns: readonly Column[]): Promise<boolean> {
  const wanted = mergeColumns(knownColumns(kept.table!), columns)
  if (evolveTable(kept.table!.metadata, wanted) === undefined) return false
  await kept.change(async (table) => {
    const evolution = evolveTable(table.metadata, mergeColumns(knownColumns(table), columns))
    if (evolution === undefined) return table
    const positions = tablePositions(table.metadata)
    return (await appendFiles(deps, { table, dataFiles: [], evolution, from: positions, to: positions })).table
  }, 'kept')
  return true
}

/** @throws FreshetError `commit_conflict` when the files have changed since: differences are to be found anew */
export async function swapRows(
  connection: DuckDBConnection,
  deps: RewriteDeps,
  kept: ErasedTable,
  request: SwapRequest,
): Promise<ReplayCommit> {
  const { table, files } = request
  const schema = currentSchema(table.metadata)
  const written: WrittenFile[] = []
  const gone: GoneRows[] = []
  const removed: ScanFile[] = []
  for (const part of request.parts) {
    const condition = goingRows(part.difference)
    const matches = await countMatches(connection, { table, files: part.files, condition, lakeDir: deps.lakeDir })
    const touched = part.files.filter(({ key }) => matches.has(key))
    removed.push(...touched)
    for (const file of touched) {
      const rows = await selectRows(connection, table, { files: [file], lakeDir: deps.lakeDir })
      gone.push(await countGone(connection, kept, `SELECT * FROM (${rows}) WHERE ${condition}`))
      if (matches.get(file.key) === file.recordCount) continue
      const select = `SELECT ${storedColumns(schema)} FROM (${rows}) WHERE NOT (${condition})`
      written.push(...(await writeSelected(connection, deps, { table, schema, columns: columnsOf(schema), select })))
    }
    const { columns, appear, change } = part.difference
    if (appear + change === 0) continue
    const select = comingRows(part.difference)
    written.push(...(await writeSelected(connection, deps, { table, schema, columns, select })))
    gone.push(await countGone(connection, kept, select, -1))
  }
  const rowsRemoved = gone.reduce((sum, { count }) => sum + Math.max(0, count), 0)
  const rowsAdded = gone.reduce((sum, { count }) => sum + Math.max(0, -count), 0)
  const summary = {
    [request.key]: request.id,
    [partitionsKey]: request.partitions,
    [rowsRemovedKey]: String(rowsRemoved),
    [rowsAddedKey]: String(rowsAdded),
  }
  const told = toldOfGone(kept, addGone(gone), deps.keptSources)
  const add = written.map(({ dataFile }) => dataFile)
  let snapshotId = 0n
  await kept.change(async (base) => {
    const commit = async (): Promise<{ table: LoadedTable; snapshot: Snapshot }> => {
      if (removed.length === 0) {
        const positions = tablePositions(base.metadata)
        const { ledger } = told
        const append = {
          table: base,
          dataFiles: add,
          from: positions,
          to: positions,
          summary,
          ...(ledger && { ledger }),
        }
        return appendFiles(deps, append)
      }
      const removeDeletes = deletesDoneWith(files, removed)
      return rewriteFiles(deps, {
        table,
        remove: removed.map(({ path }) => path),
        add,
        operation: add.length === 0 ? 'delete' : 'overwrite',
        summary,
        ...(removeDeletes.length > 0 && { removeDeletes }),
        ...told,
      })
    }
    const { table: next, snapshot } = await removedOnConflict(deps, written, commit)
    snapshotId = snapshot['snapshot-id']
    return next
  }, 'fewer')
  return { snapshotId: String(snapshotId), partitions: request.partitions, rowsRemoved, rowsAdded }
}

/** The commits of a replay that the table still has the snapshots of. */
export function commitsOf(key: string, id: string, { metadata }: LoadedTable): ReplayCommit[] {
  return metadata.snapshots
    .filter(({ summary }) => summary[key] === id)
    .map(({ 'snapshot-id': snapshotId, summary }) => ({
      snapshotId: String(snapshotId),
      partitions: summary[partitionsKey] ?? '',
      rowsRemoved: Number(summary[rowsRemovedKey] ?? 0),
      rowsAdded: Number(summary[rowsAddedKey] ?? 0),
    }))
}
