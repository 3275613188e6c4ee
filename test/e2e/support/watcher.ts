import { setTimeout as delay } from 'node:timers/promises'
import { Refused, rows } from './api.ts'
import { until } from './until.ts'

export interface WatchOptions {
  url: string
  stream: string
  batchEvents: number
}

const paceMs = 20

/**
 * Reads the stream of `Producers` all the time and checks in every answer that each event is there once (I4, I5), and that each
 * producer's events are there without a gap: as it sends batch after batch, all of those up to the newest visible one.
 */
export class Watcher {
  /** Answers that were checked. */
  reads = 0
  readonly #options: WatchOptions
  readonly #running: Promise<void>
  #stopping = false
  #failure: Error | undefined

  constructor(options: WatchOptions) {
    this.#options = options
    this.#running = this.#run().catch((error: Error) => void (this.#failure = error))
  }

  /** Waits until this many more answers were checked. @throws what was wrong in an answer */
  async progress(reads = 3): Promise<void> {
    const goal = this.reads + reads
    await until(`${reads} more answers are checked`, () => {
      if (this.#failure !== undefined) throw this.#failure
      return this.reads >= goal
    })
  }

  /** @throws what was wrong in an answer */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#running
    if (this.#failure !== undefined) throw this.#failure
  }

  async #run(): Promise<void> {
    const { url, stream, batchEvents } = this.#options
    const sql = `SELECT producer, count(*)::INT AS events, count(DISTINCT _event_id)::INT AS ids,
      (max(sequence) + 1)::INT AS batches FROM ${stream} GROUP BY producer ORDER BY producer`
    for (; !this.#stopping; await delay(paceMs)) {
      const found = await rows(url, sql).catch(tolerate)
      if (found === undefined) continue
      for (const { producer, events, ids, batches } of found) {
        const expected = Number(batches) * batchEvents
        if (events === expected && ids === expected) continue
        throw new Error(
          `${String(producer)} has ${String(batches)} batches, but ${String(events)} events, ${String(ids)} ids`,
        )
      }
      this.reads++
    }
  }
}

/** No answer, or one that the engine is away, says nothing about the events; any other answer does. */
function tolerate(error: unknown): undefined {
  if (!(error instanceof Refused) || error.status === 503) return undefined
  throw error
}
