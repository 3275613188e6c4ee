/** A table of real Parquet files in a folder of its own, and what upkeep's jobs need to work on it without an engine. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemColumns, type Column, type StreamPlan } from '../../src/config/plan.ts'
import { copyRows, partitioning, place } from '../../src/engine/data-files.ts'
import { Database } from '../../src/engine/duckdb.ts'
import { literal } from '../../src/engine/sql-text.ts'
import type { JobDeps, JobPlan, KeptTable, TrustedNow } from '../../src/engine/upkeep/job.ts'
import { selectStored } from '../../src/engine/upkeep/stored-rows.ts'
import type { LoadedTable } from '../../src/lake/catalog.ts'
import { deleteFileFieldIds } from '../../src/lake/delete-files.ts'
import { appendFiles } from '../../src/lake/commit.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import type { LedgerRow } from '../../src/lake/ledger-rows.ts'
import { currentSchema, newTableMetadata, tablePositions } from '../../src/lake/metadata.ts'
import { partitionValueAt } from '../../src/lake/partition.ts'
import { planScan, type ScanFile, type ScanPlan } from '../../src/lake/scan.ts'
import type { Clock } from '../../src/runtime/clock.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { Mutex } from '../../src/runtime/mutex.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { commitDeletes } from '../conformance/foreign-deletes.ts'
import type { Lake } from '../conformance/lake-fixture.ts'

const eventColumns: Column[] = [
  ...systemColumns,
  { name: 'symbol', type: { kind: 'string' } },
  { name: 'n', type: { kind: 'long' } },
]

export interface LabRow {
  id: string
  time: string
  symbol?: string
  n?: number
}

/** Rows a minute apart. */
export function rowsFrom(prefix: string, count: number, start: string, stepMs = 60_000): LabRow[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `${prefix}${index}`,
    time: new Date(Date.parse(start) + index * stepMs).toISOString(),
    symbol: ['SPY', 'QQQ', 'DIA'][index % 3]!,
    n: index,
  }))
}

interface LabOptions {
  targetFileBytes?: number
  stream?: Partial<StreamPlan>
  beside?: UpkeepLab
}

export class UpkeepLab implements KeptTable {
  readonly dir: string
  readonly deps: JobDeps
  readonly clock: Clock & { ms: number }
  readonly hasLog = true
  stream: StreamPlan
  position = 0n
  /** Resolves when queries have ended; a test may hold it back. */
  readers: Promise<void> = Promise.resolve()
  /** Called before each change's commit. */
  beforeChange: () => Promise<void> = async () => undefined
  #table: LoadedTable | undefined
  #scan: ScanPlan | undefined
  readonly #database: Database
  readonly #turns = new Mutex()

  /** @param options.beside a lab whose lake it shares */
  static async open(options: LabOptions = {}): Promise<UpkeepLab> {
    const { beside } = options
    if (beside !== undefined) return new UpkeepLab(beside.dir, beside.#database, options)
    const dir = await mkdtemp(join(tmpdir(), 'freshet-upkeep-'))
    for (const folder of ['tmp', 'lake']) await mkdir(join(dir, folder))
    const database = await Database.open({
      memoryBytes: 128 << 20,
      spillBytesMax: 1 << 30,
      threads: 1,
      tmpDir: join(dir, 'tmp'),
      lakeDir: join(dir, 'lake'),
      logDir: join(dir, 'log'),
    })
    return new UpkeepLab(dir, database, options)
  }

  private constructor(dir: string, database: Database, options: LabOptions) {
    this.dir = dir
    this.#database = database
    this.clock = {
      ms: Date.parse('2026-03-10T12:00:00Z'),
      nowMs() {
        return this.ms
      },
    }
    const store = new LocalObjectStore({ root: join(dir, 'lake'), fileSystem: nodeFileSystem, random: systemRandom })
    this.stream = {
      name: 'trades',
      schema: null,
      columns: null,
      open: true,
      id: 'id',
      time: { field: 'at', unit: 'iso' },
      partition: { by: 'event_time', unit: 'day' },
      ...options.stream,
    }
    this.deps = {
      catalog: new FileCatalog({ store, rootLocation: `file://${join(dir, 'lake')}`, logger: silentLogger }),
      store,
      clock: this.clock,
      random: systemRandom,
      logger: silentLogger,
      fileSystem: nodeFileSystem,
      lakeDir: join(dir, 'lake'),
      tmpDir: join(dir, 'tmp'),
      database: async () => database,
      targetFileBytes: options.targetFileBytes ?? 128 << 20,
      snapshots: { keepMs: 0, min: 1 },
      orphanAgeMs: 86_400_000,
      diskFreeBytesMin: 0,
      keptSources: () => new Set(),
    }
  }

  get table(): LoadedTable | undefined {
    return this.#table
  }

  get files(): ScanPlan['files'] {
    return this.#scan?.files ?? []
  }

  get now(): TrustedNow {
    return { nowMs: this.clock.ms }
  }

  change(commit: (table: LoadedTable) => Promise<LoadedTable>): Promise<LoadedTable> {
    return this.#turns.run(async () => {
      await this.beforeChange()
      const table = await commit(this.#table!)
      await this.reload()
      return table
    })
  }

  async refresh(): Promise<boolean> {
    await this.reload()
    return false
  }

  readersGone(): Promise<void> {
    return this.readers
  }

  /** Looks at the table as the catalog has it. */
  async reload(): Promise<LoadedTable> {
    const { store, catalog } = this.deps
    this.#table = await catalog.load(this.stream.name)
    this.#scan = await planScan(store, this.#table!, this.#scan && { previous: this.#scan })
    return this.#table!
  }

  /** Appends one data file of rows that lie in one partition. */
  async append(rows: readonly LabRow[], ledger: LedgerRow[] = []): Promise<void> {
    const { catalog, clock, random, store, tmpDir } = this.deps
    this.#table ??= await catalog.load(this.stream.name)
    this.#table ??= await catalog.create(
      this.stream.name,
      newTableMetadata({ columns: eventColumns, partition: this.stream.partition, clock, random }),
    )
    const table = await catalog.load(this.stream.name)
    const schema = currentSchema(table!.metadata)
    const values = rows.map(({ id, time, symbol, n }) => {
      const at = `TIMESTAMPTZ ${literal(time)}`
      return `(${literal(id)}, ${at}, ${at}, 'site', NULL, ${symbol === undefined ? 'NULL' : literal(symbol)}, ${n ?? 'NULL'})`
    })
    const names = eventColumns.map(({ name }) => `"${name}"`).join(', ')
    const name = `${random.hex(8)}.parquet`
    const file = join(tmpDir, name)
    const time = partitioning(table!, schema)
    const partition = partitionValueAt(time.unit, BigInt(Date.parse(rows[0]!.time)) * 1000n)
    const written = await this.#database.with(async (connection) => {
      const statistics = await copyRows(
        connection,
        `SELECT * FROM (VALUES ${values.join(', ')}) AS v(${names})`,
        file,
        schema,
        eventColumns,
      )
      return place(store, table!, time, { file, name, statistics, schema, partition })
    })
    const from = tablePositions(table!.metadata)
    this.position += 100n
    await appendFiles(this.deps, {
      table: table!,
      dataFiles: [written.dataFile],
      from,
      to: new Map([[0, (from.get(0) ?? 0n) + 100n]]),
      ledger: { rows: ledger, sources: new Map() },
    })
    await this.reload()
  }

  /** Commits a file that is in the folder already. */
  async adopt({ path, partition, partitionValue }: ScanFile): Promise<void> {
    const table = (await this.deps.catalog.load(this.stream.name))!
    const from = tablePositions(table.metadata)
    const none = new Map()
    const dataFile = {
      path,
      partition: { [partition!.name]: partitionValue },
      recordCount: 1,
      bytes: 5,
      columnSizes: none,
      valueCounts: none,
      nullValueCounts: none,
      nanValueCounts: none,
      lowerBounds: none,
      upperBounds: none,
    }
    await appendFiles(this.deps, { table, dataFiles: [dataFile], from, to: from })
  }

  /** Deletes rows of a file by their places in it, as another engine does: by a file of position deletes. */
  async deleteRows(file: ScanFile, places: readonly number[]): Promise<void> {
    const table = this.#table!
    const name = `deletes-${this.deps.random.hex(4)}.parquet`
    const rows = places.map((at) => `(${literal(file.path)}, ${at})`).join(', ')
    const fields = `{file_path: ${deleteFileFieldIds.filePath}, pos: ${deleteFileFieldIds.pos}}`
    table.metadata['last-updated-ms'] = Math.max(this.clock.ms, table.metadata['last-updated-ms'])
    await commitDeletes(this.deps as unknown as Lake, table, [
      { name, rows: places.length, day: file.partitionValue!, lower: file.path, upper: file.path },
    ])
    const path = this.path(`${this.stream.name}/data/${name}`)
    await this.sql(
      `COPY (SELECT * FROM (VALUES ${rows}) AS v(file_path, pos)) TO ${literal(path)} (FORMAT parquet, FIELD_IDS ${fields})`,
    )
    await this.reload()
  }

  /** Ids of the table's rows, in the order in which the files of the current snapshot have them. */
  async ids(): Promise<string[]> {
    if (this.files.length === 0) return []
    const schema = currentSchema(this.#table!.metadata)
    const select = selectStored(schema, this.files, { lakeDir: this.deps.lakeDir, only: ['_event_id'] })
    return this.#database.with(async (connection) => {
      const result = await connection.runAndReadAll(select)
      return result.getRows().map(([id]) => String(id))
    })
  }

  /** Runs SQL on the lab's database, for example over the file at `path(key)`. */
  async sql(sql: string): Promise<unknown[][]> {
    return this.#database.with(async (connection) => (await connection.runAndReadAll(sql)).getRows())
  }

  path(key: string): string {
    return join(this.deps.lakeDir, key)
  }

  /** A file in the table's folder that nothing refers to. */
  async stray(where: string): Promise<string> {
    const key = `${this.stream.name}/${where}`
    await writeFile(this.path(key), 'stray')
    return key
  }

  /** Runs all tasks of a plan. */
  async runAll({ tasks }: JobPlan): Promise<void> {
    for (const task of tasks) await task.run(new AbortController().signal)
  }

  async close(): Promise<void> {
    this.#database.close()
    await rm(this.dir, { recursive: true, force: true })
  }
}
