import type { Plan } from '../config/plan.ts'
import type { LogLevel } from '../runtime/logging.ts'

/** What the supervisor hands to the gateway and to the engine; plain JSON. */
export interface ProcessPayload {
  plan: Plan
  logLevel: LogLevel
}

/**
 * How long a starting process waits for its predecessor's lock, milliseconds. After a kill -9 of a whole server the old processes
 * notice within moments, but still finish what was in flight.
 */
export const lockWaitMs = 20_000

/** How long a process may take to stop before it is killed, milliseconds: time to drain requests, or to commit what is hot. */
export const stopDeadlineMs = 20_000

/**
 * Threads of Node's pool in each process, for UV_THREADPOOL_SIZE. File access and every running query share the pool: with four,
 * the default, four slow queries would hold up the reading of the log.
 */
export const threadPoolSize = '16'
