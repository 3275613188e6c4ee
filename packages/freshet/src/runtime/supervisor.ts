import type { Logger } from './logging.ts'
import { ManagedProcess, type FirstStart, type ProcessSpec } from './managed-process.ts'
import { processUsage, statsIntervalMs, type ProcessRole, type ProcessStatus } from './process-status.ts'
import { defaultRestartSettings, type RestartSettings } from './restart-policy.ts'

export interface SupervisorOptions {
  /** In the order in which they are stopped, one after another; they are started all at once. */
  processes: readonly ProcessSpec[]
  logger: Logger
  /** Time that each process has to stop in before it is killed, milliseconds. */
  stopDeadlineMs: number
  restart?: RestartSettings
}

/** Keeps the processes of a server running, each on its own: one that dies takes no other down. */
export class Supervisor {
  readonly #processes: ManagedProcess[]
  readonly #stopDeadlineMs: number
  readonly #startedAt = new Date().toISOString()
  readonly #tableTimer: NodeJS.Timeout
  #stopped: Promise<void> | undefined
  #tableQueued = false

  constructor(options: SupervisorOptions) {
    const { logger, restart = defaultRestartSettings } = options
    this.#stopDeadlineMs = options.stopDeadlineMs
    this.#processes = options.processes.map(
      (spec) => new ManagedProcess({ spec, logger, restart, onChange: () => this.#queueTable() }),
    )
    this.#tableTimer = setInterval(() => this.#shareTable(), statsIntervalMs)
  }

  /**
   * Starts all processes. Resolves when each is ready or known to be in a crash loop, with how each did.
   * @throws what a process refused to start with, if that is fatal; everything is stopped then
   */
  async start(): Promise<Map<ProcessRole, FirstStart>> {
    try {
      const outcomes = await Promise.all(
        this.#processes.map(async (one) => [one.spec.role, await one.start()] as const),
      )
      return new Map(outcomes)
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** The table of processes, this one included. */
  processes(): ProcessStatus[] {
    const self: ProcessStatus = {
      role: 'supervisor',
      pid: process.pid,
      state: 'running',
      restarts: 0,
      startedAt: this.#startedAt,
      ...processUsage(),
    }
    return [self, ...this.#processes.map(({ status }) => status)]
  }

  /** Stops the processes in order; resolves when all are gone. Further calls wait for the first. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  /** Ends all processes at once; a running `stop` resolves soon after. */
  kill(): void {
    for (const one of this.#processes) one.kill()
  }

  async #stop(): Promise<void> {
    clearInterval(this.#tableTimer)
    for (const one of this.#processes) await one.stop(this.#stopDeadlineMs)
  }

  /** Several changes of one moment make one message. */
  #queueTable(): void {
    if (this.#tableQueued) return
    this.#tableQueued = true
    setImmediate(() => this.#shareTable())
  }

  #shareTable(): void {
    this.#tableQueued = false
    const processes = this.processes()
    for (const one of this.#processes) one.send({ type: 'processes', processes })
  }
}
