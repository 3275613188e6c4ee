/** One stream's table in a process of its own: chunks are loaded by hand, and queries see it as all queries do. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Plan } from '../../src/config/plan.ts'
import { writeSelected } from '../../src/engine/data-files.ts'
import { IdMemory } from '../../src/engine/dedup/id-memory.ts'
import { Database } from '../../src/engine/duckdb.ts'
import { StreamViews } from '../../src/engine/query/stream-views.ts'
import { Readers } from '../../src/engine/readers.ts'
import { literal } from '../../src/engine/sql-text.ts'
import { StreamTable } from '../../src/engine/stream-table.ts'
import type { StreamTableDeps } from '../../src/engine/stream-table-deps.ts'
import { knownColumns } from '../../src/engine/stream-view.ts'
import type { LoadedTable } from '../../src/lake/catalog.ts'
import { deleteFileFieldIds } from '../../src/lake/delete-files.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { currentSchema } from '../../src/lake/metadata.ts'
import { rewriteFiles } from '../../src/lake/rewrite.ts'
import type { ScanFile } from '../../src/lake/scan.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { commitDeletes } from '../conformance/foreign-deletes.ts'
import type { Lake } from '../conformance/lake-fixture.ts'
import { streamPlan, tradeColumns } from '../integration/engine-harness.ts'

export class TableLab {
  readonly dir: string
  readonly deps: StreamTableDeps
  readonly readers = new Readers()
  readonly views: StreamViews
  readonly catalog: FileCatalog
  overtaken = 0
  table!: StreamTable

  static async open(): Promise<TableLab> {
    const dir = await mkdtemp(join(tmpdir(), 'freshet-table-'))
    for (const folder of ['tmp', 'lake', 'log', 'ids']) await mkdir(join(dir, folder))
    const folders = { tmpDir: join(dir, 'tmp'), lakeDir: join(dir, 'lake'), logDir: join(dir, 'log') }
    const database = await Database.open({ memoryBytes: 256 << 20, spillBytesMax: 1 << 30, threads: 1, ...folders })
    const lab = new TableLab(dir, database)
    await lab.restart()
    return lab
  }

  private constructor(dir: string, database: Database) {
    this.dir = dir
    const root = join(dir, 'lake')
    const store = new LocalObjectStore({ root, fileSystem: nodeFileSystem, random: systemRandom })
    this.catalog = new FileCatalog({ store, rootLocation: `file://${root}`, logger: silentLogger })
    this.deps = {
      plan: { limits: { eventBytesMax: 1 << 20 }, streams: {} } as unknown as Plan,
      database,
      readers: this.readers,
      catalog: this.catalog,
      store,
      lakeDir: root,
      tmpDir: join(dir, 'tmp'),
      idDir: join(dir, 'ids'),
      idMemory: new IdMemory(64 << 20),
      fileSystem: nodeFileSystem,
      clock: { nowMs: () => Date.now() },
      random: systemRandom,
      logger: silentLogger,
      onDeadLetters: async () => undefined,
      hasLog: false,
      keptSources: () => new Set(),
      onOvertaken: () => this.overtaken++,
    }
    this.views = new StreamViews({
      store,
      lakeDir: root,
      readers: this.readers,
      stateOf: (_, generation) => this.table.stateAt(generation),
    })
  }

  /** The table as a process opens it that has just started. */
  async restart(): Promise<void> {
    this.table?.close()
    const stream = streamPlan('trades', { columns: tradeColumns })
    this.table = await StreamTable.open(stream, this.deps)
  }

  /** Loads one chunk of events of one day; returns how many were repeats. */
  async load(...ids: string[]): Promise<number> {
    const lines = ids.map((id) => {
      const system = `"_event_id":"${id}","_event_time":"2013-10-07T12:00:00.000Z","_received_at":"2013-10-07T12:00:00.000Z"`
      return `{${system},"id":"${id}","at":"2013-10-07T12:00:00.000Z","price":1.5,"size":1}\n`
    })
    const bytes = Buffer.from(lines.join(''))
    const from = this.table.position
    const next = from + BigInt(bytes.length)
    const { repeats } = await this.table.load({ bytes, count: ids.length, next, batches: [], receivedAtMs: 0 }, from)
    return repeats
  }

  /** Loads events and commits them. */
  async commit(...ids: string[]): Promise<void> {
    await this.load(...ids)
    await this.table.flush()
    await this.table.settled()
  }

  /** Ids that a query sees; it begins at once and reads its rows when `during` has resolved. */
  async ids(during: () => Promise<unknown> = async () => undefined): Promise<string[]> {
    const leave = this.views.enter()
    return this.deps.database
      .with(async (connection) => {
        await connection.run('BEGIN TRANSACTION READ ONLY')
        await this.views.openWhole(connection, 'trades')
        await during()
        const result = await connection.runAndReadAll('SELECT _event_id FROM trades ORDER BY 1')
        return result.getRows().map(([id]) => String(id))
      })
      .finally(leave)
  }

  /** Puts a file of the rows of `files` that `where` lets through in their place; `star` says what becomes of each. */
  async rewrite(table: LoadedTable, files: readonly ScanFile[], where = 'true', star = '*'): Promise<LoadedTable> {
    const paths = files.map(({ key }) => literal(join(this.deps.lakeDir, key)))
    const schema = currentSchema(table.metadata)
    const columns = knownColumns(table)
    const select = `SELECT ${star} FROM read_parquet([${paths.join(', ')}], hive_partitioning = false) WHERE ${where}`
    const written = await this.deps.database.with((connection) =>
      writeSelected(connection, this.deps, { table, schema, columns, select }),
    )
    const add = written.map(({ dataFile }) => dataFile)
    const remove = files.map(({ path }) => path)
    return (await rewriteFiles(this.deps, { table, remove, add, operation: 'overwrite' })).table
  }

  /** Another engine deletes rows of a file, by their places. */
  async deleteRows(file: ScanFile, places: readonly number[]): Promise<void> {
    const name = `deletes-${systemRandom.hex(4)}.parquet`
    const rows = places.map((place) => `(${literal(file.path)}, ${place})`).join(', ')
    const fields = `{file_path: ${deleteFileFieldIds.filePath}, pos: ${deleteFileFieldIds.pos}}`
    const path = join(this.deps.lakeDir, 'trades/data', name)
    const table = (await this.catalog.load('trades'))!
    await commitDeletes(this.deps as unknown as Lake, table, [
      { name, rows: places.length, day: file.partitionValue!, lower: file.path, upper: file.path },
    ])
    await this.deps.database.with((connection) =>
      connection.run(
        `COPY (SELECT * FROM (VALUES ${rows}) AS v(file_path, pos)) TO ${literal(path)} (FORMAT parquet, FIELD_IDS ${fields})`,
      ),
    )
  }

  async close(): Promise<void> {
    this.table.close()
    this.deps.database.close()
    await rm(this.dir, { recursive: true, force: true })
  }
}
