/**
 * What an engine that has just started shows. Rows that were hot when the last one ended are only in the log, so until they are
 * loaded again a query would see less than one before it did. Therefore queries wait until each stream has reached the end that its
 * log had at the start: everything that anybody can have seen is before it. The wait is bounded: a stream with a long backlog, or
 * one that is stuck, must not keep the others from being read. Answers given after that, while a stream is still behind, say by how much.
 */
import type { Log } from '../log/log.ts'
import type { Timers } from '../runtime/timers.ts'
import type { StreamLoader } from './stream-loader.ts'

export interface CatchUpOptions {
  /** The streams that have a log. */
  loaders: readonly StreamLoader[]
  log: Log
  timers: Timers
  waitMsMax: number
}

const partition = 0

export class CatchUp {
  readonly #loaders: readonly StreamLoader[]
  readonly #over = Promise.withResolvers<void>()

  /** Starts the loaders. */
  static async start({ loaders, log, timers, waitMsMax }: CatchUpOptions): Promise<CatchUp> {
    const ends = await Promise.all(loaders.map(({ table }) => log.ends(table.stream.name)))
    const catchUp = new CatchUp(loaders)
    loaders.forEach((loader, index) => loader.start(ends[index]!.get(partition)))
    const cancel = timers.after(waitMsMax, () => catchUp.stop())
    void Promise.all(loaders.map(({ caughtUp }) => caughtUp))
      .then(() => catchUp.stop())
      .finally(cancel)
    return catchUp
  }

  private constructor(loaders: readonly StreamLoader[]) {
    this.#loaders = loaders
  }

  /** Waits no longer. */
  stop(): void {
    this.#over.resolve()
  }

  /** Resolves when queries may be answered, or when `signal` is aborted. */
  async ready(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const aborted = Promise.withResolvers<void>()
    signal.addEventListener('abort', () => aborted.resolve(), { once: true })
    await Promise.race([this.#over.promise, aborted.promise])
  }

  /** Whether a stream has not reached its log's end of the start yet. */
  get isBehind(): boolean {
    return this.#loaders.some(({ behindBytes }) => behindBytes > 0n)
  }

  /** The headers that tell how far those of these streams are behind that are: none, as soon as none is. */
  headers(streams: ReadonlySet<string>): Record<string, string> {
    const behind = this.#loaders
      .filter(({ table, behindBytes }) => behindBytes > 0n && streams.has(table.stream.name))
      .map(({ table, behindBytes }) => `${table.stream.name}=${behindBytes}`)
    return behind.length === 0 ? {} : { 'freshet-lag-bytes': behind.join(', ') }
  }
}
