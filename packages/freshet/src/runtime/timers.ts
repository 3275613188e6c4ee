import { setTimeout as delay } from 'node:timers/promises'

/** Waiting, and how long things take; injected so that a simulation decides when time passes. */
export interface Timers {
  /** Milliseconds since some moment, by a clock that never goes back. */
  monotonicMs(): number
  /** Calls `act` once after `ms`, unless the function it returns is called before. It does not keep the process running. */
  after(ms: number, act: () => void): () => void
  /** Calls `act` every `ms` until the function it returns is called. It does not keep the process running. */
  every(ms: number, act: () => void): () => void
  /** Resolves after `ms`, or as soon as `signal` is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Resolves when what this turn of the event loop brought has been dealt with. */
  turn(): Promise<void>
}

export const systemTimers: Timers = {
  monotonicMs: () => performance.now(),
  after: (ms, act) => {
    const timer = setTimeout(act, ms).unref()
    return () => clearTimeout(timer)
  },
  every: (ms, act) => {
    const timer = setInterval(act, ms).unref()
    return () => clearInterval(timer)
  },
  sleep: (ms, signal) => delay(ms, undefined, signal && { signal }).catch(() => undefined),
  turn: () => new Promise((resolve) => setImmediate(resolve)),
}
