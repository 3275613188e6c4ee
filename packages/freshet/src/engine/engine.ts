/**
 * The engine: follows every stream's log into its table and answers SQL over both.
 *
 * One event's way: stream-loader.ts (when) -> stream-table.ts (what) -> dedup/ (not twice) -> hot-tail.ts (visible)
 * -> data-files.ts and lake/commit.ts (committed); a query's: http.ts -> query/gate.ts -> query/run.ts.
 */
import type { Server } from 'node:http'
import { join } from 'node:path'
import { streamNamePattern, type Plan, type StreamPlan } from '../config/plan.ts'
import type { Catalog } from '../lake/catalog.ts'
import type { CommitLimits } from '../lake/commit.ts'
import type { Log } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import type { ErrorCode } from '../runtime/error-codes.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import { Mutex } from '../runtime/mutex.ts'
import type { Random } from '../runtime/random.ts'
import type { Timers } from '../runtime/timers.ts'
import type { SiteReader } from '../sites/site-registry.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { CatchUp } from './catch-up.ts'
import { Completeness, type ReportedStream, type StreamReport } from './completeness.ts'
import { deadLetterLines, deadLetterStream, type DeadLetter } from './dead-letters.ts'
import { IdMemory } from './dedup/id-memory.ts'
import { Database } from './duckdb.ts'
import { engineMetrics } from './engine-metrics.ts'
import { engineStatus } from './engine-status.ts'
import type { ErasableStream } from './erasure/erasures.ts'
import { Erasures } from './erasure/erasures.ts'
import { answerChange } from './erasure/routes.ts'
import type { SearchLog } from './erasure/search.ts'
import { applyPlan } from './evolution/apply-plan.ts'
import { planWithoutConfig } from './evolution/stream-record.ts'
import { serve } from './http.ts'
import { QueryRunner } from './query/run.ts'
import { StreamViews } from './query/stream-views.ts'
import { Readers } from './readers.ts'
import { Receipts } from './receipts/receipts.ts'
import { emptyScratch } from './scratch.ts'
import { StreamLoader } from './stream-loader.ts'
import { StreamTable } from './stream-table.ts'
import type { StreamTableDeps } from './stream-table-deps.ts'
import { SystemTables, systemTableNames } from './system-tables.ts'
import { TableRefs } from './table-refs.ts'
import { Upkeep } from './upkeep/upkeep.ts'

export interface EngineDeps extends Pick<CommitLimits, 'merge'> {
  plan: Plan
  log: Log
  catalog: Catalog
  store: ObjectStore
  /** The sites whose reports count. */
  sites: SiteReader
  /** Streams that have a log already, declared or not. */
  existingStreams?: readonly string[]
  /** Folder of the log, where it is one of files. */
  logDir: string
  /** Folder of the tables: what the store's keys are relative to. */
  lakeDir: string
  /** Scratch; emptied at the start. */
  tmpDir: string
  /** What is kept to save work and can be made again; here, which ids the tables hold. */
  cacheDir: string
  /** Where erasures are taken down, and how the log is searched after one; left out, nothing can be erased. */
  erasures?: { dir: string; searchLog: SearchLog }
  /** Path of the unix socket to listen on. */
  socket: string
  fileSystem: FileSystem
  clock: Clock
  timers: Timers
  random: Random
  logger: Logger
  version: string
  /** A simulation has a database of its own, and no socket. */
  openDatabase?: typeof Database.open
  serve?: typeof serve
}

export interface Engine {
  /** Begins to load and to answer. */
  start(): Promise<void>
  /** Stops answering, commits what is hot, and closes. */
  stop(): Promise<void>
}

/** Opens the database and every stream's table. */
export async function openEngine(deps: EngineDeps): Promise<Engine> {
  const { plan, fileSystem, tmpDir, lakeDir, logDir } = deps
  await fileSystem.makeDir(tmpDir)
  await emptyScratch(tmpDir)
  await fileSystem.makeDir(lakeDir)
  const settings = { ...plan.engine, tmpDir, lakeDir, logDir }
  const database = await (deps.openDatabase?.(settings) ?? Database.open(settings))
  const engine = new StreamEngine(deps, database)
  await engine.openStreams()
  return engine
}

/** The site registry or a ledger file may be damaged, which must not keep the engine from starting. */
const atStart = new Set([...systemTableNames].filter((name) => name !== 'sites' && name !== 'ledger'))
const unreadableCodes: ReadonlySet<ErrorCode> = new Set(['corrupt_table', 'unsupported_table'])

class StreamEngine implements Engine {
  readonly #deps: EngineDeps & CommitLimits
  readonly #database: Database
  readonly #idMemory: IdMemory
  readonly #readers = new Readers()
  readonly #loaders = new Map<string, StreamLoader>()
  readonly #completeness: Completeness
  readonly #opening = new Mutex()
  readonly #turns = new Mutex()
  readonly #declared: ReadonlySet<string>
  #deadLetters: StreamLoader | undefined
  #server: Server | undefined
  #unsubscribe: (() => void) | undefined
  #catchUp: CatchUp | undefined
  #upkeep: Upkeep | undefined
  #erasures: Erasures | undefined
  #running = false

  constructor(deps: EngineDeps, database: Database) {
    this.#deps = { ...deps, snapshotsMax: deps.plan.lake.snapshots.max }
    this.#database = database
    this.#idMemory = new IdMemory(deps.plan.engine.idMemoryBytes)
    this.#declared = new Set(Object.keys(deps.plan.streams))
    this.#completeness = new Completeness({
      sites: deps.sites,
      clock: deps.clock,
      streams: () => this.#reportedStreams(),
    })
  }

  async openStreams(): Promise<void> {
    const { plan, catalog, logger, existingStreams = [] } = this.#deps
    await applyPlan(this.#deps, plan)
    this.#deadLetters = await this.#openStream(deadLetterStream)
    const names = new Set([...Object.keys(plan.streams), ...(await catalog.tables()), ...existingStreams])
    for (const name of names) {
      await this.#open(name).catch((error: unknown) => {
        // A table that is damaged, or that another engine made unreadable, must not keep the others away.
        if (!(error instanceof FreshetError && unreadableCodes.has(error.code))) throw error
        logger.error({ stream: name, error: error.message, hint: error.hint }, 'stream cannot be opened')
      })
    }
  }

  async start(): Promise<void> {
    const { log, plan, store, random, tmpDir, lakeDir, socket, logger, clock, timers } = this.#deps
    const completeness = this.#completeness
    // Before anything is loaded: reports of registered sites are not forgotten. A damaged registry keeps nobody from starting.
    await completeness.refresh().catch(() => undefined)
    this.#running = true
    const loaders = [...this.#loaders.values()].filter((loader) => loader !== this.#deadLetters)
    const catchUp = await CatchUp.start({ loaders, log, timers, waitMsMax: plan.sql.catchUpMsMax })
    this.#catchUp = catchUp
    this.#unsubscribe = log.subscribe((stream) => this.#onGrowth(stream))
    const upkeep = await this.#openUpkeep()
    const erasures = await this.#openErasures()
    const keptSources = (): ReadonlySet<string> => completeness.recentSites()
    const tableOf = (name: string): StreamTable | undefined => this.#loaders.get(name)?.table
    const refs = new TableRefs({ ...this.#deps, database: this.#database, keptSources, tableOf })
    const systemTables = new SystemTables({
      connection: await this.#database.connect(),
      log,
      tmpDir,
      lakeDir,
      declared: this.#declared,
      loaders: () => this.#loaders.values(),
      completeness,
      maintenance: () => upkeep.rows(),
    })
    await systemTables.refresh(atStart)
    const views = new StreamViews({
      store,
      lakeDir,
      readers: this.#readers,
      stateOf: (stream, generation) => this.#loaders.get(stream)?.table.stateAt(generation),
    })
    const runner = new QueryRunner({
      database: this.#database,
      views,
      random,
      tmpDir,
      ...plan.sql,
      context: () => ({ streams: new Set(this.#loaders.keys()), systemTables: systemTableNames }),
      completeThrough: (streams) => completeness.through(streams),
      refreshTables: () => this.#refreshTables(),
      refreshSystemTables: (names) => systemTables.refresh(names),
      ready: (signal) => catchUp.ready(signal),
      // System tables tell of every stream.
      headers: ({ streams, systemTables: { size } }) =>
        catchUp.headers(size > 0 ? new Set(this.#loaders.keys()) : streams),
    })
    const receipts = new Receipts({
      database: this.#database,
      views,
      log,
      store,
      tmpDir,
      lakeDir,
      timeoutMs: plan.sql.timeoutMs,
      tableOf: (stream) => this.#loaders.get(stream)?.table,
    })
    // How far streams are complete is left out while the site registry cannot be read; the gateway says why.
    const reports = (): Promise<ReadonlyMap<string, StreamReport> | undefined> =>
      completeness.report().catch(() => undefined)
    this.#server = await (this.#deps.serve ?? serve)({
      socket,
      runner,
      logger,
      status: async () => engineStatus(this.#loaders.values(), this.#declared, log, clock, await reports()),
      metrics: async () => engineMetrics(this.#loaders.values(), log, clock, await reports()),
      receipt: (text, signal) => receipts.find(text, signal),
      upkeep,
      change: (request) => answerChange({ erasures, refs }, request),
      readiness: () => ({ ready: this.#running, catchingUp: catchUp.isBehind }),
    })
    upkeep.start()
    erasures?.start()
  }

  async #openErasures(): Promise<Erasures | undefined> {
    const { erasures, cacheDir, tmpDir } = this.#deps
    if (erasures === undefined) return undefined
    this.#erasures = await Erasures.open({
      ...this.#deps,
      ...erasures,
      database: this.#database,
      idDir: join(cacheDir, 'ids'),
      scratchDir: tmpDir,
      keptSources: () => this.#completeness.recentSites(),
      streamOf: (name) => erasableStream(this.#loaders.get(name)),
      deadLetters: erasableStream(this.#deadLetters!),
      holdUpkeep: (work) => this.#upkeep!.hold(work),
    })
    return this.#erasures
  }

  async #openUpkeep(): Promise<Upkeep> {
    const { cacheDir, tmpDir, openDatabase } = this.#deps
    this.#upkeep = await Upkeep.open({
      ...this.#deps,
      dir: join(cacheDir, 'upkeep'),
      tmpDir: join(tmpDir, 'upkeep'),
      keptSources: () => this.#completeness.recentSites(),
      tables: () => [...this.#loaders.values()].map(({ table }) => table),
      openDatabase: openDatabase ?? ((options) => Database.open(options)),
    })
    return this.#upkeep
  }

  async stop(): Promise<void> {
    this.#running = false
    this.#unsubscribe?.()
    this.#server?.close()
    this.#server?.closeIdleConnections()
    this.#catchUp?.stop()
    // An erasure holds upkeep back, which waits for it.
    await this.#erasures?.stop()
    await this.#upkeep?.stop()
    for (const loader of this.#loaders.values()) if (loader !== this.#deadLetters) await loader.stop()
    // What could not be committed is loaded again from the log.
    await this.#deadLetters?.table.flush().catch((error: unknown) => {
      this.#deps.logger.error({ stream: deadLetterStream.name, error: messageOf(error) }, 'commit failed')
    })
    this.#server?.closeAllConnections()
    for (const { table } of this.#loaders.values()) table.close()
    this.#database.close()
    await emptyScratch(this.#deps.tmpDir)
  }

  /** What SQL shows of each stream's sources, by name of the stream. */
  #reportedStreams(): ReportedStream[] {
    return [...this.#loaders.values()]
      .filter((loader) => loader !== this.#deadLetters)
      .map(({ table }) => ({ name: table.stream.name, sources: table.sources }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  async #refreshTables(): Promise<boolean> {
    const changed = await Promise.all([...this.#loaders.values()].map(({ table }) => table.refresh()))
    return changed.includes(true)
  }

  #onGrowth(stream: string): void {
    const loader = this.#loaders.get(stream)
    if (loader) {
      loader.wake()
      return
    }
    if (!streamNamePattern.test(stream)) return
    this.#open(stream).catch((error: unknown) => {
      this.#deps.logger.error({ stream, error: messageOf(error) }, 'stream cannot be opened')
    })
  }

  /** Opens a stream that is declared, has a table, or has just appeared in the log. */
  #open(name: string): Promise<void> {
    return this.#opening.run(async () => {
      if (this.#loaders.has(name)) return
      const { plan: words, catalog } = this.#deps
      const declared = Object.hasOwn(words.streams, name) ? words.streams[name] : undefined
      const plan = declared ?? planWithoutConfig(name, await catalog.load(name))
      const loader = await this.#openStream(plan)
      if (this.#running) loader.start()
    })
  }

  async #openStream(stream: StreamPlan): Promise<StreamLoader> {
    const { plan, log, clock, timers, store, logger } = this.#deps
    const own = stream === deadLetterStream
    const tableDeps: StreamTableDeps = {
      ...this.#deps,
      idDir: join(this.#deps.cacheDir, 'ids'),
      idMemory: this.#idMemory,
      database: this.#database,
      readers: this.#readers,
      onDeadLetters: async (letters) => {
        if (own) throw new Error(`A dead letter cannot be loaded: ${letters[0]?.reason}`)
        await this.#addDeadLetters(letters)
      },
      hasLog: !own,
      keptSources: () => this.#completeness.recentSites(),
      onOvertaken: () => {
        this.#loaders.get(stream.name)?.wake()
        if (own) for (const other of this.#loaders.values()) if (other !== this.#deadLetters) other.table.distrust()
      },
      flushDeadLetters: async () => own || this.#deadLetters?.table.flush(),
    }
    const table = await StreamTable.open(stream, tableDeps)
    const loader = new StreamLoader(table, { plan, log, clock, timers, logger, turns: this.#turns, store })
    this.#loaders.set(stream.name, loader)
    return loader
  }

  async #addDeadLetters(letters: readonly DeadLetter[]): Promise<void> {
    const { clock, logger } = this.#deps
    const loader = this.#deadLetters!
    const bytes = deadLetterLines(letters)
    const from = loader.table.position
    const next = from + BigInt(bytes.length)
    const receivedAtMs = clock.nowMs()
    const stats = await loader.table.load({ bytes, count: letters.length, next, batches: [], receivedAtMs }, from)
    loader.stats.note(clock.nowMs(), clock.nowMs(), stats)
    const { stream, reason } = letters[0]!
    logger.warn({ stream, count: letters.length, reason }, 'events went to dead_letters')
  }
}

function erasableStream(loader: StreamLoader): ErasableStream
function erasableStream(loader: StreamLoader | undefined): ErasableStream | undefined
function erasableStream(loader: StreamLoader | undefined): ErasableStream | undefined {
  return loader && { kept: loader.table, commitUpTo: (position, signal) => loader.commitUpTo(position, signal) }
}
