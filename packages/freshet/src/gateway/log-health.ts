import type { Clock } from '../runtime/clock.ts'
import { FreshetError } from '../runtime/errors.ts'

/** A failed append counts against readiness for this long, so that a probe lets traffic come back and try again. */
const memoryMs = 10_000

/** Remembers how the last appends went, for `/readyz`. */
export class LogHealth {
  readonly #clock: Clock
  #fault: { reason: string; atMs: number } | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  succeeded(): void {
    this.#fault = undefined
  }

  failed(error: unknown): void {
    const isClientFault = error instanceof FreshetError && error.status < 500
    if (isClientFault) return
    const reason = error instanceof FreshetError ? error.message : 'The last append failed.'
    this.#fault = { reason, atMs: this.#clock.nowMs() }
  }

  /** Why the log cannot be written, as far as is known. */
  fault(): string | undefined {
    if (this.#fault === undefined || Math.abs(this.#clock.nowMs() - this.#fault.atMs) > memoryMs) return undefined
    return this.#fault.reason
  }
}
