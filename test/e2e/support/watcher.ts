import { setTimeout as delay } from 'node:timers/promises'
import { query, Refused, type Answer, type Row } from './api.ts'
import { until } from './until.ts'

export interface WatchOptions {
  url: string
  stream: string
  batchEvents: number
  /** Milliseconds between two queries. */
  paceMs?: number
}

const defaultPaceMs = 20

/**
 * Reads the stream of `Producers` all the time and checks in every answer that each event is there once (I4, I5), and that each
 * producer's events are there without a gap: as it sends batch after batch, all of those up to the newest visible one. What one
 * answer had, the next must have too, whatever was started again in between, unless it says that it is behind.
 */
export class Watcher {
  /** Answers that were checked. */
  reads = 0
  /** Answers that said that they are behind. */
  readsBehind = 0
  /** Batches in the newest answer, by producer. */
  readonly seen = new Map<string, number>()
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
    const { url, stream, batchEvents, paceMs = defaultPaceMs } = this.#options
    const sql = `SELECT producer, count(*)::INT AS events, count(DISTINCT _event_id)::INT AS ids,
      (max(sequence) + 1)::INT AS batches FROM ${stream} GROUP BY producer ORDER BY producer`
    for (; !this.#stopping; await delay(paceMs)) {
      const answer = await ask(url, sql)
      if (answer === undefined) continue
      this.#compare(answer)
      for (const { producer, events, ids, batches } of answer.body['rows'] as Row[]) {
        const expected = Number(batches) * batchEvents
        if (events === expected && ids === expected) continue
        throw new Error(
          `${String(producer)} has ${String(batches)} batches, but ${String(events)} events, ${String(ids)} ids`,
        )
      }
      this.reads++
    }
  }

  /** Whether an answer has all that the one before it had. */
  #compare({ headers, body }: Answer): void {
    const found = new Map((body['rows'] as Row[]).map((row) => [String(row['producer']), Number(row['batches'])]))
    const behind = headers.get('freshet-lag-bytes')
    if (behind !== null) this.readsBehind++
    else {
      for (const [producer, batches] of this.seen) {
        const now = found.get(producer) ?? 0
        if (now < batches) throw new Error(`${producer} had ${batches} batches in SQL, and now has ${now}`)
      }
    }
    for (const [producer, batches] of found) this.seen.set(producer, Math.max(batches, this.seen.get(producer) ?? 0))
  }
}

/** undefined when there is no whole answer, or one that the engine is away: that says nothing about the events. */
async function ask(url: string, sql: string): Promise<Answer | undefined> {
  const answer = await query(url, sql).catch(() => undefined)
  if (answer === undefined || answer.status === 503) return undefined
  const cut = answer.body['error'] as { status: number } | undefined
  if (cut?.status === 503) return undefined
  if (answer.status !== 200 || cut !== undefined) throw new Refused(sql, answer)
  return answer
}
