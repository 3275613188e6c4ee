/**
 * Does jobs that outlive the process (job-records.ts) one after another, each until it is done. One that fails is tried again, later each time, and
 * those behind it wait. What is left when the engine stops is there at its next start.
 */
import type { Timers } from '../runtime/timers.ts'
import type { JobRecord, JobRecords } from './job-records.ts'

export interface JobLoopDeps<Job extends JobRecord> {
  records: JobRecords<Job>
  /** Does what is left of a job; once it resolves, the job is over. */
  work: (job: Job, signal: AbortSignal) => Promise<void>
  /** Takes down why a job does not go on. @returns whether it is given up, and over */
  failed: (job: Job, error: unknown) => Promise<boolean>
  timers: Pick<Timers, 'sleep'>
}

const retryMsMin = 500
const retryMsMax = 30_000

export class JobLoop<Job extends JobRecord> {
  readonly #deps: JobLoopDeps<Job>
  readonly #stop = new AbortController()
  #wake: (() => void) | undefined
  #running: Promise<void> | undefined

  constructor(deps: JobLoopDeps<Job>) {
    this.#deps = deps
  }

  /** Aborted when the loop is stopped. */
  get stopping(): AbortSignal {
    return this.#stop.signal
  }

  start(): void {
    this.#running = this.#run()
  }

  /** There is a job to be done. */
  wake(): void {
    this.#wake?.()
  }

  /** Ends the job that is under way at its next step. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('the engine stops'))
    this.wake()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    const { records, work, failed, timers } = this.#deps
    let retryMs = retryMsMin
    while (!signal.aborted) {
      const job = records.next()
      if (job === undefined) {
        await records.prune()
        // Another may have come meanwhile.
        if (records.next() === undefined && !signal.aborted)
          await new Promise<void>((resolve) => (this.#wake = resolve))
        continue
      }
      try {
        await work(job, signal)
        retryMs = retryMsMin
      } catch (error) {
        if (signal.aborted) return
        if (await failed(records.get(job.id) ?? job, error)) continue
        await timers.sleep(retryMs, signal)
        retryMs = Math.min(retryMsMax, retryMs * 2)
      }
    }
  }
}
