/**
 * One stream as SQL sees it: the committed files of its table and the hot rows behind them, as one state (shown-stream.ts).
 *
 * - `load` takes the next chunk of the log into the hot tail: repeats are left out (I5), events that do not fit go to the dead
 *   letters, new fields become columns.
 * - `flush` freezes the hot rows and commits them with the log position they reach (stream-commit.ts, I3); then, in one transaction,
 *   the files are shown and the frozen rows are dropped, so that every query sees each event once (I4).
 * - `change` commits other files in place of some, with log position and hot rows as they are; they are shown in one step as well.
 * - The stream's account (stream-account.ts, I6) is frozen, dropped and set back with the rows and the position.
 *
 * When a commit fails, the table is loaded anew and its positions decide: ours means that it was made after all, the former ones
 * that it was not (the frozen rows stay for the next flush), any others that another engine loads this stream: then the hot rows
 * are dropped and loading goes on from where the table is.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { systemColumns, type Column, type StreamPlan } from '../config/plan.ts'
import { letterBytesMax, letteredStream } from '../events/dead-letter.ts'
import type { LoadedTable } from '../lake/catalog.ts'
import { confirmDurable } from '../lake/commit.ts'
import { newTableMetadata, tablePositions } from '../lake/metadata.ts'
import { planScan, type ScanFile, type ScanPlan } from '../lake/scan.ts'
import type { Sources } from '../lake/sources.ts'
import type { Chunk, Position } from '../log/log.ts'
import { messageOf } from '../runtime/errors.ts'
import { Mutex } from '../runtime/mutex.ts'
import { ChunkIntake } from './chunk-intake.ts'
import type { Unreadable } from './chunk-lines.ts'
import { ColumnGrowth } from './column-growth.ts'
import { mergeColumns } from './columns.ts'
import type { IdBook } from './dedup/id-book.ts'
import type { ScannedEvents } from './dedup/scan.ts'
import { evolvedTable } from './evolution/apply-plan.ts'
import { streamProperties } from './evolution/stream-record.ts'
import type { HotTable } from './hot-table.ts'
import { idScope, noteChanged, noteCommitted, openIdBook, type IdChange } from './id-source.ts'
import { checkBatches } from './ledger/batch-tally.ts'
import { StreamAccount } from './ledger/stream-account.ts'
import type { StreamState } from './shown-stream.ts'
import type { LoadStats } from './stream-stats.ts'
import { commitRows, outcomeOf, type FrozenRows } from './stream-commit.ts'
import type { StreamTableDeps } from './stream-table-deps.ts'
import { StreamTail } from './stream-tail.ts'
import { hiddenNames, knownColumns } from './stream-view.ts'

interface Frozen extends FrozenRows {
  idNumber: number | undefined
  /** When the oldest of it was loaded. */
  sinceMs: number | undefined
}

/** What a line may have beside the client's event. */
const systemBytesMax = 64 * 1024
const partition = 0

export class StreamTable {
  readonly stream: StreamPlan
  readonly #deps: StreamTableDeps
  readonly #connection: DuckDBConnection
  readonly #tail: StreamTail
  readonly #ids: IdBook | undefined
  /** Loads and changes of what is shown, one at a time. */
  readonly #writing = new Mutex()
  readonly #flushing = new Mutex()
  readonly #creating = new Mutex()
  readonly #intake: ChunkIntake
  readonly #account: StreamAccount
  /** What the next commit is made on. */
  #table: LoadedTable | undefined
  #position: Position = 0n
  #committed: Position = 0n
  #frozen: Frozen | undefined
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
    this.#account = new StreamAccount(deps.keptSources)
    const recordBytesMax = recordBytesOf(stream, deps.plan.limits.eventBytesMax)
    const declared = [...(deps.leading ?? systemColumns), ...(stream.columns ?? [])]
    const { readers, random, tmpDir } = deps
    const ensureTable = (columns: readonly Column[]): Promise<LoadedTable> => this.#ensureTable(columns)
    this.#tail = new StreamTail(stream, declared, { connection, readers, random, tmpDir, recordBytesMax, ensureTable })
    this.#ids = openIdBook(stream, deps, { connection, hot: this.#tail.hot, files: () => this.files })
    const fixed = new Set<string>(declared.map(({ name }) => name))
    this.#intake = new ChunkIntake({
      stream,
      connection,
      tmpDir,
      recordBytesMax,
      ids: this.#ids,
      growth: new ColumnGrowth(connection, stream, fixed, recordBytesMax),
      columns: () => ({ known: this.#columns, hidden: this.#table ? hiddenNames(this.#table) : new Set() }),
      onDeadLetters: deps.onDeadLetters,
      clock: deps.clock,
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
    return this.#tail.hot.rows
  }

  /** When the oldest event that is not committed was loaded, milliseconds since 1970; undefined while there is none. */
  get uncommittedSinceMs(): number | undefined {
    return this.#frozen?.sinceMs ?? this.#uncommittedSinceMs
  }

  get table(): LoadedTable | undefined {
    return this.#table
  }

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
    return this.#tail.hot.tables
  }

  /** The committed data files. */
  get files(): readonly ScanFile[] {
    return this.scanned?.files ?? []
  }

  /** The same with their manifests. */
  get scanned(): ScanPlan | undefined {
    return this.#tail.now.scan
  }

  /** What a query shows of the stream that has found it in this generation (shown-stream.ts). */
  stateAt(generation: number): StreamState | undefined {
    return this.#tail.at(generation)
  }

  /** Resolves when all queries that run now have ended: what was taken out of sight before is read by nobody then. */
  readersGone(): Promise<void> {
    return this.#deps.readers.gone()
  }

  get #columns(): readonly Column[] {
    return this.#tail.now.columns
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
      const fate = await this.#intake.take(chunk, from, scanned, (events) => this.#tail.insert(events))
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

  /**
   * Commits other data files in place of some of the table's: compaction, erasure, retention, a roll-back. Log position and hot rows
   * stay; no flush runs meanwhile. Whoever calls it has put the new files in place before.
   * @param commit makes the commit on the table it is given, and returns the table with it
   * @param ids `kept` when the ids in the files that go are those in the files that come, `fewer` when ids may be gone
   * @returns the table, whose files are shown now
   * @throws Error without a table; what `commit` throws: what the table then holds is shown, whatever became of the commit
   */
  change(commit: (table: LoadedTable) => Promise<LoadedTable>, ids: 'kept' | 'fewer'): Promise<LoadedTable> {
    return this.#flushing.run(async () => {
      await this.#confirm()
      const base = this.#table
      if (base === undefined) throw new Error(`The stream ${this.stream.name} has no table that could be changed`)
      try {
        const next = await commit(base)
        // With commits of others in between, nothing is known of what they did to ids.
        const isAlone = this.#tail.now.table?.version === base.version && next.version === base.version + 1
        await this.#takeChange(next, ids === 'fewer' || isAlone ? ids : 'unknown')
        return next
      } catch (error) {
        this.#confirmed = false
        const found = await this.#deps.catalog.load(this.stream.name)
        if (found && found.version !== this.#table?.version) {
          await this.#takeChange(found, ids === 'kept' ? 'unknown' : ids)
        }
        await this.#confirm()
        throw error
      }
    })
  }

  /** Takes over what others have committed to the table. @returns whether there was anything @throws as `change` does */
  async refresh(): Promise<boolean> {
    const newest = async (): Promise<LoadedTable | undefined> => this.#deps.catalog.load(this.stream.name)
    const found = this.#table && (await newest())
    if (found === undefined || found.version === this.#table?.version) return false
    await this.change(async (base) => (await newest()) ?? base, 'fewer')
    return true
  }

  /** Makes the table, with all of its columns, if there is none yet. For a stream without a log, whose rows do not come one by one. */
  create(columns: readonly Column[]): Promise<LoadedTable> {
    return this.#flushing.run(async () => {
      if (this.#table === undefined) {
        await this.#ensureTable(columns)
        await this.#reload()
      }
      return this.#table!
    })
  }

  /** Columns that are hot may be in no table yet; a rollup has no others than its table. */
  #shownColumns(table: LoadedTable): Column[] {
    return this.#deps.leading ? knownColumns(table) : mergeColumns(this.#columns, knownColumns(table))
  }

  async #takeChange(table: LoadedTable, ids: IdChange): Promise<void> {
    if ((tablePositions(table.metadata).get(partition) ?? 0n) !== this.#committed) {
      await this.#reload()
      this.#deps.onOvertaken()
      return
    }
    await this.#showTable(table, [], (scan) => {
      if (this.#ids) noteChanged(this.#ids, idScope(this.stream), scan, ids)
    })
  }

  /** What was loaded from the catalog may be there to see and not be durable yet: nothing may be committed or trimmed on it before. */
  async #confirm(): Promise<void> {
    if (this.#confirmed || this.#table === undefined) return
    await confirmDurable(this.#deps.catalog, this.#table)
    this.#confirmed = true
  }

  /** Runs `work` while position, hot rows, account and committed table stay as they are. */
  atRest<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    return this.#writing.run(() => work(this.#connection))
  }

  /** Which of some lines could not be loaded now, and why. Nothing changes. */
  unreadable(lines: readonly Buffer[]): Promise<Unreadable[]> {
    return this.#writing.run(() => this.#intake.unreadable(lines))
  }

  /** Resolves when the ids that were committed so far are remembered on disk. */
  readonly settled = async (): Promise<void> => this.#ids?.settled()

  close(): void {
    this.#ids?.close()
    this.#connection.closeSync()
  }

  /** The stream's table in the lake, made if there is none yet. */
  #ensureTable(columns: readonly Column[]): Promise<LoadedTable> {
    const { catalog, clock, random, plan } = this.#deps
    const { name, partition: by } = this.stream
    const properties = streamProperties(this.stream, Object.hasOwn(plan.streams, name))
    return this.#creating.run(async () => {
      this.#table ??= await catalog.create(
        name,
        newTableMetadata({ columns, partition: by, clock, random, properties }),
      )
      return this.#table
    })
  }

  async #freeze(): Promise<Frozen | undefined> {
    return this.#writing.run(async () => {
      if (this.#position === this.#committed && this.#tail.hot.rows === 0) return undefined
      const tables = this.#tail.hot.rows === 0 ? [] : [...this.#tail.hot.tables]
      if (tables.length > 0) await this.#tail.startTable(this.#columns)
      const sinceMs = this.#uncommittedSinceMs
      this.#uncommittedSinceMs = undefined
      const idNumber = this.#ids?.rotate()
      const ledger = this.#deps.hasLog ? this.#account.freeze() : undefined
      return { tables, columns: this.#columns, from: this.#committed, to: this.#position, ledger, idNumber, sinceMs }
    })
  }

  /** After a commit: its files are shown and the frozen rows are not, at once. */
  async #adopt(frozen: Frozen, table: LoadedTable): Promise<void> {
    await this.#showTable(table, frozen.tables, (scan) => {
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

  /** Takes over what the table holds, in place of all there was. */
  async #reload(): Promise<void> {
    this.#confirmed = false
    const table = await evolvedTable(this.#deps, this.stream.name)
    const scan = table && (await planScan(this.#deps.store, table))
    await this.#writing.run(async () => {
      const columns = table ? mergeColumns(knownColumns(table), this.#deps.leading ? [] : this.#columns) : this.#columns
      await this.#tail.begin({ table, scan, columns })
      this.#table = table
      this.#ids?.clear()
      this.#account.reset(table?.metadata)
      this.#frozen = undefined
      this.#uncommittedSinceMs = undefined
      this.#committed = (table && tablePositions(table.metadata).get(partition)) ?? 0n
      this.#position = this.#committed
    })
    this.#deps.onShown?.()
  }

  /** Shows the files of `table`, and the hot tables without those in `gone`; `then` takes note of it. */
  async #showTable(table: LoadedTable, gone: readonly HotTable[], then: (scan: ScanPlan) => void): Promise<void> {
    const previous = this.#tail.now.scan
    const scan = await planScan(this.#deps.store, table, previous && { previous })
    await this.#writing.run(async () => {
      const columns = this.#shownColumns(table)
      const hot = this.#tail.hot.tables.filter((kept) => !gone.includes(kept))
      await this.#tail.show(async () => ({ table, scan, columns, hot }), gone)
      this.#table = table
      then(scan)
    })
    this.#deps.onShown?.()
  }
}

/** The longest line of a stream's log. Decimals that are put in quotes make an event longer. */
export function recordBytesOf({ name }: StreamPlan, eventBytesMax: number): number {
  if (letteredStream(name) !== undefined) return letterBytesMax(eventBytesMax)
  return Math.max(2 * eventBytesMax + systemBytesMax, 2 * 1024 * 1024)
}
