import type { Clock } from '../runtime/clock.ts'

/** Arrival times: the clock's, except that they never go back within the process when the clock is set back. */
export class Arrival {
  readonly #clock: Clock
  #latestMs = 0
  #text = ''

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Now, in milliseconds since 1970, at least as late as every earlier answer. */
  nowMs(): number {
    const nowMs = Math.floor(this.#clock.nowMs())
    if (nowMs > this.#latestMs) {
      this.#latestMs = nowMs
      this.#text = ''
    }
    return this.#latestMs
  }

  /** The latest answer of `nowMs` as the stored text, `YYYY-MM-DDTHH:MM:SS.mmmZ`. */
  text(): string {
    return (this.#text ||= new Date(this.#latestMs).toISOString())
  }
}
