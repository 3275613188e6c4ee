/**
 * Freshness: how long after its acknowledgement an event is in the answer of a query. Some of the events being sent anyway are
 * looked for by SQL, over and over, until an answer holds them.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from './http-client.ts'

const pollIntervalMs = 3
const visibleWithinMs = 20_000

export class FreshnessWatch {
  readonly #url: string
  readonly #waiting = new Map<string, number>()
  readonly #samplesMs: number[] = []
  #ended = false

  constructor(url: string) {
    this.#url = url
  }

  /** Call it as soon as the event's batch has been acknowledged. */
  acknowledged(id: string): void {
    this.#waiting.set(id, performance.now())
  }

  /** No further event will be acknowledged. */
  end(): void {
    this.#ended = true
  }

  /**
   * Looks for the events until `end` was called and all of them have been found.
   * @returns milliseconds from each acknowledgement to the whole answer that held the event, so with the query's own time in it
   * @throws Error when an event stays out of sight
   */
  async run(): Promise<readonly number[]> {
    while (!this.#ended || this.#waiting.size > 0) {
      if (this.#waiting.size > 0) await this.#look()
      await sleep(pollIntervalMs)
    }
    return this.#samplesMs
  }

  async #look(): Promise<void> {
    const ids = [...this.#waiting.keys()]
    // Ids of the sample are a letter, a hyphen and digits: safe to quote.
    const rows = await sql(this.#url, `select id from trades where id in (${ids.map((id) => `'${id}'`).join(', ')})`)
    const now = performance.now()
    for (const row of rows) {
      const id = String(row['id'])
      const since = this.#waiting.get(id)
      if (since === undefined) continue
      this.#samplesMs.push(now - since)
      this.#waiting.delete(id)
    }
    const [oldest] = this.#waiting
    if (oldest !== undefined && now - oldest[1] > visibleWithinMs) {
      throw new Error(`trade ${oldest[0]} was acknowledged ${visibleWithinMs / 1000} s ago and is still not in SQL`)
    }
  }
}
