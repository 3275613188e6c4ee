import type { RunRecord, SiteRecord } from './record.ts'

export interface PacerOptions {
  record: RunRecord
  /** Events a second, all sites together; null: as fast as they are taken. */
  rate: number | null
  stop: AbortSignal
}

/** So much of its events a site may be ahead of all sites together: they keep their rates, instead of all ending one by one. */
const aheadMax = 0.05
const lookAgainMs = 4

/** Decides when a site may send on. Shares are parts of all events, from 0 to 1. */
export class Pacer {
  /** No site goes beyond this share of its events for now. */
  limit = 1
  readonly #options: PacerOptions
  readonly #startedMs = performance.now()

  constructor(options: PacerOptions) {
    this.#options = options
  }

  /** The share of all events of which something is known. */
  get share(): number {
    const { settled, total } = this.#options.record
    return total === 0 ? 1 : settled / total
  }

  /** Waits until a site may send what comes after its first `sent` events. Returns false when all is to stop. */
  async turn(site: SiteRecord, sent: number): Promise<boolean> {
    const { stop } = this.#options
    while (!stop.aborted) {
      if (sent / Math.max(1, site.events) < Math.min(this.limit, this.share + aheadMax, this.#due())) return true
      await new Promise((resolve) => setTimeout(resolve, lookAgainMs))
    }
    return false
  }

  #due(): number {
    const { rate, record } = this.#options
    if (rate === null) return Infinity
    return ((performance.now() - this.#startedMs) * rate) / 1000 / Math.max(1, record.total)
  }
}
