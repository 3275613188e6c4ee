import { extname, join } from 'node:path'
import type { Plan } from '../config/plan.ts'
import type { TablePlan } from '../engine/evolution/plan-table.ts'
import { openDataFolder } from '../runtime/data-folder.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { lockFolder, type FolderLock } from '../runtime/folder-lock.ts'
import { createLogger, type Logger, type LogLevel } from '../runtime/logging.ts'
import type { ProcessSpec } from '../runtime/managed-process.ts'
import { processUsage, type ProcessStatus } from '../runtime/process-status.ts'
import type { Service } from '../runtime/supervised.ts'
import { Supervisor } from '../runtime/supervisor.ts'
import { consumersOf } from '../streams/plan-consumers.ts'
import type { GatewayInfo } from './compose-gateway.ts'
import { lockWaitMs, stopDeadlineMs, threadPoolSize, type ProcessPayload } from './process-settings.ts'
import type { RoleContext } from './role.ts'
import { stopOnSignals } from './signals.ts'
import { version } from './version.ts'

/** The roles that can be run alone. */
export type ServerRole = 'gateway' | 'engine' | 'worker'

export interface ServerOptions {
  logLevel: LogLevel
  /** Runs this one role in the calling process, without a supervisor; otherwise a whole server of supervised processes. */
  role?: ServerRole
  /** Whether SIGINT, SIGTERM and SIGHUP stop the server, and a second one forces it; true unless told otherwise. */
  signals?: boolean
}

export interface RunningServer {
  /** Where the public HTTP API is; undefined where this server has no gateway, or one that cannot start yet. */
  url: string | undefined
  /** The table of processes as it is now. */
  processes(): ProcessStatus[]
  /** Stops everything in order; resolves when it is done. */
  stop(): Promise<void>
  /** Resolves when the server has stopped, by whatever it was stopped. */
  done: Promise<void>
  /** What the start changes of tables, for the configuration to hold for them; none where a role runs alone. */
  tableChanges: readonly TablePlan[]
}

/** One way to run: a tree of processes, or a role in this process. */
interface Controller {
  /** @returns the public URL, if this server has a gateway that is ready */
  start(): Promise<string | undefined>
  processes(): ProcessStatus[]
  tableChanges(): readonly TablePlan[]
  stop(): Promise<void>
  /** Ends everything without finishing what is in flight. */
  kill(): void
}

/** A whole server waits this long for another one on the same data folder that is just stopping, milliseconds. */
const serverLockWaitMs = 1_000

/**
 * Starts a server for a checked plan and returns when it is ready.
 * @throws FreshetError when it cannot start for a reason that trying again would not mend: `port_in_use`, `unsafe_address`,
 *   `data_folder_locked`, `data_folder_newer`, `data_folder_unusable`, `plan_refused`, ...; `shutting_down` when it was stopped meanwhile
 */
export async function runServer(plan: Plan, options: ServerOptions): Promise<RunningServer> {
  const { role, logLevel } = options
  const logger = createLogger({ process: role ?? 'supervisor', level: logLevel })
  const controller = role === undefined ? superviseAll(plan, logLevel, logger) : runAlone(plan, role, logger)
  const done = Promise.withResolvers<void>()
  let stopped: Promise<void> | undefined
  const stop = (): Promise<void> => (stopped ??= controller.stop().finally(finish))
  const ignoreSignals =
    options.signals === false ? undefined : stopOnSignals({ stop, force: () => controller.kill(), logger })
  function finish(): void {
    ignoreSignals?.()
    done.resolve()
  }

  try {
    const url = await controller.start()
    if (stopped !== undefined) throw new FreshetError('shutting_down', 'The server was stopped before it was ready.')
    const tableChanges = controller.tableChanges()
    return { url, processes: () => controller.processes(), tableChanges, stop, done: done.promise }
  } catch (error) {
    await stop()
    throw error
  }
}

/** In the order in which they are stopped: a worker appends through the gateway. It is there for whom it has work. */
function rolesOf(plan: Plan): ServerRole[] {
  return consumersOf(plan).size > 0 ? ['worker', 'gateway', 'engine'] : ['gateway', 'engine']
}

function superviseAll(plan: Plan, logLevel: LogLevel, logger: Logger): Controller {
  const payload: ProcessPayload = { plan: structuredClone(plan), logLevel }
  const supervisor = new Supervisor({
    processes: rolesOf(plan).map((role) => processSpec(role, payload)),
    logger,
    // A little more than what the processes give themselves, so that it is they who say what did not end.
    stopDeadlineMs: stopDeadlineMs + 2_000,
  })
  let lock: FolderLock | undefined
  let tableChanges: readonly TablePlan[] = []
  return {
    start: async () => {
      await openDataFolder({ dataDir: plan.dataDir, version, fileSystem: nodeFileSystem })
      lock = await lockFolder({ dataDir: plan.dataDir, name: 'server', waitMs: serverLockWaitMs })
      tableChanges = await changesAhead(plan, logger)
      const started = await supervisor.start()
      const gateway = started.get('gateway')
      if (gateway?.ready !== true) return undefined
      const { url } = gateway.info as GatewayInfo
      // Port 0 means any free one; a gateway that is started again has to come back where its clients look for it.
      payload.plan.http.port = Number(new URL(url).port)
      return url
    },
    processes: () => supervisor.processes(),
    tableChanges: () => tableChanges,
    stop: async () => {
      await supervisor.stop()
      lock?.release()
    },
    kill: () => supervisor.kill(),
  }
}

/**
 * What the engine is about to change. It asks for itself, but by then the gateway may have taken events; what else is wrong with the
 * tables is the engine's trouble alone. @throws FreshetError `plan_refused`
 */
async function changesAhead(plan: Plan, logger: Logger): Promise<readonly TablePlan[]> {
  const { checkedChanges } = await import('./plan-tables.ts')
  try {
    return await checkedChanges(plan)
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'plan_refused') throw error
    logger.warn({ error: messageOf(error) }, 'the tables cannot be looked at')
    return []
  }
}

function processSpec(role: ServerRole, payload: ProcessPayload): ProcessSpec {
  // The same file runs from src, by type stripping, and from dist.
  const module = join(import.meta.dirname, `${role}-process${extname(import.meta.filename)}`)
  return { role, module, env: { ...process.env, UV_THREADPOOL_SIZE: threadPoolSize }, payload, isFatal }
}

/**
 * Whether a refusal at the first start ends the server: what concerns its configuration or data folder, and whatever else the
 * same start would meet again. A damaged table is the engine's trouble alone: the gateway goes on accepting events.
 */
function isFatal(refusal: FreshetError): boolean {
  if (refusal.code === 'corrupt_table') return false
  return !refusal.retryable || refusal.code === 'data_folder_locked'
}

/** Loads only the role's own modules: a gateway has no use for the engine's database, nor a supervisor for either. */
async function startRole(role: ServerRole, plan: Plan, context: RoleContext): Promise<Service> {
  if (role === 'gateway') return (await import('./compose-gateway.ts')).startGateway(plan, context)
  if (role === 'worker') return (await import('./compose-worker.ts')).startWorker(plan, context)
  return (await import('./compose-engine.ts')).startEngine(plan, context)
}

function runAlone(plan: Plan, role: ServerRole, logger: Logger): Controller {
  const startedAt = new Date().toISOString()
  const processes = (): ProcessStatus[] => [
    { role, pid: process.pid, state: 'running', restarts: 0, startedAt, ...processUsage() },
  ]
  const context = { logger, processes, lockWaitMs }
  let stopService: (() => Promise<void>) | undefined
  let starting: Promise<unknown> = Promise.resolve()
  return {
    start: async () => {
      const service = startRole(role, plan, context)
      starting = service.catch(() => {})
      const { info, stop } = await service
      stopService = stop
      return role === 'gateway' ? (info as GatewayInfo).url : undefined
    },
    processes,
    tableChanges: () => [],
    stop: async () => {
      await starting
      await stopService?.()
    },
    kill: () => process.exit(1),
  }
}
