/**
 * One stream as SQL sees it: the committed files of its table and the hot rows behind them, in one view.
 *
 * - `load` takes the next chunk of the log into the hot tail: repeats are left out (I5), events that do not fit go to the dead
 *   letters, new fields become columns.
 * - `flush` freezes the hot rows and commits them with the log position they reach (stream-commit.ts, I3); then, in one transaction,
 *   the view takes the files in and the frozen rows are dropped, so that every query sees each event once (I4).
 * - The stream's account (stream-account.ts, I6) is frozen, dropped and set back with the rows and the position.
 *
 * When a commit fails, the table is loaded anew and its positions decide: ours means that it was made after all, the former ones
 * that it was not (the frozen rows stay for the next flush), any others that another engine loads this stream: then the hot rows
 * are dropped and loading goes on from where the table is.
 */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { systemColumns, type Column, type StreamPlan } from '../config/plan.ts'
import type { LoadedTable } from '../lake/catalog.ts'
import { confirmDurable } from '../lake/commit.ts'
import {
  currentSchema,
  evolveTable,
  formerFields,
  newTableMetadata,
  tablePositions,
  withPartition,
} from '../lake/metadata.ts'
import { planScan, type ScanFile, type ScanPlan } from '../lake/scan.ts'
import type { Sources } from '../lake/sources.ts'
import type { Chunk, Position } from '../log/log.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import { Mutex } from '../runtime/mutex.ts'
import { ChunkIntake, type NewEvents } from './chunk-intake.ts'
import { ColumnGrowth } from './column-growth.ts'
import { mergeColumns } from './columns.ts'
import { writeReadyFile } from './data-files.ts'
import type { IdBook } from './dedup/id-book.ts'
import type { ScannedEvents } from './dedup/scan.ts'
import { transaction } from './duckdb.ts'
import type { HotTable } from './hot-table.ts'
import { HotTail } from './hot-tail.ts'
import { idScope, noteCommitted, openIdBook } from './id-source.ts'
import { StreamAccount } from './ledger/stream-account.ts'
import { commitRows, outcomeOf, type FrozenRows } from './stream-commit.ts'
import type { StreamTableDeps } from './stream-table-deps.ts'
import { createView, hiddenNames, knownColumns } from './stream-view.ts'

export interface LoadStats {
  loaded: number
  repeats: number
  deadLetters: number
}

interface Frozen extends FrozenRows {
  idNumber: number | undefined
  /** When the oldest of it was loaded. */
  sinceMs: number | undefined
}

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
  readonly #account: StreamAccount
  #table: LoadedTable | undefined
  #scan: ScanPlan | undefined
  #columns: readonly Column[]
  #position: Position = 0n
  #committed: Position = 0n
  #frozen: Frozen | undefined
  /** Dead letters of the hot rows may be lost: the rows must be loaded again. */
  #distrusted = false
  #uncommittedSinceMs: number | undefined
  #confirmed = false

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
    this.#account = new StreamAccount(deps.keptSources)
    this.#columns = [...systemColumns, ...(stream.columns ?? [])]
    this.#recordBytesMax = Math.max(2 * deps.plan.limits.eventBytesMax + systemBytesMax, 2 * 1024 * 1024)
    this.#ids = openIdBook(stream, deps, { connection, hot: this.#hot, files: () => this.files })
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

  /** What became of the events that are loaded and not committed. */
  get account(): StreamAccount {
    return this.#account
  }

  /** How far each source has reported, by all that SQL sees: committed and hot. Live; empty for a stream without a log. */
  get sources(): Sources {
    return this.#account.sources
  }

  /** Whether the stream has a log, and so an account and a ledger. */
  get hasLog(): boolean {
    return this.#deps.hasLog
  }

  /** The hot tables, oldest first. Some may be gone a moment later, except within `atRest`. */
  get hotTables(): readonly HotTable[] {
    return this.#hot.tables
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
      if (this.#deps.hasLog) checkBatches(this.stream.name, chunk)
      const fate = await this.#intake.take(chunk, from, scanned, (events) => this.#insert(events))
      if (this.#deps.hasLog) this.#account.note(chunk.batches, fate)
      if (chunk.count > 0) this.#uncommittedSinceMs ??= this.#deps.clock.nowMs()
      this.#position = chunk.next
      const repeats = fate.repeats.length
      const deadLetters = fate.deadLetters.length
      return { loaded: chunk.count - repeats - deadLetters, repeats, deadLetters }
    })
  }

  /**
   * Commits the hot rows, and the position they reach, to the table.
   * @returns true when something was committed, and `checkpoint` will survive a power cut
   * @throws whatever kept it from committing; the rows stay hot, and visible, for the next try
   */
  flush(): Promise<boolean> {
    return this.#flushing.run(async () => {
      await this.#confirm()
      this.#frozen ??= await this.#freeze()
      if (this.#frozen === undefined) return false
      const frozen = this.#frozen
      await this.#deps.flushDeadLetters()
      if (this.#distrusted) await this.#loadAgain()
      try {
        const table = await this.#ensureTable(frozen.columns)
        await this.#adopt(frozen, await commitRows(this.#deps, table, frozen))
      } catch (error) {
        await this.#settle(frozen, error)
        await this.#confirm()
      }
      return true
    })
  }

  /** What was loaded from the catalog may be there to see and not be durable yet: nothing may be committed or trimmed on it before. */
  async #confirm(): Promise<void> {
    if (this.#confirmed || this.#table === undefined) return
    await confirmDurable(this.#deps.catalog, this.#table)
    this.#confirmed = true
  }

  /** Dead letters that were hot are hot no more, and nobody has committed them: no position behind them may be committed. */
  distrust(): void {
    this.#distrusted = true
  }

  /** Runs `work` while position, hot rows, account and committed table stay as they are. */
  atRest<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    return this.#writing.run(() => work(this.#connection))
  }

  /** Resolves when the ids that were committed so far are remembered on disk. */
  readonly settled = async (): Promise<void> => this.#ids?.settled()

  close(): void {
    this.#ids?.close()
    this.#connection.closeSync()
  }

  /** Makes the events of a chunk visible, all of them or none. */
  async #insert(events: NewEvents): Promise<void> {
    const { file, columns, bytes, count } = events
    if (this.#hot.needsTable(columns)) await this.#startTable(columns)
    if (bytes >= fileBytesMin && (await this.#insertAsFile(events))) return
    await this.#hot.insert(this.#connection, file, count, this.#recordBytesMax)
  }

  /**
   * Takes the events of a large scratch file as a data file that only has to be put in place at the next flush.
   * @returns false when they have to go through a hot table: they belong to several partitions, or bring new columns
   */
  async #insertAsFile({ file, columns, count }: NewEvents): Promise<boolean> {
    const { random, tmpDir } = this.#deps
    const table = await this.#ensureTable(columns)
    if (evolveTable(table.metadata, columns)) return false
    const schema = currentSchema(table.metadata)
    const select = this.#hot.selectNew(file, columns, this.#recordBytesMax)
    const ready = await writeReadyFile(this.#connection, { random, tmpDir }, { table, schema, columns, select })
    if (ready === undefined) return false
    if (ready.rows !== count) throw new Error(`Of ${count} events of ${this.stream.name}, ${ready.rows} were loaded`)
    const added = this.#hot.fileTable(ready, columns)
    await this.#showView(this.#table, this.#scan, columns, [...this.#hot.tables, added])
    this.#hot.addFile(added)
    return true
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
      const ledger = this.#deps.hasLog ? this.#account.freeze() : undefined
      return { tables, columns: this.#columns, from: this.#committed, to: this.#position, ledger, idNumber, sinceMs }
    })
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
      if (this.#ids) noteCommitted(this.#ids, idScope(this.stream), frozen.idNumber, scan)
      this.#account.adopted()
      this.#committed = frozen.to
      this.#frozen = undefined
    })
  }

  /** After a failed commit: finds out from the table what became of it. Throws `error` unless it was made. */
  async #settle(frozen: Frozen, error: unknown): Promise<void> {
    const { catalog, logger } = this.#deps
    logger.error({ stream: this.stream.name, error: messageOf(error) }, 'commit failed')
    const found = await outcomeOf(catalog, this.stream.name, frozen)
    this.#confirmed = false
    if (found.outcome === 'made') return this.#adopt(frozen, found.table)
    if (found.outcome === 'not made') this.#table = found.table
    else {
      await this.#reload()
      this.#deps.onOvertaken()
    }
    throw error
  }

  /** Goes back to the table, so that dead letters are found again. @throws FreshetError always: nothing is left to commit */
  async #loadAgain(): Promise<never> {
    await this.#reload()
    throw new FreshetError(
      'commit_conflict',
      `Another engine committed dead letters; ${this.stream.name} is loaded again.`,
    )
  }

  /** Takes over what the table holds, in place of all there was. */
  async #reload(): Promise<void> {
    this.#confirmed = false
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
      this.#account.reset(table?.metadata)
      this.#frozen = undefined
      this.#distrusted = false
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

/** @throws Error when a chunk's batches do not add up to its events: then nobody could say what became of each (I6) */
function checkBatches(stream: string, { batches, count }: Chunk): void {
  const total = batches.reduce((sum, batch) => sum + batch.count, 0)
  if (total !== count) throw new Error(`A chunk of ${stream} has ${count} events, but its batches have ${total}`)
}
