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
import { writeFile, rm } from 'node:fs/promises'
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
import type { Logger } from '../runtime/logging.ts'
import { Mutex } from '../runtime/mutex.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { findUnreadable, linesOf, withoutEvents, type Unreadable } from './chunk-lines.ts'
import { mergeColumns, readJson, sameColumns, storedSelect } from './columns.ts'
import { writeDataFiles } from './data-files.ts'
import type { DeadLetter } from './dead-letters.ts'
import { IdBook, type IdFile } from './dedup/id-book.ts'
import { scanEvents, type ScannedEvents, type Scope } from './dedup/scan.ts'
import { isOutOfMemory, transaction, type Database } from './duckdb.ts'
import { HotTail, type HotTable } from './hot-tail.ts'
import { idSource } from './id-source.ts'
import { inferColumns } from './infer.ts'
import { identifier } from './sql-text.ts'
import { createView, visibleColumns } from './stream-view.ts'

export interface StreamTableDeps {
  plan: Plan
  database: Database
  catalog: Catalog
  store: ObjectStore
  /** Root folder of the tables, where DuckDB reads data files. */
  lakeDir: string
  tmpDir: string
  clock: Clock
  random: Random
  logger: Logger
  /** Takes events that cannot be loaded; resolves once they are hot there. */
  onDeadLetters: (letters: DeadLetter[]) => Promise<void>
}

export interface LoadStats {
  loaded: number
  repeats: number
  deadLetters: number
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
  readonly #declared: ReadonlySet<string>
  readonly #recordBytesMax: number
  #table: LoadedTable | undefined
  #scan: ScanPlan | undefined
  #columns: Column[]
  #position: Position = 0n
  #committed: Position = 0n
  #frozen: Frozen | undefined
  #uncommittedSinceMs: number | undefined
  #chunks = 0

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
    this.#declared = new Set([...systemColumns, ...(stream.columns ?? [])].map(({ name }) => name))
    this.#columns = [...systemColumns, ...(stream.columns ?? [])]
    this.#recordBytesMax = Math.max(2 * deps.plan.limits.eventBytesMax, 2 * 1024 * 1024)
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

  get columns(): readonly Column[] {
    return this.#columns
  }

  /** Takes a chunk of log bytes that starts at `position` into the hot tail; all of it becomes visible at once. */
  load(chunk: Chunk): Promise<LoadStats> {
    return this.#writing.run(async () => {
      const from = this.#position
      const stats = chunk.count === 0 ? { loaded: 0, repeats: 0, deadLetters: 0 } : await this.#take(chunk, from)
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

  async #take(chunk: Chunk, from: Position): Promise<LoadStats> {
    const scanned = this.#ids?.scan(chunk.bytes, chunk.count)
    const repeats = this.#ids && scanned ? await this.#ids.repeats(chunk.bytes, scanned) : []
    let pieces = scanned ? withoutEvents(chunk.bytes, scanned, repeats) : [chunk.bytes]
    let dead: Unreadable[] = []
    let loaded: number
    const file = await this.#scratch(pieces)
    try {
      try {
        loaded = await this.#insert(file, pieces)
      } catch (error) {
        if (isOutOfMemory(error)) throw error
        const events = scanned ?? scanEvents(chunk.bytes, chunk.count, 'table', 0)
        dead = await this.#findDead(chunk.bytes, events, repeats)
        if (dead.length === 0) throw error
        await this.#deps.onDeadLetters(dead.map((letter) => this.#letter(chunk, events, from, letter)))
        const dropped = [...repeats, ...dead.map(({ index }) => index)].sort((a, b) => a - b)
        pieces = withoutEvents(chunk.bytes, events, dropped)
        await writeFile(file, pieces)
        loaded = await this.#insert(file, pieces)
      }
    } finally {
      await rm(file, { force: true })
    }
    this.#uncommittedSinceMs ??= this.#deps.clock.nowMs()
    return { loaded, repeats: repeats.length, deadLetters: dead.length }
  }

  async #scratch(pieces: readonly Uint8Array[]): Promise<string> {
    const file = join(this.#deps.tmpDir, `${this.stream.name}-${++this.#chunks % 1024}.ndjson`)
    await writeFile(file, pieces)
    return file
  }

  /** Inserts the events of a file, after growing the columns where the stream is open. */
  async #insert(file: string, pieces: readonly Uint8Array[]): Promise<number> {
    if (pieces.length === 0) return 0
    const columns = this.stream.open ? await this.#grow(file) : this.#columns
    if (this.#hot.needsTable(columns)) await this.#startTable(columns)
    return this.#hot.insert(this.#connection, file, this.#recordBytesMax)
  }

  /** From now on rows go to a new hot table with these columns. */
  async #startTable(columns: Column[]): Promise<void> {
    const before = this.#columns
    this.#columns = columns
    try {
      const table = await transaction(this.#connection, async () => {
        const created = await this.#hot.create(this.#connection, columns)
        await this.#refreshView([...this.#hot.tables, created])
        return created
      })
      this.#hot.add(table)
    } catch (error) {
      this.#columns = before
      throw error
    }
  }

  /** The columns, grown by what the events in a file hold. @throws when a field of theirs cannot be a column */
  async #grow(file: string): Promise<Column[]> {
    const structure = await this.#structureOf(file)
    if (structure === undefined) return this.#columns
    const { columns, refused } = inferColumns(this.#columns, structure, this.#declared)
    for (const [name, reason] of refused) throw new Error(`Field "${name}": ${reason}`)
    return sameColumns(columns, this.#columns) ? this.#columns : columns
  }

  async #structureOf(file: string): Promise<string | undefined> {
    const source = readJson(file, [{ name: 'json', type: { kind: 'json' } }], this.#recordBytesMax)
    const result = await this.#connection.runAndReadAll(
      `SELECT json_group_structure(json) FROM ${source.replace(/\)$/, ', records = false)')}`,
    )
    return (result.getRows()[0]?.[0] as string | null) ?? undefined
  }

  /** The events, other than repeats, that DuckDB cannot read into the columns they would give the stream. */
  async #findDead(bytes: Buffer, events: ScannedEvents, repeats: readonly number[]): Promise<Unreadable[]> {
    const skipped = new Set(repeats)
    const indexes = Array.from({ length: events.count }, (_, index) => index).filter((index) => !skipped.has(index))
    const file = join(this.#deps.tmpDir, `${this.stream.name}-probe.ndjson`)
    const read = async (lines: Buffer[]): Promise<string | undefined> => {
      await writeFile(file, lines)
      try {
        const columns = this.stream.open ? await this.#grow(file) : this.#columns
        const source = readJson(file, columns, this.#recordBytesMax)
        await this.#connection.run(
          `CREATE OR REPLACE TEMP TABLE probe AS SELECT ${storedSelect(columns)} FROM ${source}`,
        )
        return undefined
      } catch (error) {
        if (isOutOfMemory(error)) throw error
        return reasonOf(error)
      }
    }
    try {
      return await findUnreadable(bytes, events, indexes, read)
    } finally {
      await this.#connection.run('DROP TABLE IF EXISTS temp.probe')
      await rm(file, { force: true })
    }
  }

  #letter(chunk: Chunk, events: ScannedEvents, from: Position, { index, reason }: Unreadable): DeadLetter {
    const line = linesOf(chunk.bytes, events, [index])[0]!.toString('utf8').trimEnd()
    const position = from + BigInt(events.start[index]!)
    return { stream: this.stream.name, position, code: 'unreadable', reason, event: line }
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
    const { catalog, store, clock, random, logger, database, tmpDir } = this.#deps
    this.#table ??= await catalog.create(this.stream.name, this.#newMetadata(frozen.columns))
    const table = this.#table
    const evolution = evolveTable(table.metadata, frozen.columns)
    const schema = evolution?.schema ?? currentSchema(table.metadata)
    const hot = frozen.tables.filter(({ rows }) => rows > 0)
    const written =
      hot.length === 0
        ? []
        : await database.with((connection) =>
            writeDataFiles(connection, { store, random, tmpDir }, { table, schema, columns: frozen.columns, hot }),
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
      this.#table = table
      this.#scan = scan
      await transaction(this.#connection, async () => {
        const gone = new Set(frozen.tables)
        await this.#refreshView(this.#hot.tables.filter((hot) => !gone.has(hot)))
        await this.#hot.drop(this.#connection, frozen.tables)
      })
      this.#hot.forget(frozen.tables)
      if (frozen.idNumber !== undefined) {
        const scope = idScope(this.stream)
        this.#ids?.committed(
          frozen.idNumber,
          scan.added.map((file) => idFile(file, scope)),
        )
      }
      this.#committed = frozen.to
      this.#frozen = undefined
    })
  }

  /** After a failed commit: finds out from the table what became of it. Throws `error` unless it was made. */
  async #settle(frozen: Frozen, error: unknown): Promise<void> {
    const { catalog, logger } = this.#deps
    logger.error({ stream: this.stream.name, error: messageOf(error) }, 'commit failed')
    const table = await catalog.load(this.stream.name)
    const reached = table ? (tablePositions(table.metadata).get(partition) ?? 0n) : 0n
    if (table && reached === frozen.to && frozen.to !== frozen.from) return this.#adopt(frozen, table)
    if (reached !== frozen.from) await this.#reset()
    else this.#table = table
    throw error
  }

  /** Drops what is hot and goes on from where the table is. */
  async #reset(): Promise<void> {
    await this.#writing.run(async () => {
      const tables = [...this.#hot.tables]
      this.#scan = undefined
      this.#ids?.clear()
      await transaction(this.#connection, async () => {
        await this.#hot.drop(this.#connection, tables)
        await this.#connection.run(`DROP VIEW IF EXISTS main.${identifier(this.stream.name)}`)
      })
      this.#hot.forget(tables)
      this.#frozen = undefined
      this.#uncommittedSinceMs = undefined
    })
    await this.#reload()
  }

  /** Takes over what the table holds. */
  async #reload(): Promise<void> {
    const { catalog } = this.#deps
    const found = await catalog.load(this.stream.name)
    const table = found && (await this.#repartition(found))
    const scan = table && (await planScan(this.#deps.store, table))
    await this.#writing.run(async () => {
      this.#table = table
      this.#scan = scan
      if (table) {
        const known = visibleColumns(currentSchema(table.metadata), formerFields(table.metadata))
        this.#columns = mergeColumns(known, this.#columns)
        this.#committed = tablePositions(table.metadata).get(partition) ?? 0n
        this.#position = this.#committed
      }
      await this.#startTable(this.#columns)
    })
  }

  /** Files written from now on are cut as the plan says; those there are stay as they were. */
  async #repartition(table: LoadedTable): Promise<LoadedTable> {
    const metadata = withPartition(table.metadata, this.stream.partition)
    return metadata === table.metadata ? table : this.#deps.catalog.commit(table, metadata)
  }

  async #refreshView(hot: readonly HotTable[] = this.#hot.tables): Promise<void> {
    const { lakeDir } = this.#deps
    const committed = this.#table && {
      schema: currentSchema(this.#table.metadata),
      formerFields: formerFields(this.#table.metadata),
      paths: this.files.map(({ key }) => join(lakeDir, key)),
    }
    await this.#connection.run(createView(this.stream.name, this.#columns, committed, hot))
  }

  #newMetadata(columns: readonly Column[]): ReturnType<typeof newTableMetadata> {
    const { clock, random } = this.#deps
    return newTableMetadata({ columns, partition: this.stream.partition, clock, random })
  }
}

/** Where a repeat of an event must be: in the partition of its event time, if the client says that time; else anywhere. */
function idScope({ partition: { by, unit }, time }: StreamPlan): Scope {
  return by === 'event_time' && time !== null ? unit : 'table'
}

function idFile({ key, partition: time, partitionValue }: ScanFile, scope: Scope): IdFile {
  const known = time?.column === '_event_time' && time.unit === scope && partitionValue !== null
  return { key, partition: known ? partitionValue : undefined }
}

function reasonOf(error: unknown): string {
  return messageOf(error)
    .replace(/^[A-Za-z ]+Error: /, '')
    .replace(/ in file "[^"]*", in line \d+:?/, '')
    .replace(/ Try setting 'auto_detect'[\s\S]*$/, '')
    .split('\n')[0]!
    .slice(0, 500)
}
