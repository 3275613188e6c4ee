/**
 * Writes rows to Parquet: hot rows when they are flushed, one file for each partition, and large chunks as soon as they are loaded.
 * Files enter the table's folder durable; nothing refers to them until they are committed.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { columnTypeText } from '../config/column-types.ts'
import type { Column } from '../config/plan.ts'
import type { LoadedTable } from '../lake/catalog.ts'
import { dataFileFrom, type CopyStatistics, type DataFile } from '../lake/data-file.ts'
import { defaultSpec } from '../lake/metadata.ts'
import { partitionFolder, partitionRange, timePartitionOf, type TimePartition } from '../lake/partition.ts'
import type { IcebergSchema, IcebergType, NestedField } from '../lake/schema.ts'
import { pathOf } from '../lake/table-paths.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { isReadOnly } from './columns.ts'
import type { HotTable, ReadyFile } from './hot-table.ts'
import { identifier, literal } from './sql-text.ts'
import { selectHot } from './stream-view.ts'

export interface WriteRequest {
  table: LoadedTable
  /** The schema that the files get: the table's, or the one it evolves to. */
  schema: IcebergSchema
  /** Columns of the rows, all of them in the schema. */
  columns: readonly Column[]
  hot: readonly HotTable[]
}

export interface WrittenFile {
  /** Its key in the object store. */
  key: string
  /** Value of the time partition, whole units since 1970. */
  partition: number
  dataFile: DataFile
}

export interface WriteDeps {
  store: ObjectStore
  fileSystem: FileSystem
  random: Random
  tmpDir: string
}

/** Makes a commit of new files. After a conflict nothing refers to them, and they go; after any other error it may have been made. */
export async function removedOnConflict<T>(
  { store }: Pick<WriteDeps, 'store'>,
  written: readonly WrittenFile[],
  commit: () => Promise<T>,
): Promise<T> {
  try {
    return await commit()
  } catch (error) {
    // What cannot be removed is left to orphan removal.
    if (error instanceof FreshetError && error.code === 'commit_conflict')
      await store.delete(written.map(({ key }) => key)).catch(() => undefined)
    throw error
  }
}

/** The rows of `hot` as data files of the table. */
export async function writeDataFiles(
  connection: DuckDBConnection,
  deps: WriteDeps,
  request: WriteRequest,
): Promise<WrittenFile[]> {
  const time = partitioning(request.table, request.schema)
  const written: WrittenFile[] = []
  for (const { ready } of request.hot) if (ready) written.push(await placeReady(deps, request.table, time, ready))
  const loose = request.hot.filter(({ ready }) => ready === undefined)
  const select = loose.map((table) => selectHot(request.columns, table)).join(' UNION ALL ')
  if (loose.length > 0) written.push(...(await writeSelected(connection, deps, { ...request, select })))
  const total = request.hot.reduce((sum, table) => sum + table.rows, 0)
  const found = written.reduce((sum, { dataFile }) => sum + dataFile.recordCount, 0)
  if (found !== total) throw new Error(`Of ${total} rows of ${request.table.name}, ${found} were written to data files`)
  return written
}

/** The rows of `select`, which has exactly `columns`, as data files of the table, one for each of its partitions; in an order, if one is given. */
export async function writeSelected(
  connection: DuckDBConnection,
  deps: Omit<WriteDeps, 'fileSystem'>,
  request: Omit<WriteRequest, 'hot'> & { select: string; order?: string },
): Promise<WrittenFile[]> {
  const { table, schema, select, order } = request
  const time = partitioning(table, schema)
  const partitions = await partitionsOf(connection, select, time)
  const written: WrittenFile[] = []
  for (const partition of partitions) {
    const filter = partitions.length === 1 ? '' : ` WHERE ${rangeFilter(time, partition)}`
    const rows = `SELECT * FROM (${select})${filter}${order === undefined ? '' : ` ORDER BY ${order}`}`
    written.push(await writeFile(connection, deps, request, time, partition, rows))
  }
  return written
}

/** How the table's new files are cut. */
export function partitioning(table: LoadedTable, schema: IcebergSchema): TimePartition {
  const time = timePartitionOf(defaultSpec(table.metadata), schema)
  if (time === undefined) throw new Error(`The table ${table.name} is partitioned in a way that Freshet does not write`)
  return time
}

/**
 * Writes the rows of `select`, which has exactly `columns`, to a Parquet file in scratch that can enter the table as it is.
 * @returns undefined, and no file, when the rows belong to several partitions
 */
export async function writeReadyFile(
  connection: DuckDBConnection,
  deps: Omit<WriteDeps, 'store' | 'fileSystem'>,
  request: Omit<WriteRequest, 'hot'> & { select: string },
): Promise<ReadyFile | undefined> {
  const { table, schema, columns, select } = request
  const file = join(deps.tmpDir, `${deps.random.hex(16)}.parquet`)
  try {
    const statistics = await copyRows(connection, select, file, schema, columns)
    const written = `SELECT * FROM read_parquet(${literal(file)})`
    const [partition, ...others] = await partitionsOf(connection, written, partitioning(table, schema))
    if (partition !== undefined && others.length === 0)
      return { file, rows: Number(statistics.count), statistics, schema, partition }
  } catch (error) {
    await rm(file, { force: true })
    throw error
  }
  await rm(file, { force: true })
  return undefined
}

/** Puts a ready file into the table's folder under a second name: queries go on reading the first until the commit is done. */
async function placeReady(
  { store, random, tmpDir, fileSystem }: WriteDeps,
  table: LoadedTable,
  time: TimePartition,
  { file, statistics, schema, partition }: ReadyFile,
): Promise<WrittenFile> {
  const name = `${random.hex(16)}.parquet`
  const second = join(tmpDir, name)
  await fileSystem.link(file, second)
  return place(store, table, time, { file: second, name, statistics, schema, partition })
}

async function partitionsOf(connection: DuckDBConnection, rows: string, time: TimePartition): Promise<number[]> {
  const column = identifier(time.column)
  const expressions = {
    hour: floorDivided(column, 3_600_000_000),
    day: floorDivided(column, 86_400_000_000),
    month: `CAST((year(${column}) - 1970) * 12 + month(${column}) - 1 AS INTEGER)`,
  }
  const result = await connection.runAndReadAll(
    `SELECT DISTINCT ${expressions[time.unit]} AS p FROM (${rows}) ORDER BY p`,
  )
  return result.getColumns()[0]?.map(Number) ?? []
}

/** Whole units since 1970, rounded down: in integers, since doubles are not exact to the microsecond. */
function floorDivided(column: string, unitMicros: number): string {
  const micros = `epoch_us(${column})`
  return `CAST((${micros} - ((${micros} % ${unitMicros}) + ${unitMicros}) % ${unitMicros}) // ${unitMicros} AS INTEGER)`
}

function rangeFilter(time: TimePartition, partition: number): string {
  const { from, to } = partitionRange(time.unit, partition)
  const micros = `epoch_us(${identifier(time.column)})`
  return `${micros} >= ${from} AND ${micros} < ${to}`
}

async function writeFile(
  connection: DuckDBConnection,
  { store, random, tmpDir }: Omit<WriteDeps, 'fileSystem'>,
  { table, schema, columns }: Omit<WriteRequest, 'hot'>,
  time: TimePartition,
  partition: number,
  select: string,
): Promise<WrittenFile> {
  const name = `${random.hex(16)}.parquet`
  const file = join(tmpDir, name)
  try {
    const statistics = await copyRows(connection, select, file, schema, columns)
    return await place(store, table, time, { file, name, statistics, schema, partition })
  } finally {
    await rm(file, { force: true })
  }
}

/**
 * Writes the rows of `select`, in its order, to a Parquet file whose columns have the schema's field ids. Columns of types that only
 * other engines write are left out, which readers take for null.
 * @throws FreshetError `unsupported_table` when one of those has a value
 */
export async function copyRows(
  connection: DuckDBConnection,
  select: string,
  file: string,
  schema: IcebergSchema,
  columns: readonly Column[],
): Promise<CopyStatistics> {
  const foreign = columns.filter(isReadOnly)
  if (foreign.length > 0) await refuseValues(connection, select, foreign)
  const rows = foreign.length === 0 ? select : `SELECT * EXCLUDE (${namesOf(foreign)}) FROM (${select})`
  const own = columns.filter((column) => !isReadOnly(column))
  const result = await connection.runAndReadAll(
    `COPY (${rows}) TO ${literal(file)} (FORMAT parquet, COMPRESSION zstd, FIELD_IDS ${fieldIds(schema, own)}, RETURN_STATS)`,
  )
  return statisticsOf(result.getRowObjectsJson()[0]!)
}

async function refuseValues(connection: DuckDBConnection, select: string, columns: readonly Column[]): Promise<void> {
  const counts = columns.map(({ name }) => `count(${identifier(name)})`)
  const result = await connection.runAndReadAll(`SELECT ${counts.join(', ')} FROM (${select})`)
  const filled = columns.find((_, index) => Number(result.getRows()[0]![index]) > 0)
  if (filled === undefined) return
  throw new FreshetError(
    'unsupported_table',
    `Column ${filled.name} has the type ${columnTypeText(filled.type)}, which Freshet reads and cannot write, and rows that are to be written have values in it.`,
    { hint: 'Have the engine that added the column rewrite these rows, or drop the column there.' },
  )
}

function namesOf(columns: readonly Column[]): string {
  return columns.map(({ name }) => identifier(name)).join(', ')
}

/** Moves a finished Parquet file into the table's folder. */
export async function place(
  store: ObjectStore,
  table: LoadedTable,
  time: TimePartition,
  written: Omit<ReadyFile, 'rows'> & { name: string },
): Promise<WrittenFile> {
  const { file, name, statistics, schema, partition } = written
  const where = `data/${partitionFolder(time, partition)}/${name}`
  const key = `${table.name}/${where}`
  await store.put(key, { file })
  const dataFile = dataFileFrom(statistics, {
    path: pathOf(table, where),
    schema,
    partition: { [time.name]: partition },
  })
  return { key, partition, dataFile }
}

function statisticsOf(row: Record<string, unknown>): CopyStatistics {
  return row as unknown as CopyStatistics
}

/** The FIELD_IDS option for these columns of a schema. */
function fieldIds(schema: IcebergSchema, columns: readonly Column[]): string {
  const names = new Set(columns.map(({ name }) => name))
  const fields = schema.fields.filter(({ name }) => names.has(name))
  return `{${fields.map(fieldId).join(', ')}}`
}

function fieldId(field: NestedField): string {
  return `${identifier(field.name)}: ${idOfType(field.id, field.type)}`
}

function idOfType(id: number, type: IcebergType): string {
  if (typeof type === 'string') return String(id)
  switch (type.type) {
    case 'struct':
      return `{__duckdb_field_id: ${id}, ${type.fields.map(fieldId).join(', ')}}`
    case 'list':
      return `{__duckdb_field_id: ${id}, element: ${idOfType(type['element-id'], type.element)}}`
    case 'map':
      return `{__duckdb_field_id: ${id}, key: ${idOfType(type['key-id'], type.key)}, value: ${idOfType(type['value-id'], type.value)}}`
  }
}
