/**
 * How long it takes from the acknowledgement of an event until a query shows it, by one clock. Samples are taken at a steady
 * pace, whatever the server does, so that the time in which it shows nothing counts in full.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { mayBeAnsweredLater, type Door } from './door.ts'
import type { Kill } from './killer.ts'

export interface FreshnessSample {
  /** When the answer came that acknowledged it, milliseconds since the beginning of the run. */
  atMs: number
  delayMs: number
}

export interface FreshnessOptions {
  door: Pick<Door, 'rows'>
  stream: string
  nowMs: () => number
  /**
   * By how much the clock that stamps arrivals may differ from this process's, milliseconds. Queries look no further back than
   * that, since a look at all rows would slow down what is measured.
   */
  clockMarginMs: number
}

/** For a server on this machine. */
export const sameClockMarginMs = 2_000
/** For a server elsewhere. */
export const otherClockMarginMs = 600_000

const sampleEveryMs = 100
const lookEveryMs = 10
const pauseMs = 100

export class FreshnessProbe {
  readonly samples: FreshnessSample[] = []
  readonly #options: FreshnessOptions
  readonly #pending = new Map<string, { atMs: number; sentMs: number }>()
  #lastMs = -Infinity

  constructor(options: FreshnessOptions) {
    this.#options = options
  }

  /** A new event was acknowledged that was first sent `ageMs` ago; now and then one is taken as a sample. */
  acknowledged(id: string, ageMs: number): void {
    const nowMs = this.#options.nowMs()
    if (nowMs - this.#lastMs < sampleEveryMs) return
    this.#lastMs = nowMs
    if (!this.#pending.has(id)) this.#pending.set(id, { atMs: nowMs, sentMs: nowMs - ageMs })
  }

  /** Samples that no query has shown yet. */
  get waiting(): number {
    return this.#pending.size
  }

  /** Looks for the samples until told to stop. @throws FreshetError when a query is refused */
  async run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      try {
        const fromMs = this.#options.nowMs()
        if (this.#pending.size > 0) await this.#look(stop)
        // No more than half of the time is spent looking, so that the looking does not slow down what it looks for.
        await delay(Math.max(lookEveryMs, this.#options.nowMs() - fromMs))
      } catch (error) {
        if (stop.aborted) return
        if (!mayBeAnsweredLater(error)) throw error
        await delay(pauseMs)
      }
    }
  }

  async #look(stop: AbortSignal): Promise<void> {
    const { door, stream, nowMs, clockMarginMs } = this.#options
    const ids = [...this.#pending.keys()].slice(0, 500)
    const oldestMs = nowMs() - Math.min(...ids.map((id) => this.#pending.get(id)!.sentMs))
    const found = await door.rows(
      `select distinct prove_id from ${stream}
       where _received_at > $since::timestamptz and prove_id in (select unnest($ids))`,
      { since: new Date(Date.now() - oldestMs - clockMarginMs).toISOString(), ids },
      stop,
    )
    const seenMs = nowMs()
    for (const { prove_id: id } of found) {
      const sample = this.#pending.get(String(id))
      if (sample === undefined) continue
      const { atMs } = sample
      this.#pending.delete(String(id))
      this.samples.push({ atMs, delayMs: seenMs - atMs })
    }
  }
}

/** The samples that did not wait while a killed process was away. */
export function quietSamples(samples: readonly FreshnessSample[], kills: readonly Kill[]): FreshnessSample[] {
  return samples.filter(({ atMs, delayMs }) =>
    kills.every((kill) => atMs + delayMs < kill.atMs || atMs > (kill.backMs ?? Infinity)),
  )
}
