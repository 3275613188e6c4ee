import type { ErrorCode } from './error-codes.ts'
import { FreshetError } from './errors.ts'
import type { ProcessStatus } from './process-status.ts'

/** What the supervisor sends to a process it started, as JSON over the channel of `fork`. */
export type ToChild =
  /** The first message: everything the process needs to know. */
  | { type: 'start'; payload: unknown }
  /** The table of all processes, whenever it changed. */
  | { type: 'processes'; processes: ProcessStatus[] }
  /** Finish what is in flight and exit. Windows has no SIGTERM that could be handled. */
  | { type: 'stop' }

/** What a process sends to its supervisor. */
export type ToSupervisor =
  /** It does its work from now on; `info` is what it has to say about that, for example its address. */
  | { type: 'ready'; info: unknown }
  /** It cannot start, for a reason it can name; it exits after this. */
  | { type: 'refused'; error: WireError }
  | { type: 'stats'; rssBytes: number; cpuSeconds: number }

export interface WireError {
  code: ErrorCode
  message: string
  hint?: string
}

export function toWire(error: FreshetError): WireError {
  return { code: error.code, message: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) }
}

export function fromWire(error: WireError): FreshetError {
  return new FreshetError(error.code, error.message, error.hint === undefined ? {} : { hint: error.hint })
}
