import type { ErrorCode } from '../runtime/error-codes.ts'

/** Why a value cannot be used. A class of its own, so that the hot path can tell it from text by `typeof`. */
export class Refusal {
  readonly reason: string

  constructor(reason: string) {
    this.reason = reason
  }
}

/** What is wrong with one event. */
export interface EventFault {
  code: ErrorCode
  /** JSON pointer into the event; '' for the event as a whole. */
  path: string
  reason: string
}

/** One rejected event of a batch, as the answer lists it. */
export interface EventError extends EventFault {
  /** Place of the event in the batch, from 0. */
  index: number
}

/** A JSON pointer (RFC 6901) one level below `path`. */
export function pointer(path: string, key: string | number): string {
  return `${path}/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`
}
