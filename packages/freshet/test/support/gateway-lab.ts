/** What the gateway's tests share: a log in memory that can be made to wait or fail, a plan, and a started gateway. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Plan, StreamPlan } from '../../src/config/plan.ts'
import { createGateway, type Gateway, type GatewayOptions } from '../../src/gateway/gateway.ts'
import type { AppendBatch, Appended, BatchPlace, Chunk, Log, Positions } from '../../src/log/log.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { FreshetError } from '../../src/runtime/errors.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { openSiteRegistry } from '../../src/sites/sqlite/sqlite-site-registry.ts'

interface StoredBatch {
  stream: string
  /** The stored lines, without line ends. */
  lines: string[]
  batch: AppendBatch
}

class MemoryLog implements Log {
  readonly batches: StoredBatch[] = []
  /** Appends wait for this. */
  gate: Promise<void> = Promise.resolve()
  /** Appends fail with this. */
  failure: Error | undefined
  /** Appends that have begun. */
  begun = 0
  /** Nothing before it can be read. */
  trimmedBelow = 0n
  readonly #seen = new Map<string, BatchPlace>()

  async append(stream: string, batch: AppendBatch): Promise<Appended> {
    this.begun++
    // Copied at once: the gateway may use the memory again as soon as this resolves.
    const text = Buffer.concat(batch.lines).toString('utf8')
    await this.gate
    if (this.failure) throw this.failure
    const mark = batch.producer
      ? `p ${batch.producer.id} ${batch.producer.sequence}`
      : batch.idempotency && `k ${batch.idempotency.key}`
    const position = BigInt(this.batches.length + 1)
    const seen = mark === undefined ? undefined : this.#seen.get(mark)
    if (seen) return { from: position, position, duplicate: true, place: seen }
    const { count, receivedAtMs } = batch
    const from = position - 1n
    const place: BatchPlace = { partition: 0, from, to: position, count, receivedAtMs, sameArrivalFrom: from }
    if (mark !== undefined) this.#seen.set(mark, place)
    const lines = text.split('\n')
    if (lines.pop() !== '') throw new Error('the last line does not end')
    if (lines.length !== batch.count) throw new Error(`${batch.count} lines announced, ${lines.length} found`)
    this.batches.push({ stream, lines, batch })
    return { from, position, duplicate: false, place }
  }

  /** Everything stored, parsed. */
  events(): Record<string, unknown>[] {
    return this.lines().map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  lines(): string[] {
    return this.batches.flatMap(({ lines }) => lines)
  }

  read(stream: string, _partition: number, from: bigint): Promise<Chunk> {
    const stored = this.batches[Number(from)]
    if (from < this.trimmedBelow) return Promise.reject(new FreshetError('log_trimmed', `Nothing is left at ${from}.`))
    if (stored?.stream !== stream) return Promise.reject(new FreshetError('corrupt_log', `No batch begins at ${from}.`))
    const { count, receivedAtMs } = stored.batch
    const bytes = Buffer.from(stored.lines.map((line) => `${line}\n`).join(''))
    const batches = [{ count, receivedAtMs, source: undefined, eventTimeMaxMs: undefined }]
    return Promise.resolve({ bytes, next: from + 1n, count, batches, receivedAtMs })
  }

  ends(stream: string): Promise<Positions> {
    const end = this.batches.findLastIndex((stored) => stored.stream === stream) + 1
    return Promise.resolve(new Map([[0, BigInt(end)]]))
  }

  trim(): Promise<void> {
    return Promise.resolve()
  }

  subscribe(): () => void {
    return () => {}
  }
}

export const tradesPlan: StreamPlan = {
  name: 'trades',
  schema: {
    type: 'object',
    properties: {
      id: { type: 'string' },
      at: { type: 'string', format: 'date-time' },
      symbol: { type: 'string' },
      price: { type: 'number' },
      tags: { type: 'array', items: { type: 'string' } },
    },
    required: ['id', 'at', 'price'],
    additionalProperties: false,
  },
  columns: null,
  open: false,
  id: 'id',
  time: { field: 'at', unit: 'iso' },
  partition: { by: 'event_time', unit: 'day' },
}

/** A stream without schema, id or time. */
export const plainPlan: StreamPlan = { ...tradesPlan, name: 'plain', schema: null, open: true, id: null, time: null }

export interface PlanChanges {
  mode?: Plan['mode']
  http?: Partial<Plan['http']>
  limits?: Partial<Plan['limits']>
  streams?: StreamPlan[]
}

export function testPlan(dataDir: string, changes: PlanChanges = {}): Plan {
  const streams = changes.streams ?? [tradesPlan, plainPlan]
  return {
    dataDir,
    mode: changes.mode ?? 'start',
    http: { host: '127.0.0.1', port: 0, requestTimeoutMs: 30_000, ...changes.http },
    limits: {
      bodyBytesMax: 1024 * 1024,
      eventBytesMax: 64 * 1024,
      nestingMax: 8,
      batchEventsMax: 1000,
      diskFreeBytesMin: 1,
      ...changes.limits,
    },
    log: { segmentBytes: 1024 * 1024 },
    lake: { flushIntervalMs: 1000, flushRows: 1000, snapshots: { keepMs: 86_400_000, min: 10, max: 200 } },
    sql: { timeoutMs: 5000, rowsMax: 1000, concurrency: 2, catchUpMsMax: 3000 },
    engine: { memoryBytes: 1e9, idMemoryBytes: 1e8, spillBytesMax: 1e9, threads: 1 },
    upkeep: {
      enabled: false,
      intervalMs: 60_000,
      targetFileBytes: 1e8,
      memoryBytes: 1e8,
      orphanAgeMs: 86_400_000,
    },
    streams: Object.fromEntries(streams.map((stream) => [stream.name, stream])),
    rollups: {},
    sinks: {},
    buckets: {},
    configFile: null,
  }
}

export interface GatewayLab {
  gateway: Gateway
  log: MemoryLog
  url: string
  port: number
  /** A scratch folder; the engine's socket is expected there. */
  dir: string
  engineSocket: string
  post(body: string | Uint8Array<ArrayBuffer>, options?: PostOptions): Promise<Answer>
  close(): Promise<void>
}

export interface PostOptions {
  stream?: string
  type?: string
  headers?: Record<string, string>
  query?: string
}

export interface Answer {
  status: number
  headers: Headers
  body: Record<string, unknown>
}

export async function startLab(changes: PlanChanges = {}, options: Partial<GatewayOptions> = {}): Promise<GatewayLab> {
  const dir = mkdtempSync(join(tmpdir(), 'freshet-gateway-'))
  const log = new MemoryLog()
  const engineSocket = join(dir, 'engine.sock')
  const sites = openSiteRegistry(join(dir, 'registry.db'), systemClock)
  const gateway = createGateway({
    plan: testPlan(dir, changes),
    log,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    engineSocket,
    version: '0.0.0',
    processes: () => [],
    sites,
    ...options,
  })
  const { url } = await gateway.start()
  return {
    gateway,
    log,
    url,
    port: Number(new URL(url).port),
    dir,
    engineSocket,
    async post(body, { stream = 'trades', type = 'application/json', headers = {}, query = '' } = {}) {
      const response = await fetch(`${url}/v1/streams/${stream}/events${query}`, {
        method: 'POST',
        body,
        headers: { 'content-type': type, ...headers },
      })
      return answerOf(response)
    },
    async close() {
      await gateway.stop()
      sites.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

export async function answerOf(response: Response): Promise<Answer> {
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  }
}

/** One valid trade. */
export function trade(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return { id: 't-1', at: '2026-11-20T12:00:00.123456Z', symbol: 'SPY', price: 167.41, ...changes }
}

export function ndjson(events: readonly unknown[]): string {
  return events.map((event) => `${JSON.stringify(event)}\n`).join('')
}
