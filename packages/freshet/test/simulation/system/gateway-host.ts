/** A gateway on a simulated machine: the real log and the real HTTP server, asked in memory. */
import type { Plan } from '../../../src/config/plan.ts'
import { createGateway, type Gateway } from '../../../src/gateway/gateway.ts'
import { openFileLog, type FileLog } from '../../../src/log/file/file-log.ts'
import { FreshetError } from '../../../src/runtime/errors.ts'
import type { Logger } from '../../../src/runtime/logging.ts'
import type { SiteRegistry } from '../../../src/sites/site-registry.ts'
import type { Plant } from './plant.ts'
import { logDir, type MachineProcess } from './machine.ts'

export interface Request {
  stream: string
  /** What of the stream it is for. */
  to: 'events' | 'heartbeats'
  body: string
  headers: Record<string, string>
}

/** The answer's status and body; undefined when none came: the process ended. */
export type Reply = { status: number; body: Record<string, unknown> } | undefined

/** No sites: nothing here is about completeness. */
export const noSites: SiteRegistry = {
  list: async () => [],
  put: () => Promise.reject(new Error('there are no sites here')),
  remove: () => Promise.reject(new Error('there are no sites here')),
  close: () => {},
}

export class GatewayHost {
  readonly process: MachineProcess
  readonly #gateway: Gateway
  readonly #log: FileLog

  static async start(process: MachineProcess, plan: Plan, logger: Logger, plant: Plant): Promise<GatewayHost> {
    const { clock, timers } = process
    const fileSystem = plant.gatewayFiles?.(process) ?? process
    const log = await openFileLog({
      dir: logDir,
      mode: 'write',
      segmentBytes: plan.log.segmentBytes,
      diskFreeBytesMin: plan.limits.diskFreeBytesMin,
      fileSystem,
      clock,
      timers,
      logger,
    })
    const gateway = createGateway({
      plan,
      log: plant.gatewayLog?.(log) ?? log,
      clock,
      random: process.machine.world.random,
      logger,
      engineSocket: '/data/run/engine.sock',
      version: '0.0.0',
      processes: () => [],
      sites: noSites,
      existingStreams: await log.streams(),
      fileSystem,
    })
    return new GatewayHost(process, gateway, log)
  }

  private constructor(process: MachineProcess, gateway: Gateway, log: FileLog) {
    this.process = process
    this.#gateway = gateway
    this.#log = log
  }

  /**
   * What the gateway does before it passes on a request to erase (gateway/routes/erasures.ts): it begins a segment behind all events that
   * were stamped until a time. Undefined when that fails, or the process ends.
   */
  async cutBehind(stream: string): Promise<{ untilMs: number; position: string } | undefined> {
    const untilMs = Math.floor(this.process.clock.nowMs())
    await this.process.machine.world.sleep(this.process, 'wait for later stamps', 2)
    const ends = await Promise.race([refusedAs(this.#log.roll(stream)), this.process.whenEnded])
    return ends ? { untilMs, position: String(ends.get(0) ?? 0n) } : undefined
  }

  /**
   * What another process asks of the log through its door (log/file/append-door.ts); `work` is given the log.
   * @throws FreshetError `log_unwritable` when the gateway ends meanwhile: whether it was done is not known then
   */
  async atDoor<T>(work: (log: FileLog) => Promise<T>): Promise<T> {
    const { world } = this.process.machine
    await world.turn(this.process, 'a request at the door of the log')
    const asked = work(this.#log).then((value) => ({ value }))
    const done = await Promise.race([asked, this.process.whenEnded])
    if (done === undefined || this.process.ended) throw new FreshetError('log_unwritable', 'The gateway has gone.')
    return done.value
  }

  async post({ stream, to, body, headers }: Request): Promise<Reply> {
    const { world } = this.process.machine
    world.requests++
    const answer = this.#gateway.answer({
      method: 'POST',
      url: `/v1/streams/${stream}/${to}`,
      headers: { host: 'localhost', ...headers },
      body,
    })
    const reply = await Promise.race([answer, this.process.whenEnded])
    world.requests--
    if (reply === undefined || this.process.ended) return undefined
    return { status: reply.statusCode, body: JSON.parse(reply.body) as Record<string, unknown> }
  }
}

const never = new Promise<never>(() => {})

/** What a process asks of the log at the door of the gateway that runs. @throws FreshetError `log_unwritable` when it cannot be told what came of it */
export async function throughDoor<T>(
  process: MachineProcess,
  gateway: GatewayHost | undefined,
  work: (log: FileLog) => Promise<T>,
): Promise<T> {
  if (gateway === undefined) throw new FreshetError('log_unwritable', 'There is no gateway.')
  const [asked] = await Promise.allSettled([gateway.atDoor(work)])
  // A process that ended does nothing any more, whatever it is answered.
  if (process.ended) return never
  if (asked.status === 'rejected') throw asked.reason
  return asked.value
}

/** Errors that a request may be answered with: a stream that has no such column yet, a disk that fails. */
export function refusedAs<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((error: unknown) => {
    if (error instanceof FreshetError) return undefined
    throw error
  })
}
