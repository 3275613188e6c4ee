import { setTimeout as delay } from 'node:timers/promises'
import type { Door } from './door.ts'
import type { RunRecord } from './record.ts'

/** How things stood at one moment of a run. */
export interface Moment {
  /** Milliseconds since the beginning of the run. */
  atMs: number
  /** Events acknowledged so far. */
  acknowledged: number
  /** Bytes of the log that are in no snapshot yet; null while the server does not say. */
  lagBytes: number | null
}

export interface TimelineOptions {
  door: Door
  record: RunRecord
  streams: readonly string[]
  nowMs: () => number
}

const everyMs = 250

/** Keeps a moment every quarter of a second. */
export class Timeline {
  readonly moments: Moment[] = []
  readonly #options: TimelineOptions

  constructor(options: TimelineOptions) {
    this.#options = options
  }

  async run(stop: AbortSignal): Promise<void> {
    const { record, nowMs } = this.#options
    while (!stop.aborted) {
      const atMs = nowMs()
      const acknowledged = record.settled
      this.moments.push({ atMs, acknowledged, lagBytes: await this.#lag() })
      await delay(Math.max(0, everyMs - (nowMs() - atMs)))
    }
  }

  async #lag(): Promise<number | null> {
    const { door, streams } = this.#options
    try {
      const { streams: found, engine } = await door.status()
      if (!engine.available) return null
      return found
        .filter(({ name }) => streams.includes(name))
        .reduce((sum, { lagBytes }) => sum + Number(lagBytes ?? 0), 0)
    } catch {
      return null
    }
  }
}
