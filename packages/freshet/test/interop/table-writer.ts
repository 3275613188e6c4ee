import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import type { Column, StreamPlan } from '../../src/config/plan.ts'
import type { LoadedTable } from '../../src/lake/catalog.ts'
import { appendFiles, type CommitDeps } from '../../src/lake/commit.ts'
import { dataFileFrom, type CopyStatistics, type DataFile } from '../../src/lake/data-file.ts'
import type { LedgerDelta } from '../../src/lake/ledger.ts'
import type { LedgerRow } from '../../src/lake/ledger-rows.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import {
  currentSchema,
  defaultSpec,
  evolveTable,
  newTableMetadata,
  tablePositions,
  uuid,
  withPartition,
} from '../../src/lake/metadata.ts'
import { parsePartitionText, partitionFolder, timePartitionOf } from '../../src/lake/partition.ts'
import { tableColumns, type IcebergSchema, type IcebergType, type NestedField } from '../../src/lake/schema.ts'
import { pathOf } from '../../src/lake/table-paths.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'

const strftimeFormats = { hour: '%Y-%m-%d-%H', day: '%Y-%m-%d', month: '%Y-%m' } as const

/** Writes one table of a lake on local disk, as the engine does: Parquet by DuckDB, everything else by src/lake. */
export class TableWriter {
  readonly deps: CommitDeps
  readonly #folder: string
  readonly #connection: DuckDBConnection
  table: LoadedTable
  #position = 0n

  private constructor(folder: string, deps: CommitDeps, connection: DuckDBConnection, table: LoadedTable) {
    this.#folder = folder
    this.deps = deps
    this.#connection = connection
    this.table = table
  }

  static async create(folder: string, columns: Column[], partition: StreamPlan['partition']): Promise<TableWriter> {
    const root = join(folder, 'lake')
    const store = new LocalObjectStore({ root, fileSystem: nodeFileSystem, random: systemRandom })
    const catalog = new FileCatalog({ store, rootLocation: `file://${root}`, logger: silentLogger })
    const merge = { smallManifestsMax: 4, targetBytes: 8 * 1024 * 1024, filesMax: 2000 }
    const deps = { catalog, store, clock: systemClock, random: systemRandom, logger: silentLogger, merge }
    const metadata = newTableMetadata({
      columns: tableColumns(columns),
      partition,
      clock: systemClock,
      random: systemRandom,
    })
    const connection = await (await DuckDBInstance.create(':memory:')).connect()
    await connection.run("set timezone='UTC'")
    return new TableWriter(folder, deps, connection, await catalog.create('trades', metadata))
  }

  /** Path of the newest metadata file. */
  get metadataFile(): string {
    return join(this.#folder, 'lake', 'trades', 'metadata', `v${this.table.version}.metadata.json`)
  }

  async repartition(partition: StreamPlan['partition']): Promise<void> {
    this.table = await this.deps.catalog.commit(this.table, withPartition(this.table.metadata, partition))
  }

  /** Commits the rows of a SELECT that gives all columns, `own` being the stream's; undefined: positions only. */
  async append(own: Column[], select: string | undefined): Promise<void> {
    const evolution = evolveTable(this.table.metadata, tableColumns(own))
    const schema = evolution?.schema ?? currentSchema(this.table.metadata)
    const dataFiles = select === undefined ? [] : await this.write(select, schema)
    const from = tablePositions(this.table.metadata)
    this.#position += 1000n
    const ledger = ledgerOf(dataFiles, Number(this.#position))
    const request = { table: this.table, dataFiles, from, to: new Map([[0, this.#position]]), ledger }
    const result = await appendFiles(this.deps, evolution === undefined ? request : { ...request, evolution })
    this.table = result.table
  }

  /** Writes the rows of a SELECT that gives all columns to data files, which are in no snapshot yet. */
  async write(select: string, schema: IcebergSchema = currentSchema(this.table.metadata)): Promise<DataFile[]> {
    const time = timePartitionOf(defaultSpec(this.table.metadata), schema)!
    const dataFiles: DataFile[] = []
    const copy = `copy (select *, strftime(${time.column}, '${strftimeFormats[time.unit]}') as p from (${select}))
      to '${join(this.#folder, 'tmp')}' (format parquet, compression zstd, return_stats, partition_by (p), overwrite_or_ignore,
      field_ids {${fieldIds(schema.fields.filter((field) => !/_v\d+$/.test(field.name)))}})`
    const reader = await this.#connection.runAndReadAll(copy)
    for (const row of reader.getRowObjectsJson() as unknown as (CopyStatistics & {
      filename: string
      partition_keys: { value: string }[]
    })[]) {
      const value = parsePartitionText(time.unit, row.partition_keys[0]!.value)!
      const place = `data/${partitionFolder(time, value)}/${uuid(systemRandom)}.parquet`
      await this.deps.store.put(`trades/${place}`, { file: row.filename })
      dataFiles.push(dataFileFrom(row, { path: pathOf(this.table, place), schema, partition: { [time.name]: value } }))
    }
    return dataFiles
  }

  async query(sql: string): Promise<Record<string, unknown>[]> {
    return (await this.#connection.runAndReadAll(sql)).getRowObjectsJson()
  }

  close(): void {
    this.#connection.closeSync()
  }
}

/** As if the rows had come from one source, spread over so many hours that the ledger soon has files of its own. */
function ledgerOf(dataFiles: readonly DataFile[], position: number): LedgerDelta {
  const rows = dataFiles.flatMap(({ recordCount }, index) =>
    Array.from({ length: recordCount * 200 }, (_, hour): LedgerRow => {
      const committed = hour === 0 ? recordCount : 0
      const source = `site-${index}`
      return { source, hour: position + hour, accepted: committed + 1, committed, deduplicated: 1, deadLettered: 0 }
    }),
  )
  return {
    rows,
    sources: new Map([['site-0', { lastEventMs: 1, reportedThroughMs: position, lastArrivalMs: position }]]),
  }
}

/** DuckDB's FIELD_IDS for a schema's fields. */
function fieldIds(fields: readonly NestedField[]): string {
  return fields
    .map((field) => `"${field.name.replaceAll('"', '""')}": ${typeFieldIds(field.id, field.type)}`)
    .join(', ')
}

function typeFieldIds(id: number, type: IcebergType): string {
  if (typeof type === 'string') return String(id)
  if (type.type === 'struct') return `{__duckdb_field_id: ${id}, ${fieldIds(type.fields)}}`
  if (type.type === 'list')
    return `{__duckdb_field_id: ${id}, element: ${typeFieldIds(type['element-id'], type.element)}}`
  return `{__duckdb_field_id: ${id}, key: ${typeFieldIds(type['key-id'], type.key)}, value: ${typeFieldIds(type['value-id'], type.value)}}`
}
