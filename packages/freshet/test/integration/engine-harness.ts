/** A log and engines in one process, on a temporary folder: what the engine's integration tests run on. */
import { mkdtemp, rename, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { logSearch } from '../../src/app/log-search.ts'
import type { Column, Plan, RollupPlan, StreamPlan } from '../../src/config/plan.ts'
import { openEngine, type Engine } from '../../src/engine/engine.ts'
import type { StreamStatus } from '../../src/engine/engine-status.ts'
import { deadLettersOf } from '../../src/events/dead-letter.ts'
import type { ReplayAtConsumer } from '../../src/engine/letters/replay.ts'
import type { TransformRunner } from '../../src/engine/replay/transform-runner.ts'
import type { Catalog } from '../../src/lake/catalog.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { openFileLog, type FileLog } from '../../src/log/file/file-log.ts'
import type { AppendBatch, Appended, Log } from '../../src/log/log.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { systemTimers } from '../../src/runtime/timers.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import { SiteList } from './site-list.ts'

/** One event as the gateway would store it. `raw` replaces `fields` where the exact JSON text matters. */
export interface LabEvent {
  id: string
  /** Stored form; arrival time if left out. */
  time?: string
  fields?: Record<string, unknown>
  raw?: string
}

export interface LabOptions {
  /** Size of a log segment, and so of the largest chunk that is read at once. */
  segmentBytes?: number
  streams?: Record<string, StreamPlan>
  rollups?: Record<string, RollupPlan>
  plan?: {
    lake?: Partial<Plan['lake']>
    sql?: Partial<Plan['sql']>
    engine?: Partial<Plan['engine']>
    upkeep?: Partial<Plan['upkeep']>
  }
}

export interface EngineOptions {
  wrapStore?: (store: ObjectStore) => ObjectStore
  wrapCatalog?: (catalog: Catalog) => Catalog
  wrapLog?: (log: Log) => Log
  streams?: Record<string, StreamPlan>
  rollups?: Record<string, RollupPlan>
  /** Changes of tables that are made although they would be refused. */
  accept?: string[]
  /** Answers for consumers whose letters are replayed. */
  atConsumer?: ReplayAtConsumer
  /** Runs the transforms of streams that are replayed. */
  transforms?: TransformRunner
}

export interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Buffer
  text: string
}

export type Row = Record<string, unknown>

/** Far longer than anything here takes; a condition that is not met by then never will be. */
const patienceMs = 60_000

export function streamPlan(name: string, options: Partial<StreamPlan> = {}): StreamPlan {
  return {
    name,
    schema: options.columns ? {} : null,
    columns: null,
    open: options.columns == null,
    id: 'id',
    time: { field: 'at', unit: 'iso' },
    partition: { by: 'event_time', unit: 'day' },
    ...options,
  }
}

export const tradeColumns: Column[] = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'at', type: { kind: 'timestamptz' } },
  { name: 'price', type: { kind: 'double' } },
  { name: 'size', type: { kind: 'long' } },
]

/** A declared stream `trades` with id and time. */
export const trades = streamPlan('trades', { columns: tradeColumns })

/** `count` trades on one day, one second apart. */
export function tradeEvents(count: number, options: { prefix?: string; day?: string; from?: number } = {}): LabEvent[] {
  const { prefix = 't', day = '2013-10-07', from = 0 } = options
  return Array.from({ length: count }, (_, index) => trade(`${prefix}${from + index}`, timeOn(day, from + index)))
}

export function trade(id: string, time: string, fields: Record<string, unknown> = {}): LabEvent {
  return { id, time, fields: { id, at: time, price: 1.5, size: 1, ...fields } }
}

function timeOn(day: string, second: number): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) + (second % 86_400) * 1000).toISOString()
}

/** The stored line of an event that arrived then. */
function lineOf(event: LabEvent, receivedAtMs: number): string {
  const now = new Date(receivedAtMs).toISOString()
  const body = event.raw ?? JSON.stringify(event.fields ?? {})
  const rest = body.slice(body.indexOf('{') + 1).trimStart()
  const head = `{"_event_id":${JSON.stringify(event.id)},"_event_time":"${event.time ?? now}","_received_at":"${now}"`
  return `${head}${rest.startsWith('}') ? '' : ','}${rest}\n`
}

export class Lab {
  dir: string
  readonly streams: Record<string, StreamPlan>
  /** The registered sites; a test replaces the list. */
  readonly sites = new SiteList()
  readonly #options: LabOptions
  readonly #running = new Set<LabEngine>()
  #log: FileLog | undefined
  #engines = 0

  static async open(options: LabOptions = {}): Promise<Lab> {
    const lab = new Lab(await mkdtemp(join(tmpdir(), 'freshet-engine-')), options)
    await lab.openLog()
    return lab
  }

  private constructor(dir: string, options: LabOptions) {
    this.dir = dir
    this.#options = options
    this.streams = options.streams ?? { trades }
  }

  get log(): FileLog {
    return this.#log!
  }

  get logDir(): string {
    return join(this.dir, 'log')
  }

  get lakeDir(): string {
    return join(this.dir, 'lake')
  }

  async openLog(): Promise<void> {
    this.#log = await this.#fileLog('write')
  }

  async closeLog(): Promise<void> {
    await this.#log?.close()
    this.#log = undefined
  }

  plan(streams = this.streams): Plan {
    const { plan } = this.#options
    return {
      dataDir: this.dir,
      mode: 'dev',
      http: { host: '127.0.0.1', port: 0, requestTimeoutMs: 10_000 },
      limits: {
        bodyBytesMax: 16 << 20,
        eventBytesMax: 1 << 20,
        nestingMax: 32,
        batchEventsMax: 100_000,
        diskFreeBytesMin: 0,
      },
      log: { segmentBytes: this.#options.segmentBytes ?? 1 << 20 },
      lake: {
        flushIntervalMs: 3_600_000,
        flushRows: 10_000_000,
        snapshots: { keepMs: 86_400_000, min: 10, max: 200 },
        ...plan?.lake,
      },
      sql: { timeoutMs: 60_000, rowsMax: 1_000_000, concurrency: 4, catchUpMsMax: 3000, ...plan?.sql },
      engine: { memoryBytes: 512 << 20, idMemoryBytes: 64 << 20, spillBytesMax: 1 << 30, threads: 2, ...plan?.engine },
      // Tests that are about upkeep ask for it.
      upkeep: {
        enabled: false,
        intervalMs: 60_000,
        targetFileBytes: 128 << 20,
        memoryBytes: 768 << 20,
        orphanAgeMs: 86_400_000,
        ...plan?.upkeep,
      },
      streams,
      rollups: this.#options.rollups ?? {},
      sinks: {},
      buckets: {},
      configFile: null,
    }
  }

  async start(options: EngineOptions = {}): Promise<LabEngine> {
    const number = ++this.#engines
    const reader = await this.#fileLog('read')
    const local = new LocalObjectStore({ root: this.lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
    const store = options.wrapStore?.(local) ?? local
    const files = new FileCatalog({ store, rootLocation: `file://${this.lakeDir}`, logger: silentLogger })
    const socket = join(this.dir, `${number}.sock`)
    const engine = await openEngine({
      plan: {
        ...this.plan(options.streams),
        ...(options.rollups && { rollups: options.rollups }),
        ...(options.accept && { accept: options.accept }),
      },
      log: options.wrapLog?.(reader) ?? reader,
      rollLog: (stream) => this.log.roll(stream),
      catalog: options.wrapCatalog?.(files) ?? files,
      store,
      existingStreams: await reader.streams(),
      logDir: join(this.dir, 'log'),
      lakeDir: this.lakeDir,
      tmpDir: join(this.dir, `tmp-${number}`),
      cacheDir: join(this.dir, 'cache'),
      erasures: { dir: join(this.dir, 'erasures'), searchLog: logSearch(this.logDir) },
      letterReplays: { dir: join(this.dir, 'letters'), ...(options.atConsumer && { atConsumer: options.atConsumer }) },
      ...(options.transforms && {
        replays: { dir: join(this.dir, 'replays'), transforms: options.transforms },
      }),
      socket,
      fileSystem: nodeFileSystem,
      sites: this.sites,
      clock: systemClock,
      timers: systemTimers,
      random: systemRandom,
      logger: silentLogger,
      version: '0.0.0',
    })
    await engine.start()
    const running = new LabEngine(engine, reader, socket, this.log)
    this.#running.add(running)
    return running
  }

  /** Appends events to a stream's log as one batch. */
  async post(stream: string, events: readonly LabEvent[], marks: Partial<AppendBatch> = {}): Promise<Appended> {
    const receivedAtMs = marks.receivedAtMs ?? Date.now()
    const lines = [Buffer.from(events.map((event) => lineOf(event, receivedAtMs)).join(''))]
    return this.log.append(stream, { lines, count: events.length, ...marks, receivedAtMs })
  }

  /** Moves the whole folder; nothing may run. */
  async moveTo(dir: string): Promise<void> {
    await rename(this.dir, dir)
    this.dir = dir
  }

  async close(): Promise<void> {
    for (const engine of this.#running) await engine.stop()
    await this.closeLog()
    await rm(this.dir, { recursive: true, force: true })
  }

  #fileLog(mode: 'write' | 'read'): Promise<FileLog> {
    return openFileLog({
      dir: this.logDir,
      mode,
      segmentBytes: this.#options.segmentBytes ?? 1 << 20,
      diskFreeBytesMin: 0,
      // Who appends is the gateway.
      ...(mode === 'read' && { appender: { append: (stream, batch) => this.log.append(stream, batch) } }),
      fileSystem: nodeFileSystem,
      clock: systemClock,
      timers: systemTimers,
      logger: silentLogger,
    })
  }
}

export class LabEngine {
  readonly socket: string
  readonly #engine: Engine
  readonly #reader: FileLog
  readonly #log: FileLog
  #over = false

  constructor(engine: Engine, reader: FileLog, socket: string, log: FileLog) {
    this.#engine = engine
    this.#reader = reader
    this.socket = socket
    this.#log = log
  }

  async stop(): Promise<void> {
    if (this.#over) return
    this.#over = true
    await this.#engine.stop()
    await this.#reader.close()
  }

  /** Forgets the engine: it has been frozen (`Freezer`), as a killed one would be. */
  async abandon(): Promise<void> {
    this.#over = true
    await this.#reader.close()
  }

  /** A query's rows. @throws when it is refused */
  async sql(sql: string, params: Record<string, unknown> = {}): Promise<Row[]> {
    const answer = await this.query({ sql, params })
    const body = JSON.parse(answer.text) as { rows?: Row[]; error?: unknown }
    if (answer.status !== 200 || body.rows === undefined || body.error !== undefined)
      throw new Error(`${sql}: ${answer.text.slice(0, 2000)}`)
    return body.rows
  }

  /** The first row's first value. */
  async value(sql: string, params: Record<string, unknown> = {}): Promise<unknown> {
    const [row] = await this.sql(sql, params)
    return Object.values(row ?? {})[0]
  }

  query(body: { sql: string; params?: unknown; format?: unknown }, signal?: AbortSignal): Promise<Answer> {
    return this.send('POST', '/v1/sql', { 'content-type': 'application/json' }, JSON.stringify(body), signal)
  }

  send(
    method: string,
    path: string,
    headers: Record<string, string> = {},
    body = '',
    signal?: AbortSignal,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { socketPath: this.socket, path, method, headers, agent: false, ...(signal && { signal }) },
        (response) => {
          const pieces: Buffer[] = []
          response.on('data', (piece: Buffer) => pieces.push(piece))
          response.on('error', reject)
          response.on('end', () => {
            const received = Buffer.concat(pieces)
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: received,
              text: received.toString('utf8'),
            })
          })
        },
      )
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }

  async status(stream: string): Promise<StreamStatus> {
    const { text } = await this.send('GET', '/v1/status')
    const found = (JSON.parse(text) as { streams: StreamStatus[] }).streams.find(({ name }) => name === stream)
    if (found === undefined) throw new Error(`no stream ${stream} in ${text}`)
    return found
  }

  /** The dead letters of a stream, all those of what is in its log, too. */
  async letters(stream: string, list = '*', rest = ''): Promise<Row[]> {
    const name = deadLettersOf(stream)
    await this.caughtUp(stream)
    if (!(await this.#log.ends(name)).has(0)) return []
    await this.caughtUp(name)
    return this.sql(`select ${list} from ${name} ${rest}`)
  }

  /** Waits until all that is in the stream's log is visible. */
  caughtUp(stream: string): Promise<void> {
    return this.#reached(stream, 'loaded')
  }

  /** Waits until all that is in the stream's log is committed. */
  committed(stream: string): Promise<void> {
    return this.#reached(stream, 'checkpoint')
  }

  async #reached(stream: string, mark: 'loaded' | 'checkpoint'): Promise<void> {
    const end = (await this.#log.ends(stream)).get(0) ?? 0n
    await until(`${stream}: ${mark} reaches ${end}`, async () => {
      const status = await this.status(stream).catch(() => undefined)
      return status !== undefined && BigInt(status[mark]) >= end
    })
  }
}

/** Waits until a condition holds. */
export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patienceMs
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Waited in vain: ${what}`)
    await delay(5)
  }
}
