/**
 * The time by which events may be dropped for ever. A wall clock can be wrong: set forward by years, it would have everything erased at
 * once. So a jump forward is believed only after the clock has gone on from there for a day of this process's time, which is the time
 * that people have to notice and mend it; until then nothing is dropped, and the reason is shown.
 *
 * What was last seen is remembered by whoever drops, so that a start after a short stop is no jump; after a longer one
 * dropping begins a day later. A clock that goes back makes events younger, and so keeps more of them: nothing is to be done.
 */

/** The clock may be ahead of what was seen by this much. */
export const jumpMsMax = 24 * 60 * 60 * 1000
/** A jump is believed after the process has run for so long with it. */
export const waitMs = 24 * 60 * 60 * 1000

export class TrustedClock {
  /** The latest time that is believed. Milliseconds since 1970; undefined before anything was seen. */
  #seenMs: number | undefined
  /** A jump that is being waited out: when it was first seen, by a clock that only goes forward. */
  #jump: { sinceMonotonicMs: number; lastMs: number; lastMonotonicMs: number } | undefined

  constructor(seenMs: number | undefined) {
    this.#seenMs = seenMs
  }

  /** What to remember for the next process. */
  get seenMs(): number | undefined {
    return this.#seenMs
  }

  /**
   * Looks at the clock.
   * @param knownMs a time that has surely passed, such as that of the newest commit
   * @returns the time to go by, or why there is none yet
   */
  look(nowMs: number, monotonicMs: number, knownMs: number | undefined): { nowMs: number } | { reason: string } {
    const seenMs = this.#seenMs ?? knownMs ?? nowMs
    if (nowMs <= seenMs + jumpMsMax) {
      this.#jump = undefined
      this.#seenMs = Math.max(seenMs, nowMs)
      return { nowMs }
    }
    const jump = this.#jump
    // A second jump while one is waited out begins the wait anew.
    const goesOn =
      jump !== undefined && Math.abs(nowMs - jump.lastMs - (monotonicMs - jump.lastMonotonicMs)) < jumpMsMax
    const sinceMonotonicMs = goesOn ? jump.sinceMonotonicMs : monotonicMs
    if (monotonicMs - sinceMonotonicMs >= waitMs) {
      this.#jump = undefined
      this.#seenMs = nowMs
      return { nowMs }
    }
    this.#jump = { sinceMonotonicMs, lastMs: nowMs, lastMonotonicMs: monotonicMs }
    const leftMs = waitMs - (monotonicMs - sinceMonotonicMs)
    const ahead = ((nowMs - seenMs) / 86_400_000).toFixed(1)
    return {
      reason:
        `the clock says ${new Date(nowMs).toISOString()}, ${ahead} days after the last time that was seen; ` +
        `if it still does in ${Math.ceil(leftMs / 3_600_000)} hours, it is believed`,
    }
  }
}
