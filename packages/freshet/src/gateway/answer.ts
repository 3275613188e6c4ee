/** What the sender of a batch is told. */
import { FreshetError } from '../runtime/errors.ts'
import type { EventError } from '../events/refusal.ts'

export interface IngestOutcome {
  stream: string
  accepted: number
  duplicates: number
  /** null where nothing was stored, or it is not known any more where. */
  receipt: string | null
  errors: readonly EventError[]
  /** Those of them whose events are kept as dead letters; undefined for a stream that keeps none. */
  deadLettered: ReadonlySet<EventError> | undefined
}

/** The body of a 202. Names of streams and receipts need no escapes. */
export function answerText({ stream, accepted, duplicates, receipt, errors, deadLettered }: IngestOutcome): string {
  const told = deadLettered
    ? errors.map((error) => (deadLettered.has(error) ? { ...error, deadLettered: true } : error))
    : errors
  const list = errors.length === 0 ? '[]' : JSON.stringify(told)
  const kept = deadLettered === undefined ? '' : `,"deadLettered":${deadLettered.size}`
  const rejected = errors.length - (deadLettered?.size ?? 0)
  const counts = `"accepted":${accepted},"duplicates":${duplicates},"rejected":${rejected}${kept}`
  return `{"stream":"${stream}",${counts},"receipt":${receipt === null ? 'null' : `"${receipt}"`},"errors":${list}}`
}

/**
 * Refuses a batch as a whole, when that is what its errors ask for: nothing in it can be read, everything in it is too large or
 * too deep, or it must be all or nothing.
 * @throws FreshetError `invalid_json`, `event_too_large`, `event_too_deep`, or `invalid_event` for an atomic batch
 */
export function refuseIfWhole(errors: readonly EventError[], count: number, atomic: boolean): void {
  const first = errors[0]
  if (first === undefined) return
  if (count === 0) {
    const extra = { errors }
    if (errors.every(({ code }) => code === 'invalid_json')) {
      const place = /^line (\d+), column (\d+)/.exec(first.reason)
      throw new FreshetError('invalid_json', `No line of the body is valid JSON. First: ${first.reason}.`, {
        hint: 'application/x-ndjson is one JSON object a line; send one object or an array as application/json.',
        extra: { line: Number(place?.[1]), column: Number(place?.[2]), ...extra },
      })
    }
    if (errors.every(({ code }) => code === 'event_too_large' || code === 'event_too_deep')) {
      const sent = errors.length === 1 ? 'The event' : 'Every event'
      throw new FreshetError(first.code, `${sent} was refused: ${first.reason}.`, { extra })
    }
  }
  if (atomic) {
    throw new FreshetError(
      'invalid_event',
      `Nothing was stored: ${errors.length} of ${count + errors.length} events cannot be accepted.`,
      {
        hint: 'Mend the events listed in "errors", or send the batch without atomic=true to store the others.',
        extra: { errors },
      },
    )
  }
}
