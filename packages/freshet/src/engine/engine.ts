/**
 * The engine: follows every stream's log into its table and answers SQL over both.
 *
 * One event's way: stream-loader.ts (when) -> stream-table.ts (what) -> dedup/ (not twice) -> hot-tail.ts (visible)
 * -> data-files.ts and lake/commit.ts (committed); a query's: http.ts -> query/gate.ts -> query/run.ts.
 */
import type { Server } from 'node:http'
import { join } from 'node:path'
import { logNamePattern, type StreamPlan } from '../config/plan.ts'
import {
  appendDeadLetters,
  deadLettersOf,
  formerDeadLetters,
  deadLetterStream,
  letteredStream,
  type DeadLetter,
} from '../events/dead-letter.ts'
import type { CommitLimits } from '../lake/commit.ts'
import type { ErrorCode } from '../runtime/error-codes.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import { Mutex } from '../runtime/mutex.ts'
import { BackFills } from './back-fill/back-fill.ts'
import { answerBackFill } from './back-fill/routes.ts'
import { CatchUp } from './catch-up.ts'
import { Completeness, type ReportedStream, type StreamReport } from './completeness.ts'
import { IdMemory } from './dedup/id-memory.ts'
import { Database } from './duckdb.ts'
import type { Engine, EngineDeps } from './engine-deps.ts'
import { engineMetrics } from './engine-metrics.ts'
import { engineStatus } from './engine-status.ts'
import type { ErasableStream } from './erasure/erasures.ts'
import { Erasures } from './erasure/erasures.ts'
import { answerChange } from './erasure/routes.ts'
import { applyPlan } from './evolution/apply-plan.ts'
import { planWithoutConfig } from './evolution/stream-record.ts'
import { serve } from './http.ts'
import { QueryRunner } from './query/run.ts'
import { StreamViews } from './query/stream-views.ts'
import { Readers } from './readers.ts'
import { Receipts } from './receipts/receipts.ts'
import type { DeadLetters } from './letters/dead-letters.ts'
import { openLetters } from './letters/open-letters.ts'
import { answerLetters } from './letters/routes.ts'
import { openReplays } from './replay/open-replays.ts'
import type { StreamReplays } from './replay/replays.ts'
import { answerReplays } from './replay/routes.ts'
import { emptyScratch } from './scratch.ts'
import { openRollupTable, rollupNames } from './rollups/open-rollups.ts'
import { Rollups } from './rollups/rollups.ts'
import type { RollupStatus } from './rollups/status.ts'
import { StreamLoader } from './stream-loader.ts'
import { StreamTable } from './stream-table.ts'
import type { StreamTableDeps } from './stream-table-deps.ts'
import { SystemTables, systemTableNames } from './system-tables.ts'
import { TableRefs } from './table-refs.ts'
import { Upkeep } from './upkeep/upkeep.ts'

export type { Engine, EngineDeps } from './engine-deps.ts'

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
  #server: Server | undefined
  #unsubscribe: (() => void) | undefined
  #catchUp: CatchUp | undefined
  #upkeep: Upkeep | undefined
  #erasures: Erasures | undefined
  #letters: DeadLetters | undefined
  #replays: StreamReplays | undefined
  #running = false
  #rollupNames: ReadonlySet<string> = new Set()
  readonly #rollupTables = new Map<string, StreamTable>()
  readonly #rollups: Rollups

  constructor(deps: EngineDeps, database: Database) {
    this.#deps = { ...deps, snapshotsMax: deps.plan.lake.snapshots.max }
    this.#database = database
    this.#idMemory = new IdMemory(deps.plan.engine.idMemoryBytes)
    this.#declared = new Set(Object.keys(deps.plan.streams))
    this.#rollups = new Rollups({
      ...this.#deps,
      readers: this.#readers,
      tmpDir: join(deps.tmpDir, 'rollups'),
      tableOf: (name) => this.#tableOf(name),
      tables: () => this.#rollupTables.values(),
      openDatabase: deps.openDatabase ?? ((options) => Database.open(options)),
    })
    this.#completeness = new Completeness({
      sites: deps.sites,
      clock: deps.clock,
      streams: () => this.#reportedStreams(),
      made: () => this.#rollups.reported(),
    })
  }

  async openStreams(): Promise<void> {
    const { plan, catalog, logger, existingStreams = [] } = this.#deps
    await applyPlan(this.#deps, plan)
    this.#rollupNames = await rollupNames(plan, catalog)
    const names = new Set([
      ...Object.keys(plan.streams),
      ...(await catalog.tables()),
      ...existingStreams,
      ...this.#rollupNames,
    ])
    for (const name of names) {
      const open = this.#rollupNames.has(name) ? this.#openRollup(name) : this.#open(name)
      await open.catch((error: unknown) => {
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
    const loaders = [...this.#loaders.values()].filter(({ table }) => table.hasLog)
    const catchUp = await CatchUp.start({ loaders, log, timers, waitMsMax: plan.sql.catchUpMsMax })
    this.#catchUp = catchUp
    this.#unsubscribe = log.subscribe((stream) => this.#onGrowth(stream))
    const upkeep = await this.#openUpkeep()
    const erasures = await this.#openErasures()
    const keptSources = (): ReadonlySet<string> => completeness.recentSites()
    const tableOf = (name: string): StreamTable | undefined => this.#tableOf(name)
    const refs = new TableRefs({ ...this.#deps, database: this.#database, keptSources, tableOf })
    const backFills = new BackFills({ ...this.#deps, database: this.#database, readers: this.#readers, tableOf })
    const systemTables = new SystemTables({
      connection: await this.#database.connect(),
      log,
      tmpDir,
      lakeDir,
      declared: this.#declared,
      loaders: () => this.#loaders.values(),
      rollups: this.#rollups,
      completeness,
      maintenance: () => upkeep.rows(),
    })
    await systemTables.refresh(atStart)
    await this.#rollups.prepare()
    const views = new StreamViews({
      store,
      lakeDir,
      readers: this.#readers,
      stateOf: (stream, generation) => this.#tableOf(stream)?.stateAt(generation),
    })
    const runner = new QueryRunner({
      database: this.#database,
      views,
      random,
      tmpDir,
      ...plan.sql,
      context: () => ({
        streams: new Set([...this.#loaders.keys(), ...this.#rollupTables.keys()]),
        systemTables: systemTableNames,
      }),
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
    const parts = {
      ...this.#deps,
      database: this.#database,
      loaders: this.#loaders,
      views,
      ready: (signal: AbortSignal) => catchUp.ready(signal),
      keptSources,
      holdUpkeep: <T>(work: () => Promise<T>) => upkeep.hold(work),
    }
    const letters = await openLetters(parts)
    const replays = await openReplays(parts)
    this.#replays = replays
    this.#letters = letters
    // How far streams are complete is left out while the site registry cannot be read; the gateway says why.
    const reports = (): Promise<ReadonlyMap<string, StreamReport> | undefined> =>
      completeness.report().catch(() => undefined)
    const rollups = (): Promise<RollupStatus[]> => this.#rollups.status((names) => completeness.through(names))
    this.#server = await (this.#deps.serve ?? serve)({
      socket,
      runner,
      logger,
      status: async () => ({
        ...(await engineStatus(this.#loaders.values(), this.#declared, log, clock, await reports())),
        rollups: await rollups(),
      }),
      metrics: async () => engineMetrics(this.#loaders.values(), log, clock, await reports(), await rollups()),
      receipt: (text, signal) => receipts.find(text, signal),
      upkeep,
      change: async (request) =>
        (await answerLetters(letters, request)) ??
        (await answerReplays(replays, request)) ??
        (await answerBackFill(backFills, request)) ??
        answerChange({ erasures, refs }, request),
      readiness: () => ({ ready: this.#running, catchingUp: catchUp.isBehind }),
    })
    this.#rollups.start()
    upkeep.start()
    erasures?.start()
    letters?.start()
    replays?.start()
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
      made: this.#rollups,
      streamOf: (name) => erasableStream(this.#loaders.get(name)),
      lettersOf: (name) => erasableStream(this.#loaders.get(deadLettersOf(name))),
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
      tables: () => this.#tables(),
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
    // They hold upkeep back, which waits for them.
    await this.#replays?.stop()
    await this.#letters?.stop()
    await this.#erasures?.stop()
    await this.#upkeep?.stop()
    await this.#rollups.stop()
    for (const loader of this.#loaders.values()) if (loader.table.hasLog) await loader.stop()
    this.#server?.closeAllConnections()
    for (const table of this.#tables()) table.close()
    this.#database.close()
    await emptyScratch(this.#deps.tmpDir)
  }

  #tableOf(name: string): StreamTable | undefined {
    return this.#loaders.get(name)?.table ?? this.#rollupTables.get(name)
  }

  /** Those of streams, and of rollups. */
  #tables(): StreamTable[] {
    return [...[...this.#loaders.values()].map(({ table }) => table), ...this.#rollupTables.values()]
  }

  /** What SQL shows of each stream's sources, by name of the stream. */
  #reportedStreams(): ReportedStream[] {
    return [...this.#loaders.values()]
      .filter(({ table }) => table.hasLog && letteredStream(table.stream.name) === undefined)
      .map(({ table }) => ({ name: table.stream.name, sources: table.sources }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  async #refreshTables(): Promise<boolean> {
    const changed = await Promise.all(this.#tables().map((table) => table.refresh()))
    return changed.includes(true)
  }

  #onGrowth(stream: string): void {
    const loader = this.#loaders.get(stream)
    if (loader) {
      loader.wake()
      return
    }
    if (!logNamePattern.test(stream) || this.#rollupNames.has(stream)) return
    this.#open(stream).catch((error: unknown) => {
      this.#deps.logger.error({ stream, error: messageOf(error) }, 'stream cannot be opened')
    })
  }

  /** Opens a stream that is declared, has a table, or has just appeared in the log. */
  #open(name: string): Promise<void> {
    return this.#opening.run(async () => {
      if (this.#loaders.has(name)) return
      const loader = await this.#openStream(await this.#planOf(name))
      if (this.#running && loader.table.hasLog) loader.start()
    })
  }

  async #planOf(name: string): Promise<StreamPlan> {
    const { plan, catalog } = this.#deps
    const declared = (stream: string): StreamPlan | undefined =>
      Object.hasOwn(plan.streams, stream) ? plan.streams[stream] : undefined
    const lettered = letteredStream(name)
    if (lettered !== undefined) return deadLetterStream(lettered, declared(lettered)?.retainMs)
    return declared(name) ?? planWithoutConfig(name, await catalog.load(name))
  }

  async #openRollup(name: string): Promise<void> {
    this.#rollupTables.set(name, await openRollupTable(name, this.#deps.plan.rollups[name], this.#tableDeps(name)))
  }

  #tableDeps(name: string): Omit<StreamTableDeps, 'hasLog' | 'onDeadLetters' | 'onOvertaken'> {
    return {
      ...this.#deps,
      idDir: join(this.#deps.cacheDir, 'ids'),
      idMemory: this.#idMemory,
      database: this.#database,
      readers: this.#readers,
      keptSources: () => this.#completeness.recentSites(),
      onShown: () => this.#rollups.onShown(name),
    }
  }

  async #openStream(stream: StreamPlan): Promise<StreamLoader> {
    const { plan, log, clock, timers, store, logger } = this.#deps
    const isLetters = letteredStream(stream.name) !== undefined
    const tableDeps: StreamTableDeps = {
      ...this.#tableDeps(stream.name),
      onDeadLetters: async (letters) => {
        if (isLetters) throw new Error(`A dead letter cannot be loaded: ${letters[0]?.message}`)
        await this.#addDeadLetters(letters)
      },
      hasLog: stream.name !== formerDeadLetters,
      onOvertaken: () => this.#loaders.get(stream.name)?.wake(),
    }
    const table = await StreamTable.open(stream, tableDeps)
    const { heldBy = async () => undefined } = this.#deps
    const loader = new StreamLoader(table, { plan, log, clock, timers, logger, turns: this.#turns, store, heldBy })
    this.#loaders.set(stream.name, loader)
    return loader
  }

  async #addDeadLetters(letters: readonly DeadLetter[]): Promise<void> {
    const { log, logger } = this.#deps
    await appendDeadLetters(log, letters)
    const { stream, message } = letters[0]!
    logger.warn({ stream, count: letters.length, reason: message }, 'events went to the dead letters')
  }
}

function erasableStream(loader: StreamLoader | undefined): ErasableStream | undefined {
  return loader && { kept: loader.table, trimUpTo: (position, signal) => loader.trimUpTo(position, signal) }
}
