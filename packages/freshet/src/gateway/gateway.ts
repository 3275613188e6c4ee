/**
 * The HTTP front door. It needs only the log: the engine may be away, and then queries are refused while ingest goes on.
 * A request's way in: server.ts (guards) -> routes/ingest.ts -> read-body.ts -> decode.ts -> batch.ts (events.ts, check-event.ts,
 * validate.ts, system-columns.ts, lines.ts) -> the log -> answer.ts. Enforces I1.
 */
import type { AddressInfo } from 'node:net'
import type { InjectOptions, LightMyRequestResponse } from 'fastify'
import type { Plan } from '../config/plan.ts'
import type { Log, Positions } from '../log/log.ts'
import type { Objects } from '../objects/open-objects.ts'
import type { Clock } from '../runtime/clock.ts'
import { nodeFileSystem, type FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import type { ProcessStatus } from '../runtime/process-status.ts'
import type { Random } from '../runtime/random.ts'
import type { SiteRegistry } from '../sites/site-registry.ts'
import { checkListenHost, listenError, urlOf } from './address.ts'
import { Arrival } from '../events/arrival.ts'
import { ByteBudget } from './byte-budget.ts'
import { askConsumers } from './consumers.ts'
import type { GatewayContext } from './context.ts'
import { EngineClient } from './engine-client.ts'
import { IdMaker } from '../events/event-id.ts'
import { ChunkPool } from '../events/lines.ts'
import { LogHealth } from './log-health.ts'
import { GatewayMetrics } from './metrics.ts'
import { UploadGate } from './object-body.ts'
import { objectAnnouncer } from './object-events.ts'
import { boundBacktracking } from '../events/pattern.ts'
import { createServer } from './server.ts'
import { StreamDoors } from './streams.ts'

export interface GatewayOptions {
  plan: Plan
  log: Log
  /** See `GatewayContext`; left out for a log without segments. */
  rollLog?: (stream: string) => Promise<Positions>
  clock: Clock
  random: Random
  logger: Logger
  /** Path of the engine's unix socket. */
  engineSocket: string
  /** Path of the worker's unix socket; left out, there is no worker. */
  workerSocket?: string
  version: string
  processes: () => ProcessStatus[]
  sites: SiteRegistry
  /** Left out where no buckets are declared. Whoever opened it stops it after the gateway. */
  objects?: Objects
  /** Streams that have a log already, declared or not. */
  existingStreams?: readonly string[]
  fileSystem?: Pick<FileSystem, 'freeBytes'>
  /** Bytes that requests in progress may hold; beyond it they are answered 503. */
  heldBytesMax?: number
  /** How long `stop` waits for requests in progress before it cuts their connections. */
  stopWaitMs?: number
}

const workerSilenceMsMax = 2000

export interface Gateway {
  /** Listens. @throws FreshetError `unsafe_address`, `port_in_use` */
  start(): Promise<{ url: string }>
  /** Answers a request that came by no socket; tests and simulations make such. */
  answer(request: InjectOptions): Promise<LightMyRequestResponse>
  /** Stops accepting, finishes what is in progress, then resolves. */
  stop(): Promise<void>
}

const defaultHeldBytesMax = 64 * 1024 * 1024
const defaultStopWaitMs = 10_000

/** @throws FreshetError `config_invalid` when a stream's schema cannot be compiled, `unsafe_address` */
export function createGateway(options: GatewayOptions): Gateway {
  const { plan, log, clock, logger } = options
  checkListenHost(plan.http.host)
  boundBacktracking()
  const budget = new ByteBudget(options.heldBytesMax ?? defaultHeldBytesMax)
  const engine = new EngineClient({
    socket: options.engineSocket,
    connections: plan.sql.concurrency * 2,
    // A query may wait for its turn as long as it may run, and both only after an engine that has just started has caught up.
    silenceMsMax: plan.sql.catchUpMsMax + plan.sql.timeoutMs * 2 + 10_000,
  })
  const worker =
    options.workerSocket === undefined
      ? undefined
      : new EngineClient({ socket: options.workerSocket, connections: 1, silenceMsMax: workerSilenceMsMax })
  let stopping: Promise<void> | undefined
  const context: GatewayContext = {
    plan,
    log,
    rollLog: options.rollLog ?? ((stream) => log.ends(stream)),
    clock,
    logger,
    version: options.version,
    startedAt: new Date(clock.nowMs()).toISOString(),
    fileSystem: options.fileSystem ?? nodeFileSystem,
    processes: options.processes,
    arrival: new Arrival(clock),
    ids: new IdMaker(options.random),
    pool: new ChunkPool(),
    budget,
    doors: new StreamDoors(plan, options.existingStreams),
    metrics: new GatewayMetrics(() => budget.heldBytes),
    engine,
    consumers: () => askConsumers(worker),
    logHealth: new LogHealth(clock),
    sites: options.sites,
    objects: options.objects,
    uploads: new UploadGate({
      dataDir: plan.dataDir,
      diskFreeBytesMin: plan.limits.diskFreeBytesMin,
      requestTimeoutMs: plan.http.requestTimeoutMs,
      fileSystem: options.fileSystem ?? nodeFileSystem,
    }),
    isStopping: () => stopping !== undefined,
  }
  const app = createServer(context)

  const stop = async (): Promise<void> => {
    const cut = setTimeout(() => app.server.closeAllConnections(), options.stopWaitMs ?? defaultStopWaitMs)
    await app.close()
    clearTimeout(cut)
    await engine.close()
    await worker?.close()
  }

  return {
    async start() {
      const { host, port } = plan.http
      try {
        await app.listen({ host, port })
      } catch (error) {
        throw listenError(error, host, port)
      }
      options.objects?.start(objectAnnouncer(context))
      return { url: urlOf(host, (app.server.address() as AddressInfo).port) }
    },
    answer: (request) => app.inject(request),
    stop: () => (stopping ??= stop()),
  }
}
