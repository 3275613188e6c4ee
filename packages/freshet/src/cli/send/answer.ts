import { errorCodes } from '../../runtime/error-codes.ts'
import type { FreshetError } from '../../runtime/errors.ts'
import { messageOf } from '../../runtime/errors.ts'
import { parseProblem, problemError, type ClientResponse, type ProblemAnswer } from '../client.ts'
import { eventOf, type Batch } from './batches.ts'

/** Why one event of a batch was not accepted. */
interface Rejection {
  index: number
  code: string
  path: string | null
  reason: string
}

/** What the server's answer to a batch means. */
export type Outcome =
  /** `rejected` can be more than the server itemised. */
  | { kind: 'done'; accepted: number; duplicates: number; rejected: number; rejections: Rejection[] }
  | { kind: 'retry'; error: FreshetError; afterMs: number | null }
  /** Nothing that is sent in this way will be accepted. */
  | { kind: 'refused'; error: FreshetError }

const retryStatus = new Set([408, 425, 429, 500, 502, 503, 504])

/** Reads the answer to a batch. `text` is its body. */
export function readAnswer(
  url: string,
  response: Pick<ClientResponse, 'status' | 'headers'>,
  text: string,
  batch: Batch,
  nowMs: number,
): Outcome {
  const body = parseProblem(text)
  if (response.status === 202 || response.status === 200) {
    if (body === null || typeof body['accepted'] !== 'number')
      return { kind: 'refused', error: problemError(url, response, '') }
    const rejections = rejectionsOf(body)
    const rejected = count(body['rejected']) || rejections.length
    return { kind: 'done', accepted: body['accepted'], duplicates: count(body['duplicates']), rejected, rejections }
  }
  const error = problemError(url, response, text)
  if (retryStatus.has(response.status) || (response.status === 409 && errorCodes[error.code].retryable)) {
    return { kind: 'retry', error, afterMs: retryAfterMs(response.headers['retry-after'], nowMs) }
  }
  if (body !== null && concernsEvents(error, batch)) {
    const rejections = wholeBatchRejections(body, error, batch)
    return { kind: 'done', accepted: 0, duplicates: 0, rejected: batch.lines.length, rejections }
  }
  return { kind: 'refused', error }
}

/** Whether an error answer only says that every event of the batch is bad. */
function concernsEvents(error: FreshetError, batch: Batch): boolean {
  switch (error.code) {
    case 'invalid_json':
    case 'invalid_event':
    case 'schema_violation':
    case 'event_too_large':
    case 'event_too_deep':
      return true
    case 'body_too_large':
      return batch.lines.length === 1
    default:
      return false
  }
}

function wholeBatchRejections(body: ProblemAnswer, error: FreshetError, batch: Batch): Rejection[] {
  const listed = rejectionsOf(body)
  if (listed.length > 0) return listed
  return batch.lines.map((_, index) => {
    const reason = error.code === 'invalid_json' ? jsonMistake(eventOf(batch, index)) : null
    return { index, code: error.code, path: null, reason: reason ?? error.message }
  })
}

function jsonMistake(json: Buffer): string | null {
  try {
    JSON.parse(json.toString())
    return null
  } catch (error) {
    return messageOf(error)
  }
}

function rejectionsOf(body: ProblemAnswer): Rejection[] {
  if (!Array.isArray(body.errors)) return []
  return (body.errors as unknown[]).flatMap((entry) => {
    if (typeof entry !== 'object' || entry === null) return []
    const { index, code, path, reason } = entry as Record<string, unknown>
    if (typeof index !== 'number') return []
    return [
      {
        index,
        code: typeof code === 'string' ? code : 'invalid_event',
        path: typeof path === 'string' && path !== '' ? path : null,
        reason: typeof reason === 'string' ? reason : 'the server gave no reason',
      },
    ]
  })
}

function count(value: unknown): number {
  return typeof value === 'number' ? value : 0
}

/** Retry-After in milliseconds from now: seconds or an HTTP date (RFC 9110, 10.2.3). */
function retryAfterMs(header: string | string[] | undefined, nowMs: number): number | null {
  const text = Array.isArray(header) ? header[0] : header
  if (text === undefined || text === '') return null
  const seconds = Number(text)
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(text) - nowMs
  return Number.isFinite(ms) ? Math.max(0, Math.min(ms, 60_000)) : null
}
