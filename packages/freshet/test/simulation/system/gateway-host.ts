/** A gateway on a simulated machine: the real log and the real HTTP server, asked in memory. */
import type { Plan } from '../../../src/config/plan.ts'
import { createGateway, type Gateway } from '../../../src/gateway/gateway.ts'
import { openFileLog } from '../../../src/log/file/file-log.ts'
import type { Logger } from '../../../src/runtime/logging.ts'
import type { SiteRegistry } from '../../../src/sites/site-registry.ts'
import type { Plant } from './bugs.ts'
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
    return new GatewayHost(process, gateway)
  }

  private constructor(process: MachineProcess, gateway: Gateway) {
    this.process = process
    this.#gateway = gateway
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
