/**
 * Writes the rows of data files anew: one partition, sorted, in files of about the target size. The files enter the table's folder durable;
 * nothing refers to them until they are committed, and what a crash leaves here is scratch, or for orphan removal.
 *
 * Nothing is handed out before the rows that were written have been read back and found to be those that were read: as many, with the
 * same sum over the hashes of their ids (of their buckets, in a rollup), all in their partition. Memory is bounded by the database it runs on, which sorts on disk what
 * does not fit; one COPY writes one file of one partition.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema } from '../../lake/metadata.ts'
import { partitionRange, timeColumnOf, type TimePartition } from '../../lake/partition.ts'
import { columnsOf, type IcebergSchema } from '../../lake/schema.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { FileLayouts } from '../file-layouts.ts'
import { copyRows, partitioning, place, type WriteDeps, type WrittenFile } from '../data-files.ts'
import { identifier, literal } from '../sql-text.ts'
import { selectStored, type StoredFile } from './stored-rows.ts'

export interface AnewRequest {
  table: LoadedTable
  /** All their rows lie in `partition`. */
  files: readonly (StoredFile & { recordCount: number })[]
  partition: number
  /** How many files are to come of it. */
  outputs: number
  /** Column by which rows are sorted before their event time. */
  sort: string | undefined
  /** Ends it early. */
  signal: AbortSignal
}

export type AnewDeps = WriteDeps & { lakeDir: string }

/** What tells one set of rows from another. */
interface Fingerprint {
  rows: number
  ids: bigint
}

/**
 * The rows of `files`, without those that are deleted, in new data files; none when no row is left.
 * @throws FreshetError `corrupt_table` when files do not have the rows that the table says; the signal's reason when it was ended
 */
export async function writeAnew(
  connection: DuckDBConnection,
  deps: AnewDeps,
  request: AnewRequest,
): Promise<WrittenFile[]> {
  const { table, files, partition, signal } = request
  const interrupt = (): void => connection.interrupt()
  signal.addEventListener('abort', interrupt)
  const scratch: string[] = []
  const placed: WrittenFile[] = []
  try {
    signal.throwIfAborted()
    const schema = currentSchema(table.metadata)
    const time = partitioning(table, schema)
    const key = keyOf(schema)
    const before = await fingerprint(
      connection,
      selectStored(schema, files, { lakeDir: deps.lakeDir, only: [key] }),
      key,
    )
    checkCount(table, files, before)
    if (before.rows === 0) return []
    const layouts = new FileLayouts()
    await layouts.learn(
      connection,
      table.metadata,
      files.map((file) => join(deps.lakeDir, file.key)),
    )
    const written = []
    for (const where of await divide(connection, deps, schema, request, before.rows)) {
      const name = `${deps.random.hex(16)}.parquet`
      const file = join(deps.tmpDir, name)
      scratch.push(file)
      const select = selectStored(schema, files, {
        lakeDir: deps.lakeDir,
        layouts,
        ...(where !== undefined && { where }),
      })
      const ordered = `SELECT * FROM (${select}) ORDER BY ${sortOrder(schema, request.sort)}`
      signal.throwIfAborted()
      const statistics = await copyRows(connection, ordered, file, schema, columnsOf(schema))
      written.push({ file, name, statistics, schema, partition })
    }
    await checkWritten(connection, table, time, partition, scratch, key, before)
    signal.throwIfAborted()
    for (const one of written) placed.push(await place(deps.store, table, time, one))
    return placed
  } catch (error) {
    await deps.store.delete(placed.map(({ key }) => key)).catch(() => undefined)
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', interrupt)
    for (const file of scratch) await rm(file, { force: true })
  }
}

/** By the chosen column, if the table has it and its values have an order, then by time. */
function sortOrder(schema: IcebergSchema, sort: string | undefined): string {
  const index = schema.fields.findIndex(({ name }) => name === sort)
  const type = columnsOf(schema)[index]?.type.kind
  const orderly = type !== undefined && type !== 'struct' && type !== 'list' && type !== 'map' && type !== 'json'
  const time = timeColumnOf(schema)
  return orderly ? `${identifier(sort!)}, ${time}` : time
}

/** The column that tells rows apart. */
function keyOf(schema: IcebergSchema): '_event_id' | 'bucket' {
  return timeColumnOf(schema) === 'bucket' ? 'bucket' : '_event_id'
}

async function fingerprint(connection: DuckDBConnection, select: string, key: string): Promise<Fingerprint> {
  const sums = `count(*), coalesce(sum(CAST(hash(${key}) AS HUGEINT)), 0)`
  const result = await connection.runAndReadAll(`SELECT ${sums} FROM (${select})`)
  const [rows, ids] = result.getRows()[0]!
  return { rows: Number(rows), ids: ids as bigint }
}

/** Files without deletes must have the rows that the table says. */
function checkCount(table: LoadedTable, files: AnewRequest['files'], { rows }: Fingerprint): void {
  const expected = files.reduce((sum, { recordCount }) => sum + recordCount, 0)
  const deletes = files.some((file) => file.deletes.length > 0)
  if (deletes ? rows <= expected : rows === expected) return
  throw new FreshetError('corrupt_table', `Files of ${table.name} have ${rows} rows, but the table says ${expected}.`, {
    hint: '`freshet verify --deep` says which file is damaged.',
  })
}

/** @throws Error when what was written is not what was read */
async function checkWritten(
  connection: DuckDBConnection,
  table: LoadedTable,
  time: TimePartition,
  partition: number,
  files: readonly string[],
  key: string,
  before: Fingerprint,
): Promise<void> {
  const relation = `read_parquet([${files.map(literal).join(', ')}])`
  const after = await fingerprint(connection, `SELECT ${key} FROM ${relation}`, key)
  const { from, to } = partitionRange(time.unit, partition)
  const micros = `epoch_us(${identifier(time.column)})`
  const stray = await connection.runAndReadAll(
    `SELECT count(*) FROM ${relation} WHERE NOT coalesce(${micros} >= ${from} AND ${micros} < ${to}, false)`,
  )
  const strays = Number(stray.getRows()[0]![0])
  if (after.rows === before.rows && after.ids === before.ids && strays === 0) return
  throw new Error(
    `Of ${before.rows} rows of ${table.name}, ${after.rows} were written, ${strays} of them in a partition that is not theirs` +
      (after.rows === before.rows && after.ids !== before.ids ? ', and their ids differ' : ''),
  )
}

/**
 * Conditions that cut the rows into about equal parts, one for each file: ranges of event time, or, where most events have one time,
 * ranges of places in the file. Only a single file is ever cut.
 */
async function divide(
  connection: DuckDBConnection,
  deps: AnewDeps,
  schema: IcebergSchema,
  { files, outputs }: AnewRequest,
  rows: number,
): Promise<(string | undefined)[]> {
  if (outputs <= 1 || files.length > 1) return [undefined]
  const time = timeColumnOf(schema)
  const times = `SELECT epoch_us(${time}) AS t FROM (${selectStored(schema, files, { lakeDir: deps.lakeDir, only: [time] })})`
  const shares = Array.from({ length: outputs - 1 }, (_, index) => (index + 1) / outputs)
  const result = await connection.runAndReadAll(
    `SELECT unnest(approx_quantile(t, [${shares.join(', ')}])) FROM (${times})`,
  )
  const bounds = [...new Set(result.getRows().map(([bound]) => bound as bigint))]
  const micros = `epoch_us(f.${time})`
  const ranges = rangesOf(micros, bounds)
  const counts = ranges.map((range) => `count(*) FILTER (WHERE ${range.replaceAll(micros, 't')})`)
  const counted = await connection.runAndReadAll(`SELECT ${counts.join(', ')} FROM (${times})`)
  const sizes = counted.getRows()[0]!.map(Number)
  if (Math.max(...sizes) <= (1.5 * rows) / outputs) return ranges.filter((_, index) => sizes[index]! > 0)
  const { recordCount } = files[0]!
  return rangesOf(
    'f.file_row_number',
    shares.map((share) => BigInt(Math.ceil(recordCount * share))),
  )
}

/** Conditions that put every value into one of the ranges that `bounds`, in ascending order, cut. */
function rangesOf(value: string, bounds: readonly bigint[]): string[] {
  const edges = [undefined, ...bounds, undefined]
  return edges.slice(1).map((to, index) => {
    const from = edges[index]
    const parts = [from === undefined ? '' : `${value} >= ${from}`, to === undefined ? '' : `${value} < ${to}`]
    return parts.filter((part) => part !== '').join(' AND ') || 'true'
  })
}
