/** Dead letters as their table has them. */

/** What tells a letter from all others of its stream: its id, and its event time in microseconds since 1970, as text. */
export type LetterKey = readonly [id: string, eventTimeMicros: string]

export interface StoredLetter {
  key: LetterKey
  stage: string
  consumer: string | null
  code: string
  path: string | null
  message: string
  stack: string | null
  /** The event's text: its line in the log or, at the door, what the client sent. */
  event: string
  eventId: string | null
  position: number | null
  version: string | null
  failedAt: string
  eventTime: string
  receivedAt: string
  source: string | null
}

/** What a client is shown of a letter. */
export type LetterAnswer = Omit<StoredLetter, 'key' | 'stack'> & { id: string; stack?: string | null }

export function answerOfLetter({ key, stack, ...letter }: StoredLetter, whole = false): LetterAnswer {
  return { id: key[0], ...letter, ...(whole && { stack }) }
}

/** The columns that `storedLetter` reads, in order. */
export const letterList =
  '_event_id, epoch_us(_event_time), stage, consumer, code, path, message, stack, event, event_id, position, version, ' +
  'epoch_us(failed_at), epoch_us(_received_at), _source'

export function storedLetter(row: readonly unknown[]): StoredLetter {
  const [id, micros, stage, consumer, code, path, message, stack, event, eventId, position, version, ...rest] = row
  const [failedAt, receivedAt, source] = rest
  return {
    key: [textOf(id), textOf(micros)],
    stage: textOf(stage),
    consumer: maybeText(consumer),
    code: textOf(code),
    path: maybeText(path),
    message: textOf(message),
    stack: maybeText(stack),
    event: textOf(event),
    eventId: maybeText(eventId),
    position: position === null ? null : Number(position),
    version: maybeText(version),
    failedAt: timeText(failedAt as bigint),
    eventTime: timeText(micros as bigint),
    receivedAt: timeText(receivedAt as bigint),
    source: maybeText(source),
  }
}

/** A time as lines of the log have it: `YYYY-MM-DDTHH:MM:SS.mmm[uuu]Z`. */
function timeText(micros: bigint): string {
  const beyond = ((micros % 1000n) + 1000n) % 1000n
  const text = new Date(Number((micros - beyond) / 1000n)).toISOString()
  return beyond === 0n ? text : `${text.slice(0, -1)}${String(beyond).padStart(3, '0')}Z`
}

function maybeText(value: unknown): string | null {
  return value === null ? null : textOf(value)
}

/** A text or a number of a result. */
export function textOf(value: unknown): string {
  return String(value)
}
