import { errorCodes, type ErrorCode } from './error-codes.ts'

export interface ErrorDetails {
  /** What the reader should do about it. */
  hint?: string
  cause?: unknown
  /** Extra members for the problem+json answer, for example `line` and `column`. */
  extra?: Record<string, unknown>
}

/** Every error Freshet raises on purpose. Callers decide on `code` and `retryable`, never on the message. */
export class FreshetError extends Error {
  override readonly name = 'FreshetError'
  readonly code: ErrorCode
  readonly status: number
  readonly retryable: boolean
  readonly hint: string | undefined
  readonly extra: Record<string, unknown>

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.status = errorCodes[code].status
    this.retryable = errorCodes[code].retryable
    this.hint = details.hint
    this.extra = details.extra ?? {}
  }
}

/** RFC 9457 problem details, as answered by every HTTP door. */
export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  code: ErrorCode
  hint?: string
  [member: string]: unknown
}

/** The problem+json body for any error; one that is not ours becomes `internal` and keeps its text out of the answer. */
export function toProblem(error: unknown): Problem {
  const known =
    error instanceof FreshetError
      ? error
      : new FreshetError('internal', 'Something went wrong inside the server; its log has the details.')
  return {
    type: `urn:freshet:error:${known.code}`,
    title: errorCodes[known.code].title,
    status: known.status,
    detail: known.message,
    code: known.code,
    ...(known.hint === undefined ? {} : { hint: known.hint }),
    ...known.extra,
  }
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The operating system's error code (`ENOENT`, `ENOSPC`, ...) of anything thrown, if it has one. */
export function systemCodeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}
