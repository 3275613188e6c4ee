/**
 * Whose turn it is to rewrite tables: one pass of upkeep at a time, and none while somebody holds it back. An erasure does: what upkeep
 * reads before rows are erased, it would write anew after.
 *
 * Who holds it ends the pass that runs, as a stop does: a commit that has begun is finished, what was written for another is removed. The pass
 * is begun anew afterwards. Only passes wait meanwhile; loads, queries and dry runs go on. A hold takes no other lock, so
 * whoever has one may take those that a pass takes.
 */
import { Mutex } from '../../runtime/mutex.ts'
import { endedOrAborted } from './job.ts'

export class UpkeepTurns {
  readonly #mutex = new Mutex()
  #interrupt: AbortController | undefined
  #holds = 0
  #released: PromiseWithResolvers<void> | undefined

  /**
   * Runs a pass when it has its turn, from its beginning as often as it is interrupted.
   * @param stop ends it for good
   */
  async pass(stop: AbortSignal, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    while (!(await this.#mutex.run(() => this.#begin(stop, work)))) {
      if (this.#released !== undefined) await endedOrAborted(this.#released.promise, stop)
    }
  }

  /** @returns whether there is nothing left to do */
  async #begin(stop: AbortSignal, work: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    if (stop.aborted) return true
    if (this.#holds > 0) return false
    const interrupt = new AbortController()
    this.#interrupt = interrupt
    try {
      await work(AbortSignal.any([stop, interrupt.signal]))
    } catch (error) {
      if (!interrupt.signal.aborted) throw error
    } finally {
      this.#interrupt = undefined
    }
    return !interrupt.signal.aborted
  }

  /** Runs `work` while no pass runs. Holds take turns. */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    this.#holds++
    this.#released ??= Promise.withResolvers<void>()
    this.#interrupt?.abort(new Error('an erasure goes first'))
    try {
      return await this.#mutex.run(work)
    } finally {
      if (--this.#holds === 0) {
        this.#released?.resolve()
        this.#released = undefined
      }
    }
  }

  /** Resolves when what had its turn has ended. */
  async idle(): Promise<void> {
    await this.#mutex.run(async () => undefined)
  }
}
