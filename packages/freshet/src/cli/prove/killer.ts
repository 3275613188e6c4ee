/** kill -9 of processes of the run's own server, at moments spread over the sending, each while the sites send. */
import { setTimeout as delay } from 'node:timers/promises'
import { FreshetError } from '../../runtime/errors.ts'
import type { Door } from './door.ts'
import type { OwnServer } from './own-server.ts'
import type { Pacer } from './pacer.ts'
import { Seeded } from './seeded.ts'

type VictimRole = 'gateway' | 'engine' | 'supervisor'

export interface Kill {
  role: VictimRole
  /** Milliseconds since the beginning of the run. */
  atMs: number
  /** When the server was whole again; null while it is not. */
  backMs: number | null
}

export interface KillerOptions {
  kills: number
  seed: number
  server: OwnServer
  door: Door
  pacer: Pacer
  nowMs: () => number
  stop: AbortSignal
  onKill: (kill: Kill) => void
}

/**
 * A process that died five times within a minute is started again only every half minute; a new supervisor begins to count anew.
 * Staying below keeps a run short.
 */
const deathsMax = 3
const lookAgainMs = 10
const backTimeoutMs = 120_000
/** Now and then the next process dies while the server still recovers. */
const impatience = 0.2

/** Which process dies, in order: each kind about as often, and none too often in a row. */
export function planVictims(kills: number, seed: number): VictimRole[] {
  const random = new Seeded(seed, 11)
  const deaths = { gateway: 0, engine: 0 }
  return Array.from({ length: kills }, (_, index) => {
    const role = (['gateway', 'engine', 'supervisor'] as const)[(index + random.integer(2)) % 3]!
    if (role === 'supervisor' || deaths[role] >= deathsMax) {
      deaths.gateway = 0
      deaths.engine = 0
      return 'supervisor'
    }
    deaths[role]++
    return role
  })
}

export class Killer {
  readonly kills: Kill[] = []
  readonly #options: KillerOptions
  readonly #random: Seeded

  constructor(options: KillerOptions) {
    this.#options = options
    this.#random = new Seeded(options.seed, 12)
  }

  /** Kills as often as asked. @throws FreshetError when the server does not come back */
  async run(): Promise<void> {
    const { kills, seed, pacer, stop } = this.#options
    const victims = planVictims(kills, seed)
    for (const [index, role] of victims.entries()) {
      // Sites wait at the end of each part of the run until the kill that belongs to it is over, and send on meanwhile.
      pacer.limit = (index + 1) / kills
      const moment = (index + this.#random.between(0.1, 0.7)) / kills
      while (pacer.share < moment && !stop.aborted) await delay(lookAgainMs)
      if (stop.aborted) return
      await this.#kill(role)
    }
    pacer.limit = 1
    await this.#whole()
  }

  async #kill(role: VictimRole): Promise<void> {
    const { server, nowMs, onKill } = this.#options
    const pid = role === 'supervisor' ? server.pid : await this.#pidOf(role)
    if (pid === undefined || this.#options.stop.aborted) return
    const kill: Kill = { role, atMs: nowMs(), backMs: null }
    this.kills.push(kill)
    onKill(kill)
    if (role === 'supervisor') {
      await server.killSupervisor()
      await delay(this.#random.integer(300))
      if (!this.#options.stop.aborted) await server.start()
    } else {
      process.kill(pid, 'SIGKILL')
    }
    if (this.#random.fraction() >= impatience) await this.#whole(role, pid)
    else await delay(this.#random.integer(400))
  }

  /** The process of a role of this very server, as its status says at this moment; undefined when the run stops. */
  async #pidOf(role: VictimRole): Promise<number | undefined> {
    const deadline = performance.now() + backTimeoutMs
    while (!this.#options.stop.aborted) {
      const found = await this.#processes()
      const one = found?.find((process) => process.role === role)
      if (one !== undefined && one.pid > 1) return one.pid
      if (performance.now() > deadline) throw notBack(role)
      await delay(lookAgainMs)
    }
    return undefined
  }

  /** Waits until all processes run and queries are answered; `role` under another number than before. */
  async #whole(role?: VictimRole, before?: number): Promise<void> {
    const { door, stop, nowMs } = this.#options
    const deadline = performance.now() + backTimeoutMs
    while (!stop.aborted) {
      const found = await this.#processes()
      const same = role !== undefined && found?.find((process) => process.role === role)?.pid === before
      if (found?.every(({ state }) => state === 'running') === true && !same) {
        const answered = await door.rows('select 1 as one', {}, AbortSignal.timeout(5_000)).then(
          () => true,
          () => false,
        )
        if (answered) {
          for (const kill of this.kills) kill.backMs ??= nowMs()
          return
        }
      }
      if (performance.now() > deadline) throw notBack(role ?? 'server')
      await delay(lookAgainMs)
    }
  }

  /** Processes of the server, if it is the one that was started here that answers. */
  async #processes() {
    const { door, server } = this.#options
    const status = await door.status().catch(() => undefined)
    const supervisor = status?.processes.find(({ role }) => role === 'supervisor')
    return supervisor !== undefined && supervisor.pid === server.pid ? status?.processes : undefined
  }
}

function notBack(role: string): FreshetError {
  return new FreshetError('server_unreachable', `After a kill, the ${role} did not come back within two minutes.`)
}
