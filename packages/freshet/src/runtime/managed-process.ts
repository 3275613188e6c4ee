import { fork, type ChildProcess } from 'node:child_process'
import type { FreshetError } from './errors.ts'
import type { Logger } from './logging.ts'
import type { ProcessRole, ProcessStatus } from './process-status.ts'
import { RestartPolicy, type RestartSettings } from './restart-policy.ts'
import { fromWire, type ToChild, type ToSupervisor } from './supervision-messages.ts'

export interface ProcessSpec {
  role: ProcessRole
  /** Absolute path of the module to run; it calls `runSupervised`. */
  module: string
  /** Its whole environment. */
  env: Record<string, string | undefined>
  /** Plain JSON that the process gets as its first message. */
  payload: unknown
  /** Whether a reason it gives at its very first start ends the server, rather than being tried again. */
  isFatal: (refusal: FreshetError) => boolean
}

/** How a first start ended: with what the process had to say when it became ready, or in a crash loop. */
export type FirstStart = { ready: true; info: unknown } | { ready: false }

/**
 * One process of the server: started, watched, and started again with back-off when it dies (I10). A process that keeps dying is
 * reported and then tried only at long intervals.
 */
export class ManagedProcess {
  readonly spec: ProcessSpec
  readonly #logger: Logger
  readonly #policy: RestartPolicy
  readonly #onChange: () => void
  readonly #firstStart = Promise.withResolvers<FirstStart>()
  #child: ChildProcess | undefined
  #restartTimer: NodeJS.Timeout | undefined
  #readyMs: number | undefined
  #refusal: FreshetError | undefined
  #wasReady = false
  #stopping = false
  #exited = Promise.withResolvers<void>()
  #status: ProcessStatus

  /** @param options.onChange called after every change of `status` but those of its figures */
  constructor(options: { spec: ProcessSpec; logger: Logger; restart: RestartSettings; onChange: () => void }) {
    this.spec = options.spec
    this.#logger = options.logger
    this.#policy = new RestartPolicy(options.restart)
    this.#onChange = options.onChange
    this.#exited.resolve()
    // Whoever calls start() handles it; a stop before that must not become an unhandled rejection.
    this.#firstStart.promise.catch(() => {})
    this.#status = {
      role: options.spec.role,
      pid: 0,
      state: 'starting',
      restarts: 0,
      startedAt: '',
      rssBytes: 0,
      cpuSeconds: 0,
    }
  }

  get status(): ProcessStatus {
    return this.#status
  }

  /**
   * Starts it for the first time; resolves when it is ready or known to be in a crash loop (it goes on being tried then).
   * @throws the FreshetError with which the process refused to start, if that is fatal
   */
  start(): Promise<FirstStart> {
    this.#spawn()
    return this.#firstStart.promise
  }

  send(message: ToChild): void {
    // A channel that closes at this moment belongs to a process whose end is about to be noticed.
    if (this.#child?.connected === true) this.#child.send(message, () => {})
  }

  /** Asks it to finish and exit, and kills it if it has not after `deadlineMs`. Resolves when it is gone. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#restartTimer)
    this.#firstStart.resolve({ ready: false })
    this.send({ type: 'stop' })
    const timer = setTimeout(() => {
      this.#logger.warn({ role: this.spec.role, deadlineMs }, `${this.spec.role} did not stop in time; killing it`)
      this.kill()
    }, deadlineMs)
    await this.#exited.promise
    clearTimeout(timer)
  }

  /** Ends it at once. */
  kill(): void {
    this.#stopping = true
    clearTimeout(this.#restartTimer)
    this.#firstStart.resolve({ ready: false })
    this.#child?.kill('SIGKILL')
  }

  #spawn(): void {
    const { module, env, payload } = this.spec
    const child = fork(module, [], {
      env,
      execArgv: ['--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#child = child
    this.#readyMs = undefined
    this.#refusal = undefined
    this.#exited = Promise.withResolvers<void>()
    this.#change({ pid: child.pid ?? 0, startedAt: new Date().toISOString(), rssBytes: 0, cpuSeconds: 0 })
    child.on('message', (message) => this.#received(message as ToSupervisor))
    child.once('error', (error) => this.#died(child, `could not be run: ${error.message}`))
    child.once('exit', (code, signal) =>
      this.#died(child, signal === null ? `exited with code ${code}` : `was ended by ${signal}`),
    )
    this.send({ type: 'start', payload })
  }

  #received(message: ToSupervisor): void {
    switch (message.type) {
      case 'ready':
        this.#readyMs = performance.now()
        if (this.#wasReady)
          this.#logger.info({ role: this.spec.role, pid: this.#status.pid }, `${this.spec.role} runs again`)
        this.#wasReady = true
        this.#change({ state: 'running' })
        this.#firstStart.resolve({ ready: true, info: message.info })
        return
      case 'refused':
        this.#refusal = fromWire(message.error)
        return
      case 'stats':
        this.#status = { ...this.#status, rssBytes: message.rssBytes, cpuSeconds: message.cpuSeconds }
    }
  }

  #died(child: ChildProcess, how: string): void {
    if (this.#child !== child) return
    this.#child = undefined
    this.#exited.resolve()
    this.#change({ pid: 0, rssBytes: 0 })
    if (this.#stopping) return
    const refusal = this.#refusal
    if (refusal !== undefined && this.#status.restarts === 0 && !this.#wasReady && this.spec.isFatal(refusal)) {
      this.#stopping = true
      this.#firstStart.reject(refusal)
      return
    }
    this.#restartLater(refusal === undefined ? how : `could not start: ${refusal.message}`, refusal)
  }

  #restartLater(how: string, refusal: FreshetError | undefined): void {
    const { role } = this.spec
    const { delayMs, loop } = this.#policy.died(performance.now(), this.#readyMs)
    const details = { role, restarts: this.#status.restarts, delayMs, code: refusal?.code, hint: refusal?.hint }
    if (loop)
      this.#logger.error(details, `${role} ${how}; it keeps failing and is only tried again in ${delayMs / 1000} s`)
    else this.#logger.warn(details, `${role} ${how}; starting it again in ${delayMs} ms`)
    this.#change({ state: loop ? 'failed' : 'restarting' })
    if (loop) this.#firstStart.resolve({ ready: false })
    this.#restartTimer = setTimeout(() => {
      this.#status = { ...this.#status, restarts: this.#status.restarts + 1 }
      this.#spawn()
    }, delayMs)
  }

  #change(changes: Partial<ProcessStatus>): void {
    this.#status = { ...this.#status, ...changes }
    this.#onChange()
  }
}
