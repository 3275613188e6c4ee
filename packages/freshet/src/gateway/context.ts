/** What the routes share. */
import type { Plan } from '../config/plan.ts'
import type { Log, Positions } from '../log/log.ts'
import type { Objects } from '../objects/open-objects.ts'
import type { Clock } from '../runtime/clock.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import type { ProcessStatus } from '../runtime/process-status.ts'
import type { SiteRegistry } from '../sites/site-registry.ts'
import type { Arrival } from '../events/arrival.ts'
import type { ByteBudget } from './byte-budget.ts'
import type { ConsumerReport } from './consumers.ts'
import type { EngineClient } from './engine-client.ts'
import type { IdMaker } from '../events/event-id.ts'
import type { ChunkPool } from '../events/lines.ts'
import type { LogHealth } from './log-health.ts'
import type { UploadGate } from './object-body.ts'
import type { GatewayMetrics } from './metrics.ts'
import type { StreamDoors } from './streams.ts'

export interface GatewayContext {
  plan: Plan
  log: Log
  /** Begins a new segment of a stream's log, where the log has segments; gives the positions behind all that was appended. */
  rollLog: (stream: string) => Promise<Positions>
  clock: Clock
  logger: Logger
  version: string
  startedAt: string
  fileSystem: Pick<FileSystem, 'freeBytes'>
  processes: () => ProcessStatus[]
  arrival: Arrival
  ids: IdMaker
  pool: ChunkPool
  budget: ByteBudget
  doors: StreamDoors
  metrics: GatewayMetrics
  engine: EngineClient
  /** How the consumers get on, as the worker tells; undefined while it does not answer. */
  consumers: () => Promise<readonly ConsumerReport[] | undefined>
  logHealth: LogHealth
  sites: SiteRegistry
  /** undefined where no buckets are declared. */
  objects: Objects | undefined
  uploads: UploadGate
  isStopping: () => boolean
}
