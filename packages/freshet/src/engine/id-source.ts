/** How a stream's ids are read from its hot tables and data files, for the book of ids (dedup/id-book.ts). */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { StreamPlan } from '../config/plan.ts'
import { partitionRange } from '../lake/partition.ts'
import type { ScanFile, ScanPlan } from '../lake/scan.ts'
import type { Logger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import { IdBook } from './dedup/id-book.ts'
import type { IdFile, IdSource } from './dedup/id-files.ts'
import type { IdMemory } from './dedup/id-memory.ts'
import type { Scope } from './dedup/scan.ts'
import type { HotTail } from './hot-tail.ts'
import { literal } from './sql-text.ts'
import { notDeleted } from './stream-view.ts'

interface IdSourceOptions {
  /** Used by nobody else while the book is asked. */
  connection: DuckDBConnection
  scope: Scope
  hot: HotTail
  files: () => readonly IdFile[]
  lakeDir: string
}

interface IdBookDeps {
  /** Folder of what is remembered of ids, one folder for each stream. */
  idDir: string
  idMemory: IdMemory
  random: Random
  logger: Logger
  lakeDir: string
}

/** Ids that can come in: at most 512 bytes, without control characters. Others in a table are no repeats of anything. */
const possible = 'strlen(_event_id) <= 512 AND NOT contains(_event_id, chr(10))'
/** Rows of a file that are read at once, which bounds the memory; DuckDB skips the row groups of others. */
const sliceRows = 500_000
const pieceRows = 16_384
const hotPieces = 64

/** The book of a stream's ids, which whoever opens it closes; undefined for a stream whose ids the gateway gives: they cannot repeat. */
export function openIdBook(
  stream: StreamPlan,
  { idDir, idMemory, random, logger, lakeDir }: IdBookDeps,
  options: Pick<IdSourceOptions, 'connection' | 'hot'> & { files: () => readonly ScanFile[] },
): IdBook | undefined {
  if (stream.id === null) return undefined
  const { connection, hot } = options
  const scope = idScope(stream)
  const files = (): IdFile[] => options.files().map((file) => idFile(file, scope))
  const source = idSource({ connection, hot, lakeDir, scope, files })
  return new IdBook({ scope, source, dir: join(idDir, stream.name), memory: idMemory, random, logger })
}

/** Tells the book where the ids are that it noted under `number`, after a commit. */
export function noteCommitted(ids: IdBook, scope: Scope, number: number | undefined, scan: ScanPlan): void {
  const files = scan.added.map((file) => idFile(file, scope))
  if (number !== undefined) ids.committed(number, files)
  // Another writer has replaced files, or deleted rows of some.
  if (scan.removed.length > 0 || scan.changed.length > 0 || number === undefined) ids.recheck()
}

/** What a change of a table's files has done to its ids: those of the files that went are in those that came, or some are gone, or neither is known. */
export type IdChange = 'kept' | 'fewer' | 'unknown'

/** Tells the book that files have been replaced. */
export function noteChanged(ids: IdBook, scope: Scope, scan: ScanPlan, change: IdChange): void {
  const idFiles = (files: readonly ScanFile[]): IdFile[] => files.map((file) => idFile(file, scope))
  if (change === 'kept') ids.replaced(idFiles(scan.removed), idFiles(scan.added))
  else if (change === 'fewer') ids.purge()
  else ids.recheck()
}

function idSource({ connection, scope, hot, files, lakeDir }: IdSourceOptions): IdSource {
  return {
    files,
    readIds: async (file, partition, onPiece) => {
      const inTime = scope === 'table' || file?.partition !== undefined ? '' : ` AND ${inPartition(scope, partition)}`
      const read = async (relation: string, where: string, piece: string): Promise<void> => {
        // One text of many ids is some five times as fast as a value for each.
        const result = await connection.stream(
          `SELECT string_agg(_event_id, chr(10)) || chr(10) FROM ${relation} WHERE ${where}${inTime} GROUP BY ${piece}`,
        )
        for (
          let rows = await result.fetchChunk();
          rows !== null && rows.rowCount > 0;
          rows = await result.fetchChunk()
        ) {
          for (const ids of rows.getColumnValues(0)) await onPiece(Buffer.from(ids as string))
        }
      }
      if (file === undefined) {
        for (const { relation } of hot.tables) await read(relation, possible, `hash(_event_id) % ${hotPieces}`)
        return
      }
      const { cut, key, rows } = file
      const relation = `read_parquet(${literal(join(lakeDir, cut?.key ?? key))}, file_row_number = true)`
      const left = cut ? `${notDeleted(cut, lakeDir)} AND ` : ''
      for (let from = 0; from < rows; from += sliceRows) {
        const slice = `${left}file_row_number >= ${from} AND file_row_number < ${from + sliceRows}`
        await read(relation, `${slice} AND ${possible}`, `file_row_number // ${pieceRows}`)
      }
    },
  }
}

function inPartition(scope: Exclude<Scope, 'table'>, partition: number): string {
  const { from, to } = partitionRange(scope, partition)
  return `epoch_us(_event_time) >= ${from} AND epoch_us(_event_time) < ${to}`
}

/** Where a repeat of an event must be: in the partition of its event time, if the client says that time; else anywhere. */
export function idScope({ partition: { by, unit }, time }: StreamPlan): Scope {
  return by === 'event_time' && time !== null ? unit : 'table'
}

/** A data file, as the book of ids needs it. */
export function idFile(file: ScanFile, scope: Scope): IdFile {
  const { key, path, deletes, partition: time, partitionValue, recordCount: rows } = file
  const known = time?.column === '_event_time' && time.unit === scope && partitionValue !== null
  const partition = known ? partitionValue : undefined
  if (deletes.length === 0) return { key, partition, rows }
  const name = [key, ...deletes.map((deleted) => deleted.key)].join('|')
  return { key: name, partition, rows, cut: { key, path, deletes } }
}
