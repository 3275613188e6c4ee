/**
 * The process that measures freshness: 64 producers at a steady rate, and one reader that looks for some of their events by SQL.
 * Both are in one process so that there is one clock; together they need little of it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { quantile } from '../../examples/quickstart/quantile.ts'
import { serveTasks } from './child-task.ts'
import { batchStart, Corpus, eventTime } from './corpus.ts'
import { runLoad, type LoadResult, type LoadSpec } from './load-run.ts'
import { SqlClient } from './sql-client.ts'

export interface FreshnessSpec {
  load: LoadSpec & { seconds: number }
  /** At the start, acknowledgements are not yet followed up. */
  warmUpSeconds: number
  /** The last event of every so-many-th batch is looked for. */
  followEvery: number
}

export interface FreshnessResult {
  load: LoadResult
  samples: number
  /** From the acknowledgement to the first whole answer that has the event. */
  freshnessMs: { p50: number; p90: number; p99: number; max: number }
  /** From the acknowledgement to the start of the query before that one: freshness is not better than this. */
  lowerBoundMs: { p50: number; p99: number }
  /** From one query's start to the next one's. */
  pollMs: { p50: number; p99: number }
}

const pollIntervalMs = 5
const visibleWithinMs = 30_000

interface Followed {
  number: number
  acknowledgedAt: number
  /** When the last query began that did not see it. */
  unseenAt: number
}

const corpus = new Corpus()

class Follower {
  readonly #sql: SqlClient
  readonly #waiting = new Map<string, Followed>()
  readonly #freshnessMs: number[] = []
  readonly #lowerBoundMs: number[] = []
  readonly #pollMs: number[] = []
  #ended = false

  constructor(sql: SqlClient) {
    this.#sql = sql
  }

  /** Call it at the moment of the acknowledgement. */
  follow(number: number): void {
    const now = performance.now()
    this.#waiting.set(corpus.id(number), { number, acknowledgedAt: now, unseenAt: now })
  }

  end(): void {
    this.#ended = true
  }

  /** Looks until `end` was called and everything has been seen. @throws Error when an event stays out of sight */
  async run(): Promise<void> {
    let before = Number.NaN
    while (!this.#ended || this.#waiting.size > 0) {
      const startedAt = performance.now()
      if (this.#waiting.size > 0) {
        if (!Number.isNaN(before)) this.#pollMs.push(startedAt - before)
        before = startedAt
        await this.#look(startedAt)
      }
      const restMs = pollIntervalMs - (performance.now() - startedAt)
      await sleep(Math.max(0, restMs))
    }
  }

  result(load: LoadResult): FreshnessResult {
    return {
      load,
      samples: this.#freshnessMs.length,
      freshnessMs: {
        ...middleAndTail(this.#freshnessMs),
        p90: quantile(this.#freshnessMs, 0.9),
        max: quantile(this.#freshnessMs, 1),
      },
      lowerBoundMs: middleAndTail(this.#lowerBoundMs),
      pollMs: middleAndTail(this.#pollMs),
    }
  }

  async #look(startedAt: number): Promise<void> {
    const asked = [...this.#waiting]
    const oldest = Math.min(...asked.map(([, followed]) => followed.number))
    const ids = asked.map(([id]) => `'${id}'`).join(', ')
    const rows = await this.#sql.query(
      `select id from trades where _event_time >= '${eventTime(oldest)}' and id in (${ids})`,
    )
    const now = performance.now()
    for (const row of rows) {
      const id = String(row['id'])
      const followed = this.#waiting.get(id)
      if (followed === undefined) throw new Error(`event ${id} was found twice`)
      this.#waiting.delete(id)
      this.#freshnessMs.push(now - followed.acknowledgedAt)
      this.#lowerBoundMs.push(followed.unseenAt - followed.acknowledgedAt)
    }
    for (const [id, followed] of asked) {
      followed.unseenAt = startedAt
      if (this.#waiting.has(id) && now - followed.acknowledgedAt > visibleWithinMs) {
        throw new Error(`event ${id} was acknowledged ${visibleWithinMs / 1000} s ago and is still not in SQL`)
      }
    }
  }
}

function middleAndTail(samples: readonly number[]): { p50: number; p99: number } {
  return { p50: quantile(samples, 0.5), p99: quantile(samples, 0.99) }
}

async function measure({ load, warmUpSeconds, followEvery }: FreshnessSpec): Promise<FreshnessResult> {
  const sql = new SqlClient(load.port)
  const follower = new Follower(sql)
  const startedAt = performance.now()
  const onAcknowledged = (batch: number): void => {
    if (batch % followEvery !== 0 || performance.now() - startedAt < warmUpSeconds * 1000) return
    follower.follow(batchStart(load.first, batch, load.shape) + load.shape.events - 1)
  }
  try {
    const loading = runLoad(corpus, load, onAcknowledged).finally(() => follower.end())
    const [result] = await Promise.all([loading, follower.run()])
    return follower.result(result)
  } finally {
    sql.close()
  }
}

serveTasks(measure)
