/** An engine on a simulated machine: everything of it but its socket, on a real DuckDB. */
import { PassThrough } from 'node:stream'
import { createServer } from 'node:http'
import type { DuckDBConnection } from '@duckdb/node-api'
import { logSearch } from '../../../src/app/log-search.ts'
import type { Plan } from '../../../src/config/plan.ts'
import type { StreamStatus } from '../../../src/engine/engine-status.ts'
import { openEngine } from '../../../src/engine/engine.ts'
import type { EngineHttpOptions } from '../../../src/engine/http.ts'
import { sqlError } from '../../../src/engine/query/sql-error.ts'
import { FileCatalog } from '../../../src/lake/file-catalog/file-catalog.ts'
import { openFileLog, type FileLog } from '../../../src/log/file/file-log.ts'
import type { Log } from '../../../src/log/log.ts'
import type { Logger } from '../../../src/runtime/logging.ts'
import { ConsumerRecords } from '../../../src/streams/consumer-records.ts'
import { consumersOf } from '../../../src/streams/plan-consumers.ts'
import { LocalObjectStore } from '../../../src/storage/local/local-object-store.ts'
import { noSites, refusedAs, throughDoor, type GatewayHost } from './gateway-host.ts'
import { consumersDir, erasuresDir, lakeDir, logDir, letterReplaysDir, type MachineProcess } from './machine.ts'
import type { LedgerLine, StreamModel } from './model.ts'
import { adoptScratch } from './native-files.ts'
import type { Plant } from './plant.ts'
import { openDatabase } from './simulated-database.ts'

export interface EngineOptions {
  plan: Plan
  logger: Logger
  plant: Plant
  models: ReadonlyMap<string, StreamModel>
  /** Real folder of what it remembers between its starts. */
  cacheDir: string
  /** Where the tables are as it starts. */
  positions: ReadonlyMap<string, number>
  /** The gateway that runs now. */
  gateway: () => GatewayHost | undefined
  /** What the lake's catalog may do besides: lose answers. */
  wrapCatalog: (catalog: FileCatalog) => FileCatalog
}

export class EngineHost {
  readonly process: MachineProcess
  /** Where the tables were when it started. */
  readonly positions: ReadonlyMap<string, number>
  readonly #http: EngineHttpOptions
  readonly #oracle: DuckDBConnection

  static async start(process: MachineProcess, options: EngineOptions): Promise<EngineHost> {
    const { plan, logger, plant } = options
    const { clock, timers, machine } = process
    const { random } = machine.world
    adoptScratch(process)
    const fileSystem = plant.engineFiles?.(process) ?? process
    const store = new LocalObjectStore({ root: lakeDir, fileSystem, random })
    const catalog = options.wrapCatalog(new FileCatalog({ store, rootLocation: `file://${lakeDir}`, logger }))
    const reader = await openFileLog({
      dir: logDir,
      mode: 'read',
      segmentBytes: plan.log.segmentBytes,
      diskFreeBytesMin: 0,
      fileSystem,
      clock,
      timers,
      logger,
    })
    const atDoor = <T>(work: (log: FileLog) => Promise<T>): Promise<T> => throughDoor(process, options.gateway(), work)
    const records = new ConsumerRecords(consumersDir, fileSystem)
    const consumers = consumersOf(plan)
    const log: Log = {
      append: (stream, batch) => atDoor((written) => written.append(stream, batch)),
      read: (...place) => reader.read(...place),
      ends: (stream) => reader.ends(stream),
      trim: (...request) => reader.trim(...request),
      subscribe: (onGrowth) => reader.subscribe(onGrowth),
    }
    const observed = observing(log, options.models)
    let http: EngineHttpOptions | undefined
    let oracle: DuckDBConnection | undefined
    const engine = await openEngine({
      plan,
      log: plant.engineLog?.(observed) ?? observed,
      rollLog: (stream) => atDoor((written) => written.roll(stream)),
      catalog: plant.catalog?.(catalog) ?? catalog,
      store,
      logDir,
      lakeDir: machine.mirrorDir,
      tmpDir: process.tmpDir,
      cacheDir: options.cacheDir,
      socket: '/data/run/engine.sock',
      fileSystem,
      clock,
      timers,
      random,
      logger,
      version: '0.0.0',
      sites: noSites,
      letterReplays: { dir: letterReplaysDir },
      ...(plant.holdsNothing !== true && {
        heldBy: (stream) => records.floor(stream, consumers.get(stream) ?? []),
      }),
      erasures: { dir: erasuresDir, searchLog: logSearch(logDir, fileSystem) },
      merge: { smallManifestsMax: 3, targetBytes: 8 << 20, filesMax: 2000 },
      existingStreams: await reader.streams(),
      openDatabase: async (settings) => {
        const opened = await openDatabase(process, settings, plant.statement ?? ((sql) => sql))
        // The first one is the engine's own.
        oracle ??= opened.oracle
        return opened.database
      },
      serve: async (served) => {
        http = served
        return createServer()
      },
    })
    await engine.start()
    return new EngineHost(process, options.positions, http!, oracle!)
  }

  private constructor(
    process: MachineProcess,
    positions: ReadonlyMap<string, number>,
    http: EngineHttpOptions,
    oracle: DuckDBConnection,
  ) {
    this.process = process
    this.positions = positions
    this.#http = http
    this.#oracle = oracle
  }

  /** Up to where it says that a stream is visible; undefined when it cannot tell now. */
  async loaded(stream: string): Promise<number | undefined> {
    try {
      const { streams } = (await this.#http.status()) as { streams: StreamStatus[] }
      return Number(streams.find(({ name }) => name === stream)?.loaded ?? 0)
    } catch {
      return undefined
    }
  }

  /** The serial numbers of a stream's rows, by one statement that nothing comes between. */
  glance(stream: string, where = 'true'): Promise<number[]> {
    const { world } = this.process.machine
    return world.native(this.process, `glance ${stream}`, async () => {
      try {
        await this.#oracle.run('BEGIN TRANSACTION READ ONLY')
        await this.#http.runner.views.openWhole(this.#oracle, stream)
        const result = await this.#oracle.runAndReadAll(`SELECT n FROM "${stream}" WHERE ${where}`)
        return result.getRows().map(([n]) => Number(n))
      } catch (error) {
        // A stream without columns of its own has no rows yet.
        if (/"(n|who)" not found/.test(String(error))) return []
        throw sqlError(error, '')
      } finally {
        await this.#oracle.run('ROLLBACK').catch(() => undefined)
      }
    })
  }

  /** Asks for an erasure; undefined when it is refused, or the process ends. */
  async erase(stream: string, request: object): Promise<{ id: string } | undefined> {
    const body = Buffer.from(JSON.stringify(request))
    const path = ['streams', stream, 'erasures']
    const answer = refusedAs(this.#http.change({ method: 'POST', path, body: async () => body }))
    const made = await Promise.race([answer, this.process.whenEnded])
    return made ? (made.value as { id: string }) : undefined
  }

  /** The same by the way that clients' queries take. */
  async query(stream: string): Promise<number[]> {
    try {
      const rows = await this.#ask(`SELECT n FROM ${stream}`)
      return rows.map(({ n }) => Number(n))
    } catch (error) {
      if (String(error).includes('"n" not found')) return []
      throw error
    }
  }

  /** The ledger of a stream; undefined when it cannot be told now: it takes a look at the log. */
  async ledger(stream: string): Promise<LedgerLine[] | undefined> {
    const sums = ['accepted', 'committed', 'deduplicated', 'dead_lettered', 'in_flight', 'removed'].map(
      (name) => `sum(${name}) AS ${name}`,
    )
    const sql = `SELECT source, ${sums.join(', ')} FROM freshet.ledger WHERE stream = '${stream}' GROUP BY source`
    const rows = await this.#ask(sql).catch(() => undefined)
    return rows?.map(({ source, ...counts }) => ({
      source: (source as string | null) ?? undefined,
      accepted: Number(counts['accepted']),
      committed: Number(counts['committed']),
      deduplicated: Number(counts['deduplicated']),
      deadLettered: Number(counts['dead_lettered']),
      inFlight: Number(counts['in_flight']),
      removed: Number(counts['removed']),
    }))
  }

  async #ask(sql: string): Promise<Record<string, unknown>[]> {
    const out = new PassThrough({ highWaterMark: 1 << 24 })
    const request = { sql, parameters: {}, format: 'json' as const, signal: new AbortController().signal }
    await this.#http.runner.run(request, { begin: () => out })
    const answer = JSON.parse(Buffer.concat(await out.toArray()).toString()) as {
      rows: Record<string, unknown>[]
      error?: unknown
    }
    if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error))
    return answer.rows
  }
}

/** Tells the models what readers are given. No file is named, for the log's are not real ones. */
function observing(log: Log, models: ReadonlyMap<string, StreamModel>): Log {
  return {
    append: (stream, batch) => log.append(stream, batch),
    ends: (stream) => log.ends(stream),
    trim: (stream, below) => log.trim(stream, below),
    subscribe: (onGrowth) => log.subscribe(onGrowth),
    read: async (stream, partition, from, maxBytes) => {
      const { file: _, ...chunk } = await log.read(stream, partition, from, maxBytes)
      models.get(stream)?.observe(Number(from), chunk)
      return chunk
    },
  }
}
