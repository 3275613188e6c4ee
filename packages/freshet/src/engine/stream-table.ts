/**
 * One stream as SQL sees it: the committed files of its table and the hot rows behind them, in one view.
 *
 * - `load` takes the next chunk of the log into the hot tail: repeats are left out (I5), events that do not fit go to the dead
 *   letters, new fields become columns.
 * - `flush` freezes the hot rows, writes them to data files and commits them with the log position they reach (I3); then, in one
 *   transaction, the view takes the files in and the frozen rows are dropped, so that every query sees each event once (I4).
 *
 * What a crash leaves, at each step of a flush:
 * 1. before the files are in place: scratch files, removed at the next start.
 * 2. before the commit: data files in no snapshot; the log still holds their events, which are loaded again from the position of
 *    the last snapshot.
 * 3. after the commit, before the view and the log know: nothing to do; the table says where to go on.
 *
 * When a commit fails, the table is loaded anew and its positions decide: ours means that it was made after all, the former ones
 * that it was not (the frozen rows stay for the next flush), any others that another engine loads this stream: then the hot rows
 * are dropped and loading goes on from where the table is.
 */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { systemColumns, type Column, type Plan, type StreamPlan } from '../config/plan.ts'
import type { Catalog, LoadedTable } from '../lake/catalog.ts'
import { appendFiles, type CommitDeps } from '../lake/commit.ts'
import {
  currentSchema,
  evolveTable,
  formerFields,
  newTableMetadata,
  tablePositions,
  withPartition,
} from '../lake/metadata.ts'
import { planScan, type ScanFile, type ScanPlan } from '../lake/scan.ts'
import type { Chunk, Position } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import { Mutex } from '../runtime/mutex.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { ChunkIntake, type LoadStats, type NewEvents } from './chunk-intake.ts'
import { ColumnGrowth } from './column-growth.ts'
import { mergeColumns } from './columns.ts'
import { writeDataFiles, writeReadyFile } from './data-files.ts'
import type { DeadLetter } from './dead-letters.ts'
import { IdBook } from './dedup/id-book.ts'
import type { ScannedEvents } from './dedup/scan.ts'
import { transaction, type Database } from './duckdb.ts'
import type { HotTable } from './hot-table.ts'
import { HotTail } from './hot-tail.ts'
import { idFile, idScope, idSource } from './id-source.ts'
import { createView, hiddenNames, knownColumns } from './stream-view.ts'

export interface StreamTableDeps {
  plan: Plan
  database: Database
  catalog: Catalog
  store: ObjectStore
  /** Root folder of the tables, where DuckDB reads data files. */
  lakeDir: string
  tmpDir: string
  fileSystem: FileSystem
  clock: Clock
  random: Random
  logger: Logger
  /** Takes events that cannot be loaded; resolves once they are hot there. */
  onDeadLetters: (letters: DeadLetter[]) => Promise<void>
  /** Commits the dead letters so far: a position behind one must not be committed before it. */
  flushDeadLetters: () => Promise<unknown>
}

interface Frozen {
  tables: readonly HotTable[]
  columns: readonly Column[]
  from: Position
  to: Position
  idNumber: number | undefined
  /** When the oldest of it was loaded. */
  sinceMs: number | undefined
}

/** Memory that one stream's id sets may hold beyond those in use. */
const idBudgetBytes = 256 * 1024 * 1024
/** What a line may have beside the client's event; as a dead letter's text, the event is at most twice as long. */
const systemBytesMax = 64 * 1024
/** New events of at least this size become a data file of their own at once. */
const fileBytesMin = 32 * 1024 * 1024
const partition = 0

export class StreamTable {
  readonly stream: StreamPlan
  readonly #deps: StreamTableDeps
  readonly #connection: DuckDBConnection
  readonly #hot: HotTail
  readonly #ids: IdBook | undefined
  /** Loads and view changes, one at a time. */
  readonly #writing = new Mutex()
  readonly #flushing = new Mutex()
  readonly #creating = new Mutex()
  readonly #intake: ChunkIntake
  readonly #recordBytesMax: number
  #table: LoadedTable | undefined
  #scan: ScanPlan | undefined
  #columns: readonly Column[]
  #position: Position = 0n
  #committed: Position = 0n
  #frozen: Frozen | undefined
  #uncommittedSinceMs: number | undefined

  /** Loads the stream's table, if there is one, and makes the stream queryable. */
  static async open(stream: StreamPlan, deps: StreamTableDeps): Promise<StreamTable> {
    const table = new StreamTable(stream, deps, await deps.database.connect())
    await table.#reload()
    return table
  }

  private constructor(stream: StreamPlan, deps: StreamTableDeps, connection: DuckDBConnection) {
    this.stream = stream
    this.#deps = deps
    this.#connection = connection
    this.#hot = new HotTail(stream.name)
    this.#columns = [...systemColumns, ...(stream.columns ?? [])]
    this.#recordBytesMax = Math.max(2 * deps.plan.limits.eventBytesMax + systemBytesMax, 2 * 1024 * 1024)
    if (stream.id !== null) {
      const scope = idScope(stream)
      const source = idSource({
        connection,
        scope,
        hot: this.#hot,
        files: () => this.files.map((file) => idFile(file, scope)),
        lakeDir: deps.lakeDir,
        tmpDir: deps.tmpDir,
      })
      const seed = deps.random.integer(2 ** 32)
      this.#ids = new IdBook({ scope, source, seed, budgetBytes: idBudgetBytes })
    }
    const fixed = new Set(this.#columns.map(({ name }) => name))
    this.#intake = new ChunkIntake({
      stream,
      connection,
      tmpDir: deps.tmpDir,
      recordBytesMax: this.#recordBytesMax,
      ids: this.#ids,
      growth: new ColumnGrowth(connection, fixed, this.#recordBytesMax),
      columns: () => ({ known: this.#columns, hidden: this.#table ? hiddenNames(this.#table) : new Set() }),
      onDeadLetters: deps.onDeadLetters,
    })
  }

  /** Everything before it is in the hot tail or in the table. */
  get position(): Position {
    return this.#position
  }

  /** Everything before it is in the table. */
  get checkpoint(): Position {
    return this.#committed
  }

  get hotRows(): number {
    return this.#hot.rows
  }

  /** When the oldest event that is not committed was loaded, milliseconds since 1970; undefined while there is none. */
  get uncommittedSinceMs(): number | undefined {
    return this.#frozen?.sinceMs ?? this.#uncommittedSinceMs
  }

  get table(): LoadedTable | undefined {
    return this.#table
  }

  /** The committed data files. */
  get files(): readonly ScanFile[] {
    return this.#scan?.files ?? []
  }

  /** See `ChunkIntake.scan`; may be done ahead. */
  scan(chunk: Chunk): ScannedEvents | undefined {
    return this.#intake.scan(chunk)
  }

  /**
   * Takes a chunk of log bytes that was read from `from` into the hot tail; all of it becomes visible at once. A chunk that does
   * not follow what is loaded, since the position was set back meanwhile, is left alone.
   */
  load(chunk: Chunk, from: Position, scanned = this.scan(chunk)): Promise<LoadStats> {
    return this.#writing.run(async () => {
      if (from !== this.#position) return { loaded: 0, repeats: 0, deadLetters: 0 }
      const stats = await this.#intake.take(chunk, from, scanned, (events) => this.#insert(events))
      if (chunk.count > 0) this.#uncommittedSinceMs ??= this.#deps.clock.nowMs()
      this.#position = chunk.next
      return stats
    })
  }

  /**
   * Commits the hot rows, and the position they reach, to the table.
   * @returns true when there was something to commit
   * @throws whatever kept it from committing; the rows stay hot, and visible, for the next try
   */
  flush(): Promise<boolean> {
    return this.#flushing.run(async () => {
      this.#frozen ??= await this.#freeze()
      if (this.#frozen === undefined) return false
      const frozen = this.#frozen
      await this.#deps.flushDeadLetters()
      try {
        await this.#commit(frozen)
      } catch (error) {
        await this.#settle(frozen, error)
      }
      return true
    })
  }

  close(): void {
    this.#connection.closeSync()
  }

  /** Makes the events of a chunk visible; returns how many there are. */
  async #insert({ file, columns, bytes }: NewEvents): Promise<number> {
    if (this.#hot.needsTable(columns)) await this.#startTable(columns)
    const rows = bytes < fileBytesMin ? undefined : await this.#insertAsFile(file, columns)
    return rows ?? this.#hot.insert(this.#connection, file, this.#recordBytesMax)
  }

  /**
   * Takes the events of a large scratch file as a data file that only has to be put in place at the next flush.
   * @returns undefined when they have to go through a hot table: they belong to several partitions, or bring new columns
   */
  async #insertAsFile(file: string, columns: readonly Column[]): Promise<number | undefined> {
    const { random, tmpDir } = this.#deps
    const table = await this.#ensureTable(columns)
    if (evolveTable(table.metadata, columns)) return undefined
    const schema = currentSchema(table.metadata)
    const select = this.#hot.selectNew(file, columns, this.#recordBytesMax)
    const ready = await writeReadyFile(this.#connection, { random, tmpDir }, { table, schema, columns, select })
    if (ready === undefined) return undefined
    const added = this.#hot.fileTable(ready, columns)
    await this.#showView(this.#table, this.#scan, columns, [...this.#hot.tables, added])
    this.#hot.addFile(added)
    return ready.rows
  }

  /** The stream's table in the lake, made if there is none yet. */
  #ensureTable(columns: readonly Column[]): Promise<LoadedTable> {
    const { catalog, clock, random } = this.#deps
    const { name, partition: by } = this.stream
    return this.#creating.run(async () => {
      this.#table ??= await catalog.create(name, newTableMetadata({ columns, partition: by, clock, random }))
      return this.#table
    })
  }

  /** From now on rows go to a new hot table with these columns. */
  async #startTable(columns: readonly Column[]): Promise<void> {
    const table = await transaction(this.#connection, async () => {
      const created = await this.#hot.create(this.#connection, columns)
      await this.#showView(this.#table, this.#scan, columns, [...this.#hot.tables, created])
      return created
    })
    this.#hot.add(table)
    this.#columns = columns
  }

  async #freeze(): Promise<Frozen | undefined> {
    return this.#writing.run(async () => {
      if (this.#position === this.#committed && this.#hot.rows === 0) return undefined
      const tables = this.#hot.rows === 0 ? [] : [...this.#hot.tables]
      if (tables.length > 0) await this.#startTable(this.#columns)
      const sinceMs = this.#uncommittedSinceMs
      this.#uncommittedSinceMs = undefined
      const idNumber = this.#ids?.rotate()
      return { tables, columns: this.#columns, from: this.#committed, to: this.#position, idNumber, sinceMs }
    })
  }

  async #commit(frozen: Frozen): Promise<void> {
    const { catalog, store, fileSystem, clock, random, logger, database, tmpDir } = this.#deps
    const table = await this.#ensureTable(frozen.columns)
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
    const deps: CommitDeps = { catalog, store, clock, random, logger }
    try {
      const { table: next } = await appendFiles(deps, {
        table,
        dataFiles: written.map(({ dataFile }) => dataFile),
        ...(evolution && { evolution }),
        from: new Map([[partition, frozen.from]]),
        to: new Map([[partition, frozen.to]]),
      })
      await this.#adopt(frozen, next)
    } catch (error) {
      if (error instanceof FreshetError && error.code === 'commit_conflict')
        await store.delete(written.map(({ key }) => key))
      throw error
    }
  }

  /** After a commit: the view takes the files in and the frozen rows out, at once. */
  async #adopt(frozen: Frozen, table: LoadedTable): Promise<void> {
    const scan = await planScan(this.#deps.store, table, this.#scan && { previous: this.#scan })
    await this.#writing.run(async () => {
      const gone = new Set(frozen.tables)
      const columns = mergeColumns(this.#columns, knownColumns(table))
      await transaction(this.#connection, async () => {
        const kept = this.#hot.tables.filter((hot) => !gone.has(hot))
        await this.#showView(table, scan, columns, kept)
        await this.#hot.drop(this.#connection, frozen.tables)
      })
      this.#table = table
      this.#scan = scan
      this.#columns = columns
      this.#hot.forget(frozen.tables, this.#deps.plan.sql.timeoutMs)
      this.#noteFiles(frozen, scan)
      this.#committed = frozen.to
      this.#frozen = undefined
    })
  }

  #noteFiles({ idNumber }: Frozen, { added, removed }: ScanPlan): void {
    const scope = idScope(this.stream)
    // Where another writer has replaced files, ids are looked up anew.
    if (removed.length > 0) this.#ids?.clear()
    else if (idNumber !== undefined) {
      this.#ids?.committed(
        idNumber,
        added.map((file) => idFile(file, scope)),
      )
    }
  }

  /** After a failed commit: finds out from the table what became of it. Throws `error` unless it was made. */
  async #settle(frozen: Frozen, error: unknown): Promise<void> {
    const { catalog, logger } = this.#deps
    logger.error({ stream: this.stream.name, error: messageOf(error) }, 'commit failed')
    const table = await catalog.load(this.stream.name)
    const reached = table ? (tablePositions(table.metadata).get(partition) ?? 0n) : 0n
    if (table && reached === frozen.to && frozen.to !== frozen.from) return this.#adopt(frozen, table)
    if (reached !== frozen.from) await this.#reload()
    else this.#table = table
    throw error
  }

  /** Takes over what the table holds, in place of all there was. */
  async #reload(): Promise<void> {
    const { catalog } = this.#deps
    const found = await catalog.load(this.stream.name)
    // Files written from now on are cut as the plan says; those there are stay as they were.
    const metadata = found && withPartition(found.metadata, this.stream.partition)
    const table = found && metadata !== found.metadata ? await catalog.commit(found, metadata!) : found
    const scan = table && (await planScan(this.#deps.store, table))
    await this.#writing.run(async () => {
      const stale = [...this.#hot.tables]
      const columns = table ? mergeColumns(knownColumns(table), this.#columns) : this.#columns
      const created = await transaction(this.#connection, async () => {
        const first = await this.#hot.create(this.#connection, columns)
        await this.#showView(table, scan, columns, [first])
        await this.#hot.drop(this.#connection, stale)
        return first
      })
      this.#hot.forget(stale, this.#deps.plan.sql.timeoutMs)
      this.#hot.add(created)
      this.#table = table
      this.#scan = scan
      this.#columns = columns
      this.#ids?.clear()
      this.#frozen = undefined
      this.#uncommittedSinceMs = undefined
      this.#committed = (table && tablePositions(table.metadata).get(partition)) ?? 0n
      this.#position = this.#committed
    })
  }

  /** Makes the view show these files and hot tables. What it shows is ours to remember once the transaction has committed. */
  async #showView(
    table: LoadedTable | undefined,
    scan: ScanPlan | undefined,
    columns: readonly Column[],
    hot: readonly HotTable[],
  ): Promise<void> {
    const { lakeDir } = this.#deps
    const committed = table && {
      schema: currentSchema(table.metadata),
      formerFields: formerFields(table.metadata),
      paths: (scan?.files ?? []).map(({ key }) => join(lakeDir, key)),
    }
    await this.#connection.run(createView(this.stream.name, columns, committed, hot))
  }
}
