/**
 * Leaves a target alone that fails again and again: after so many failures in a row it is not asked until some time has
 * passed, then once; if that fails too, the next wait is twice as long. A target that names a time itself is left alone until then.
 */
import type { Clock } from '../../runtime/clock.ts'
import { FreshetError, type ErrorDetails } from '../../runtime/errors.ts'
import type { Random } from '../../runtime/random.ts'
import type { Timers } from '../../runtime/timers.ts'

/** The target cannot be used at the moment: what was to be delivered is tried again. */
export class TargetAway extends FreshetError {
  constructor(message: string, details?: ErrorDetails) {
    super('sink_target_unusable', message, details)
  }
}

export interface BreakerSettings {
  /** Failures in a row after which it is left alone. */
  failures: number
  /** How long, at first and at most. */
  wait: number
  waitMax: number
}

export interface BreakerOptions extends BreakerSettings {
  /** What it is called in messages. */
  target: string
  clock: Clock
  timers: Timers
  random: Random
}

export class CircuitBreaker {
  readonly #options: BreakerOptions
  #failures = 0
  #waits = 0
  #openUntilMs = Number.NEGATIVE_INFINITY
  #reason = ''

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  /** @throws TargetAway while the target is left alone; says until when */
  check(): void {
    const { target, clock, timers } = this.#options
    const leftMs = this.#openUntilMs - timers.monotonicMs()
    if (leftMs <= 0) return
    const until = new Date(clock.nowMs() + leftMs).toISOString()
    throw new TargetAway(`${target} is left alone until ${until}: ${this.#reason}`)
  }

  succeeded(): void {
    this.#failures = 0
    this.#waits = 0
  }

  /** @param retryAfterMs what the target itself asked for */
  failed(reason: string, retryAfterMs?: number): void {
    this.#reason = reason
    this.#failures++
    const { failures, wait, waitMax, timers, random } = this.#options
    let waitMs = retryAfterMs ?? 0
    if (this.#failures >= failures) {
      const longMs = Math.min(waitMax, wait * 2 ** Math.min(this.#waits, 30))
      this.#waits++
      // From half of it up, so that many sinks do not come back at one instant.
      waitMs = Math.max(waitMs, longMs / 2 + random.integer(Math.ceil(longMs / 2) + 1))
    }
    if (waitMs > 0) this.#openUntilMs = timers.monotonicMs() + waitMs
  }
}
