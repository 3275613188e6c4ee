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
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import { Mutex } from '../runtime/mutex.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { blankEvent, findUnreadable, linesOf, withoutEvents, type Unreadable } from './chunk-lines.ts'
import { mergeColumns, readJson, sameColumns, storedSelect } from './columns.ts'
import { writeDataFiles, writeReadyFile } from './data-files.ts'
import type { DeadLetter } from './dead-letters.ts'
import { IdBook, type IdFile } from './dedup/id-book.ts'
import { scanEvents, type ScannedEvents, type Scope } from './dedup/scan.ts'
import { transaction, type Database } from './duckdb.ts'
import { HotTail, type HotTable } from './hot-tail.ts'
import { idSource } from './id-source.ts'
import { emptyObjectProbe, inferColumns, withoutEmptyObjects } from './infer.ts'
import { literal } from './sql-text.ts'
import { createView, visibleColumns } from './stream-view.ts'

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

  /** Where the events of a chunk are, and their ids' hashes; undefined for a stream whose ids the gateway gave. */
  scan(chunk: Chunk): ScannedEvents | undefined {
    return this.#ids?.scan(chunk.bytes, chunk.count)
  }

  /**
   * Takes a chunk of log bytes that was read from `from` into the hot tail; all of it becomes visible at once. A chunk that does
   * not follow what is loaded, since the position was set back meanwhile, is left alone.
   */
  load(chunk: Chunk, from: Position, scanned = this.scan(chunk)): Promise<LoadStats> {
    return this.#writing.run(async () => {
      if (from !== this.#position) return { loaded: 0, repeats: 0, deadLetters: 0 }
      const stats = chunk.count === 0 ? { loaded: 0, repeats: 0, deadLetters: 0 } : await this.#take(chunk, from, scanned)
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

  async #take(chunk: Chunk, from: Position, first: ScannedEvents | undefined): Promise<LoadStats> {
    let scanned = first
    const file = join(this.#deps.tmpDir, `${this.stream.name}-${++this.#chunks % 1024}.ndjson`)
    let deadLetters = 0
    try {
      for (;;) {
        const repeats = this.#ids && scanned ? await this.#ids.repeats(chunk.bytes, scanned) : []
        const pieces = scanned ? withoutEvents(chunk.bytes, scanned, repeats) : [chunk.bytes]
        await writeFile(file, pieces)
        try {
          const loaded = await this.#insert(file, pieces)
          this.#uncommittedSinceMs ??= this.#deps.clock.nowMs()
          return { loaded, repeats: repeats.length, deadLetters }
        } catch (error) {
          // Without those that cannot be read it is tried again, repeats included: what they repeat may be among the dead.
          deadLetters += await this.#bury(chunk, from, scanned, repeats, error)
          scanned = this.scan(chunk)
        }
      }
    } finally {
      await rm(file, { force: true }).catch(() => undefined)
    }
  }

  /** Moves the events that DuckDB cannot read from the chunk to the dead letters; how many. @throws `cause` if there are none */
  async #bury(
    chunk: Chunk,
    from: Position,
    scanned: ScannedEvents | undefined,
    repeats: readonly number[],
    cause: unknown,
  ): Promise<number> {
    if (!isAboutData(cause)) throw cause
    const events = scanned ?? scanEvents(chunk.bytes, chunk.count, 'table', 0)
    const dead = await this.#findDead(chunk.bytes, events, repeats)
    if (dead.length === 0) throw cause
    await this.#deps.onDeadLetters(dead.map((letter) => this.#letter(chunk, events, from, letter)))
    for (const { index } of dead) blankEvent(chunk.bytes, events, index)
    return dead.length
  }

  /** Inserts the events of a file, after growing the columns where the stream is open. */
  async #insert(file: string, pieces: readonly Uint8Array[]): Promise<number> {
    if (pieces.length === 0) return 0
    const columns = this.stream.open ? await this.#grow(file) : this.#columns
    if (this.#hot.needsTable(columns)) await this.#startTable(columns)
    const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0)
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
    const { catalog } = this.#deps
    return this.#creating.run(async () => {
      this.#table ??= await catalog.create(this.stream.name, this.#newMetadata(columns))
      return this.#table
    })
  }

  /** From now on rows go to a new hot table with these columns. */
  async #startTable(columns: Column[]): Promise<void> {
    const table = await transaction(this.#connection, async () => {
      const created = await this.#hot.create(this.#connection, columns)
      await this.#showView(this.#table, this.#scan, columns, [...this.#hot.tables, created])
      return created
    })
    this.#hot.add(table)
    this.#columns = columns
  }

  /** The columns, grown by what the events in a file hold. @throws when a field of theirs cannot be a column */
  async #grow(file: string): Promise<Column[]> {
    const structure = await this.#structureOf(file)
    if (structure === undefined) return this.#columns
    const { columns, refused } = inferColumns(this.#columns, structure, this.#declared)
    for (const [name, reason] of refused) throw new UnfitField(`Field "${name}": ${reason}`)
    const hidden = this.#table && hiddenNames(this.#table)
    const taken = hidden && columns.find(({ name }) => hidden.has(name.toLowerCase()))
    if (taken)
      throw new UnfitField(`Field "${taken.name}": the table keeps older values of another column under this name`)
    return sameColumns(columns, this.#columns) ? this.#columns : columns
  }

  /** What `json_group_structure` says of a file's lines, with no type for empty objects; undefined for no lines. */
  async #structureOf(file: string): Promise<string | undefined> {
    const source = readJson(file, [{ name: 'json', type: { kind: 'json' } }], this.#recordBytesMax)
    const lines = `SELECT json FROM ${source.replace(/\)$/, ', records = false)')}`
    const structure = await this.#grouped(lines)
    if (structure === undefined) return undefined
    const probe = emptyObjectProbe(this.#columns, structure, this.#declared)
    if (probe === undefined) return structure
    const probed = await this.#grouped(`${lines} UNION ALL SELECT CAST(${literal(probe)} AS JSON)`)
    return withoutEmptyObjects(structure, probed!)
  }

  async #grouped(lines: string): Promise<string | undefined> {
    const result = await this.#connection.runAndReadAll(`SELECT json_group_structure(json) FROM (${lines})`)
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
        if (!isAboutData(error)) throw error
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
    const table = found && (await this.#repartition(found))
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

  /** Files written from now on are cut as the plan says; those there are stay as they were. */
  async #repartition(table: LoadedTable): Promise<LoadedTable> {
    const metadata = withPartition(table.metadata, this.stream.partition)
    return metadata === table.metadata ? table : this.#deps.catalog.commit(table, metadata)
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

  #newMetadata(columns: readonly Column[]): ReturnType<typeof newTableMetadata> {
    const { clock, random } = this.#deps
    return newTableMetadata({ columns, partition: this.stream.partition, clock, random })
  }
}

/** A field that cannot be a column. */
class UnfitField extends Error {}

/** Whether an error blames the rows, so that others could be loaded; not so for one that blames memory, disk or ourselves. */
function isAboutData(error: unknown): boolean {
  return (
    error instanceof UnfitField ||
    (error instanceof Error &&
      /^(Invalid Input|Conversion|Out of Range|Binder|Catalog|Parser) Error/.test(error.message))
  )
}

/** The table's columns as readers see them. */
function knownColumns({ metadata }: LoadedTable): Column[] {
  return visibleColumns(currentSchema(metadata), formerFields(metadata))
}

/** Names, in lower case, of the fields that other columns continue. */
function hiddenNames({ metadata }: LoadedTable): Set<string> {
  const former = new Set([...formerFields(metadata).values()].flat())
  const { fields } = currentSchema(metadata)
  return new Set(fields.filter(({ id }) => former.has(id)).map(({ name }) => name.toLowerCase()))
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
    .replace(/^[A-Za-z ]+Error: (JSON transform error)?/, '')
    .replace(/ in file "[^"]*", in line \d+:?/, '')
    .replace(/ Try setting 'auto_detect'[\s\S]*$/, '')
    .split('\n')[0]!
    .trim()
    .slice(0, 500)
}
