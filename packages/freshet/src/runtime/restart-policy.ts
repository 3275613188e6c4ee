/** When a process that died is started again. All times are milliseconds of a monotonic clock. */
export interface RestartSettings {
  /** Wait before the first restart; it doubles with each death ... */
  delayMsMin: number
  /** ... up to this. */
  delayMsMax: number
  /** A process that ran this long was healthy: its deaths before are forgotten. */
  healthyAfterMs: number
  /** So many deaths ... */
  loopDeaths: number
  /** ... within this time are a crash loop. */
  loopWindowMs: number
  /** In a crash loop it is started again only this often. */
  loopDelayMs: number
}

export const defaultRestartSettings: RestartSettings = {
  delayMsMin: 100,
  delayMsMax: 30_000,
  healthyAfterMs: 60_000,
  loopDeaths: 5,
  loopWindowMs: 60_000,
  loopDelayMs: 30_000,
}

export interface RestartDecision {
  delayMs: number
  /** True in a crash loop, until the process has been healthy again. */
  loop: boolean
}

/** Decides after each death how long to wait; exponential, so that a crash loop does not spin. */
export class RestartPolicy {
  readonly #settings: RestartSettings
  #deathsMs: number[] = []
  #deathsInARow = 0
  #loop = false

  constructor(settings: RestartSettings) {
    this.#settings = settings
  }

  /** @param readyMs when the process that died had become ready; undefined if it never did */
  died(nowMs: number, readyMs: number | undefined): RestartDecision {
    const { delayMsMin, delayMsMax, healthyAfterMs, loopDeaths, loopWindowMs, loopDelayMs } = this.#settings
    if (readyMs !== undefined && nowMs - readyMs >= healthyAfterMs) {
      this.#deathsMs = []
      this.#deathsInARow = 0
      this.#loop = false
    }
    this.#deathsMs = [...this.#deathsMs.filter((at) => nowMs - at < loopWindowMs), nowMs]
    this.#deathsInARow++
    if (this.#deathsMs.length >= loopDeaths) this.#loop = true
    const backOffMs = Math.min(delayMsMax, delayMsMin * 2 ** (this.#deathsInARow - 1))
    return { delayMs: this.#loop ? Math.max(loopDelayMs, backOffMs) : backOffMs, loop: this.#loop }
  }
}
