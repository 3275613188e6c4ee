/** What the engine counts of one stream since it started: events, rates and freshness. */

export interface Freshness {
  /** Milliseconds from a batch's arrival at the gateway to its rows being visible in SQL, over the last minute. */
  p50: number
  p99: number
}

/** What became of the events of a chunk. */
export interface LoadStats {
  loaded: number
  repeats: number
  deadLetters: number
}

const rateSeconds = 10
const freshnessWindowMs = 60_000
const samplesMax = 4096

export class StreamStats {
  loaded = 0
  repeats = 0
  deadLetters = 0
  lastCommitMs: number | undefined
  /** Why loading does not get on, while it does not. */
  loadProblem: string | undefined
  /** Likewise committing. */
  commitProblem: string | undefined
  readonly #perSecond = new Map<number, number>()
  #samples: { atMs: number; delayMs: number }[] = []

  get problem(): string | undefined {
    return this.loadProblem ?? this.commitProblem
  }

  /** Notes a chunk that became visible at `nowMs` and whose newest batch arrived at `receivedAtMs`. */
  note(nowMs: number, receivedAtMs: number, stats: LoadStats): void {
    this.loaded += stats.loaded
    this.repeats += stats.repeats
    this.deadLetters += stats.deadLetters
    const second = Math.floor(nowMs / 1000)
    this.#perSecond.set(second, (this.#perSecond.get(second) ?? 0) + stats.loaded)
    for (const old of this.#perSecond.keys()) if (old < second - rateSeconds) this.#perSecond.delete(old)
    this.#samples.push({ atMs: nowMs, delayMs: Math.max(0, nowMs - receivedAtMs) })
    if (this.#samples.length > samplesMax) this.#samples = this.#samples.slice(-samplesMax / 2)
  }

  /** Events loaded a second, averaged over the last ten whole seconds. */
  eventsPerSecond(nowMs: number): number {
    const second = Math.floor(nowMs / 1000)
    let sum = 0
    for (const [at, count] of this.#perSecond) if (at < second && at >= second - rateSeconds) sum += count
    return Math.round((sum / rateSeconds) * 10) / 10
  }

  freshness(nowMs: number): Freshness | null {
    const recent = this.#samples.filter(({ atMs }) => nowMs - atMs <= freshnessWindowMs).map(({ delayMs }) => delayMs)
    if (recent.length === 0) return null
    recent.sort((a, b) => a - b)
    return { p50: quantile(recent, 0.5), p99: quantile(recent, 0.99) }
  }
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]!
}
