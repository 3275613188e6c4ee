/** A stream over a table of real Parquet files, as queries see it: without an engine, a log, or a socket. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { systemColumns, type Column, type StreamPlan } from '../../src/config/plan.ts'
import { mergeColumns, storedType } from '../../src/engine/columns.ts'
import { writeDataFiles } from '../../src/engine/data-files.ts'
import { Database, tailSchema } from '../../src/engine/duckdb.ts'
import type { HotTable } from '../../src/engine/hot-table.ts'
import { admit } from '../../src/engine/query/gate.ts'
import { QueryRunner, type QueryRequest } from '../../src/engine/query/run.ts'
import { StreamViews, type StreamScan } from '../../src/engine/query/stream-views.ts'
import { Readers } from '../../src/engine/readers.ts'
import { ShownStream, type StreamState } from '../../src/engine/shown-stream.ts'
import { identifier } from '../../src/engine/sql-text.ts'
import { knownColumns } from '../../src/engine/stream-view.ts'
import type { LoadedTable } from '../../src/lake/catalog.ts'
import { appendFiles } from '../../src/lake/commit.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { currentSchema, evolveTable, newTableMetadata, withPartition } from '../../src/lake/metadata.ts'
import { planScan } from '../../src/lake/scan.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'

/** A row: SQL expressions by column; those that are left out are null, or made up for system columns. */
export type SqlRow = Readonly<Record<string, string>>

/** Columns of all types that bounds are of use for, and one more. */
export const plainColumns: Column[] = [
  { name: 'n', type: { kind: 'long' } },
  { name: 'i', type: { kind: 'int' } },
  { name: 'x', type: { kind: 'double' } },
  { name: 'f', type: { kind: 'float' } },
  { name: 's', type: { kind: 'string' } },
  { name: 'd', type: { kind: 'date' } },
  { name: 'l', type: { kind: 'timestamp' } },
  { name: 'c', type: { kind: 'time' } },
  { name: 'p', type: { kind: 'decimal', precision: 12, scale: 2 } },
  { name: 'b', type: { kind: 'boolean' } },
]

/** What came of a query. */
export interface Found {
  /** Its rows; undefined where DuckDB has no answer. */
  answer: unknown
  scans: readonly StreamScan[]
}

interface Answer {
  rows: Record<string, unknown>[]
}

export class QueryLake {
  readonly dir: string
  readonly database: Database
  readonly views: StreamViews
  readonly store: LocalObjectStore
  readonly catalog: FileCatalog
  readonly runner: QueryRunner
  /** When the next commit is made. */
  nowMs = Date.parse('2013-10-08T00:00:00Z')
  readonly #streams = new Map<string, Shown>()
  readonly #readers = new Readers()
  #rows = 0

  static async open(): Promise<QueryLake> {
    const dir = await mkdtemp(join(tmpdir(), 'freshet-query-'))
    for (const folder of ['tmp', 'lake', 'log']) await mkdir(join(dir, folder))
    const folders = { tmpDir: join(dir, 'tmp'), lakeDir: join(dir, 'lake'), logDir: join(dir, 'log') }
    const database = await Database.open({ memoryBytes: 256 << 20, spillBytesMax: 1 << 30, threads: 1, ...folders })
    return new QueryLake(dir, database)
  }

  private constructor(dir: string, database: Database) {
    this.dir = dir
    this.database = database
    const root = join(dir, 'lake')
    this.store = new LocalObjectStore({ root, fileSystem: nodeFileSystem, random: systemRandom })
    this.catalog = new FileCatalog({ store: this.store, rootLocation: `file://${root}`, logger: silentLogger })
    this.views = new StreamViews({
      store: this.store,
      lakeDir: root,
      readers: this.#readers,
      stateOf: (stream, generation) => this.#streams.get(stream)?.shown.at(generation),
    })
    this.runner = new QueryRunner({
      database,
      views: this.views,
      random: systemRandom,
      tmpDir: join(dir, 'tmp'),
      timeoutMs: 60_000,
      rowsMax: 1_000_000,
      concurrency: 4,
      context: () => ({ streams: new Set(this.#streams.keys()), systemTables: new Set() }),
      refreshTables: async () => false,
      refreshSystemTables: async () => undefined,
      ready: async () => undefined,
      headers: () => ({}),
      completeThrough: async () => new Map(),
    })
  }

  /** Adds a stream without rows. */
  async addStream(name: string, columns: readonly Column[], partition: StreamPlan['partition']): Promise<void> {
    const all = [...systemColumns, ...columns]
    const { catalog, clock } = this
    const metadata = newTableMetadata({ columns: all, partition, clock, random: systemRandom })
    const table = await catalog.create(name, metadata)
    this.#streams.set(name, { shown: new ShownStream(name, all, this.#readers), columns: all, table })
    await this.#show(name, [])
  }

  /** Commits rows as data files, one for each partition. @param columns the stream's own columns from now on */
  async append(name: string, rows: readonly SqlRow[], columns: readonly Column[] = []): Promise<void> {
    const stream = this.#streams.get(name)!
    stream.columns = mergeColumns(stream.columns, columns)
    const { table } = stream
    const evolution = evolveTable(table.metadata, stream.columns)
    const schema = evolution?.schema ?? currentSchema(table.metadata)
    const hot = await this.#tableOf(name, rows)
    const { store, catalog, clock } = this
    const deps = { store, random: systemRandom, fileSystem: nodeFileSystem, tmpDir: join(this.dir, 'tmp') }
    const request = { table, schema, columns: stream.columns, hot: [hot] }
    const written = await this.database.with((connection) => writeDataFiles(connection, deps, request))
    const result = await appendFiles(
      { ...deps, catalog, clock, logger: silentLogger },
      {
        table,
        dataFiles: written.map(({ dataFile }) => dataFile),
        ...(evolution && { evolution }),
        from: new Map(),
        to: new Map(),
      },
    )
    stream.table = result.table
    this.nowMs += 60_000
    await this.#show(name, stream.shown.now.hot)
  }

  /** Shows rows behind the files, as hot ones. */
  async addHot(name: string, rows: readonly SqlRow[], columns: readonly Column[] = []): Promise<void> {
    const stream = this.#streams.get(name)!
    stream.columns = mergeColumns(stream.columns, columns)
    await this.#show(name, [...stream.shown.now.hot, await this.#tableOf(name, rows)])
  }

  /** From now on files are cut otherwise. */
  async repartition(name: string, partition: StreamPlan['partition']): Promise<void> {
    const stream = this.#streams.get(name)!
    const next = withPartition(stream.table.metadata, partition)
    if (next !== stream.table.metadata) stream.table = await this.catalog.commit(stream.table, next)
  }

  /** Takes over a table that was changed by other means. */
  async takeOver(name: string): Promise<void> {
    const stream = this.#streams.get(name)!
    stream.table = (await this.catalog.load(name))!
    await this.#show(name, stream.shown.now.hot)
  }

  tableOf(name: string): LoadedTable {
    return this.#streams.get(name)!.table
  }

  stateOf(name: string): StreamState {
    return this.#streams.get(name)!.shown.now
  }

  get clock(): { nowMs: () => number } {
    return { nowMs: () => this.nowMs }
  }

  /** The rows of a query that goes the way of all queries. */
  async rows(sql: string, asked: Partial<QueryRequest> = {}): Promise<Record<string, unknown>[]> {
    const out = new PassThrough({ highWaterMark: 1 << 24 })
    const request = { sql, parameters: {}, format: 'json' as const, signal: new AbortController().signal, ...asked }
    await this.runner.run(request, { begin: () => out })
    const answer = JSON.parse(Buffer.concat(await out.toArray()).toString()) as Answer & { error?: unknown }
    if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error))
    return answer.rows
  }

  /** The answer over those files that a query needs, or over all. */
  async answerOf(sql: string, stream: string, isPruned: boolean): Promise<Found> {
    return this.database.with(async (connection) => {
      const context = { streams: new Set([stream]), systemTables: new Set<string>() }
      const admitted = await admit(connection, sql, context)
      let scans: readonly StreamScan[] = []
      if (isPruned) {
        scans = await this.views.open(connection, { ...admitted, parameters: {} })
      } else {
        await connection.run('BEGIN TRANSACTION READ ONLY')
        await this.views.openWhole(connection, stream)
      }
      const answer = await connection.runAndReadAll(admitted.sql).then(
        (result) => result.getRowObjectsJson(),
        () => undefined,
      )
      return { answer, scans }
    })
  }

  /** What EXPLAIN says of the files that a query reads. */
  async filesOf(sql: string, asked: Partial<QueryRequest> = {}): Promise<string[]> {
    const rows = await this.rows(`explain ${sql}`, asked)
    return rows.flatMap(({ explain_key: key, explain_value: value }) => (key === 'files' ? [String(value).trim()] : []))
  }

  async close(): Promise<void> {
    this.database.close()
    await rm(this.dir, { recursive: true, force: true })
  }

  async #show(name: string, hot: readonly HotTable[]): Promise<void> {
    const { shown, table, columns } = this.#streams.get(name)!
    const previous = shown.now.scan
    const scan = await planScan(this.store, table, previous && { previous })
    await this.database.with((connection) =>
      shown.change(connection, async () => ({
        table,
        scan,
        columns: mergeColumns(columns, knownColumns(table)),
        hot,
      })),
    )
  }

  async #tableOf(name: string, rows: readonly SqlRow[]): Promise<HotTable> {
    const { columns } = this.#streams.get(name)!
    const relation = `${tailSchema}.${identifier(`${name}_${this.#rows}`)}`
    const list = columns.map((column) => `${identifier(column.name)} ${storedType(column.type)}`)
    const values = rows.map((row) => {
      const made = { _event_id: `'id-${String(this.#rows++).padStart(6, '0')}'`, _received_at: 'now()' }
      const whole: SqlRow = { ...made, ...row }
      return `(${columns.map((column) => whole[column.name] ?? 'NULL').join(', ')})`
    })
    await this.database.with(async (connection) => {
      await connection.run(`CREATE TABLE ${relation} (${list.join(', ')})`)
      if (values.length > 0) await connection.run(`INSERT INTO ${relation} VALUES ${values.join(', ')}`)
    })
    return { relation, columns: [...columns], rows: rows.length }
  }
}

interface Shown {
  shown: ShownStream
  columns: readonly Column[]
  table: LoadedTable
}
