/**
 * The engine: follows every stream's log into its table and answers SQL over both.
 *
 * One event's way: stream-loader.ts (when) -> stream-table.ts (what) -> dedup/ (not twice) -> hot-tail.ts (visible)
 * -> data-files.ts and lake/commit.ts (committed); a query's: http.ts -> query/gate.ts -> query/run.ts.
 */
import { rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { streamNamePattern, undeclaredStream, type Plan, type StreamPlan } from '../config/plan.ts'
import type { Catalog } from '../lake/catalog.ts'
import type { Log } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import type { ErrorCode } from '../runtime/error-codes.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import { Mutex } from '../runtime/mutex.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { deadLetterLines, deadLetterStream, type DeadLetter } from './dead-letters.ts'
import { Database } from './duckdb.ts'
import { engineMetrics } from './engine-metrics.ts'
import { engineStatus } from './engine-status.ts'
import { serve } from './http.ts'
import { QueryRunner } from './query/run.ts'
import { StreamLoader } from './stream-loader.ts'
import { StreamTable, type StreamTableDeps } from './stream-table.ts'
import { SystemTables, systemTableNames } from './system-tables.ts'

export interface EngineDeps {
  plan: Plan
  log: Log
  catalog: Catalog
  store: ObjectStore
  /** Folder of the log, where it is one of files. */
  logDir: string
  /** Folder of the tables: what the store's keys are relative to. */
  lakeDir: string
  /** Scratch; emptied at the start. */
  tmpDir: string
  /** Path of the unix socket to listen on. */
  socket: string
  fileSystem: FileSystem
  clock: Clock
  random: Random
  logger: Logger
  version: string
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
  await rm(tmpDir, { recursive: true, force: true })
  await fileSystem.makeDir(tmpDir)
  await fileSystem.makeDir(lakeDir)
  const database = await Database.open({ ...plan.engine, tmpDir, lakeDir, logDir })
  const engine = new StreamEngine(deps, database)
  await engine.openStreams()
  return engine
}

const unreadableCodes: ReadonlySet<ErrorCode> = new Set(['corrupt_table', 'unsupported_table'])

class StreamEngine implements Engine {
  readonly #deps: EngineDeps
  readonly #database: Database
  readonly #loaders = new Map<string, StreamLoader>()
  readonly #opening = new Mutex()
  readonly #turns = new Mutex()
  readonly #declared: ReadonlySet<string>
  #deadLetters: StreamLoader | undefined
  #server: Server | undefined
  #unsubscribe: (() => void) | undefined
  #running = false

  constructor(deps: EngineDeps, database: Database) {
    this.#deps = deps
    this.#database = database
    this.#declared = new Set(Object.keys(deps.plan.streams))
  }

  async openStreams(): Promise<void> {
    const { plan, catalog, logger } = this.#deps
    this.#deadLetters = await this.#openStream(deadLetterStream)
    const names = new Set([...Object.keys(plan.streams), ...(await catalog.tables())])
    for (const name of names) {
      await this.#open(name).catch((error: unknown) => {
        // A table that is damaged, or that another engine made unreadable, must not keep the others away.
        if (!(error instanceof FreshetError && unreadableCodes.has(error.code))) throw error
        logger.error({ stream: name, error: error.message, hint: error.hint }, 'stream cannot be opened')
      })
    }
  }

  async start(): Promise<void> {
    const { log, plan, random, tmpDir, lakeDir, socket, logger, clock } = this.#deps
    this.#running = true
    for (const loader of this.#loaders.values()) if (loader !== this.#deadLetters) loader.start()
    this.#unsubscribe = log.subscribe((stream) => this.#onGrowth(stream))
    const systemTables = new SystemTables({
      connection: await this.#database.connect(),
      log,
      tmpDir,
      lakeDir,
      declared: this.#declared,
      loaders: () => this.#loaders.values(),
    })
    await systemTables.refresh(systemTableNames)
    const runner = new QueryRunner({
      database: this.#database,
      random,
      tmpDir,
      ...plan.sql,
      context: () => ({ streams: new Set(this.#loaders.keys()), systemTables: systemTableNames }),
      refreshSystemTables: (names) => systemTables.refresh(names),
    })
    this.#server = await serve({
      socket,
      runner,
      logger,
      status: () => engineStatus(this.#loaders.values(), this.#declared, log, clock),
      metrics: () => engineMetrics(this.#loaders.values(), log, clock),
      ready: () => this.#running,
    })
  }

  async stop(): Promise<void> {
    this.#running = false
    this.#unsubscribe?.()
    this.#server?.close()
    this.#server?.closeIdleConnections()
    for (const loader of this.#loaders.values()) if (loader !== this.#deadLetters) await loader.stop()
    // What could not be committed is loaded again from the log.
    await this.#deadLetters?.table.flush().catch((error: unknown) => {
      this.#deps.logger.error({ stream: deadLetterStream.name, error: messageOf(error) }, 'commit failed')
    })
    this.#server?.closeAllConnections()
    for (const { table } of this.#loaders.values()) table.close()
    this.#database.close()
    await rm(this.#deps.tmpDir, { recursive: true, force: true })
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
      const { streams } = this.#deps.plan
      const plan = Object.hasOwn(streams, name) ? streams[name]! : undeclaredStream(name)
      const loader = await this.#openStream(plan)
      if (this.#running) loader.start()
    })
  }

  async #openStream(stream: StreamPlan): Promise<StreamLoader> {
    const { plan, log, clock, logger } = this.#deps
    const own = stream === deadLetterStream
    const tableDeps: StreamTableDeps = {
      ...this.#deps,
      database: this.#database,
      onDeadLetters: async (letters) => {
        if (own) throw new Error(`A dead letter cannot be loaded: ${letters[0]?.reason}`)
        await this.#addDeadLetters(letters)
      },
      flushDeadLetters: async () => own || this.#deadLetters?.table.flush(),
    }
    const table = await StreamTable.open(stream, tableDeps)
    const loader = new StreamLoader(table, { plan, log, clock, logger, turns: this.#turns })
    this.#loaders.set(stream.name, loader)
    return loader
  }

  async #addDeadLetters(letters: readonly DeadLetter[]): Promise<void> {
    const { clock, logger } = this.#deps
    const loader = this.#deadLetters!
    const bytes = deadLetterLines(letters)
    const from = loader.table.position
    const next = from + BigInt(bytes.length)
    const stats = await loader.table.load({ bytes, count: letters.length, next, receivedAtMs: clock.nowMs() }, from)
    loader.stats.note(clock.nowMs(), clock.nowMs(), stats)
    const { stream, reason } = letters[0]!
    logger.warn({ stream, count: letters.length, reason }, 'events went to dead_letters')
  }
}
