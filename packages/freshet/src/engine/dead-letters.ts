/**
 * Events that were acknowledged and cannot be loaded: they become rows of the stream `dead_letters`, with the reason, and are
 * never lost. A dead letter's id is its place in the log, so the same one, found again after a crash, is recognised.
 */
import type { StreamPlan } from '../config/plan.ts'

export interface DeadLetter {
  stream: string
  /** Where the event starts in the log of its stream. */
  position: bigint
  code: string
  reason: string
  /** The event's line as the log has it. */
  event: string
}

export const deadLetterStream: StreamPlan = {
  name: 'dead_letters',
  schema: null,
  columns: [
    { name: 'stream', type: { kind: 'string' } },
    { name: 'position', type: { kind: 'long' } },
    { name: 'code', type: { kind: 'string' } },
    { name: 'reason', type: { kind: 'string' } },
    { name: 'event', type: { kind: 'string' } },
  ],
  open: false,
  id: '_event_id',
  time: { field: '_event_time', unit: 'iso' },
  partition: { by: 'event_time', unit: 'day' },
}

/** Dead letters as log lines of their own stream. The event goes in as text, since it may be no JSON that DuckDB reads. */
export function deadLetterLines(letters: readonly DeadLetter[]): Buffer {
  const lines = letters.map((letter) => {
    const { _event_time, _received_at, _source } = systemFieldsOf(letter.event)
    return `${JSON.stringify({
      _event_id: `${letter.stream}:${letter.position}`,
      _event_time,
      _received_at,
      _source,
      stream: letter.stream,
      position: Number(letter.position),
      code: letter.code,
      reason: letter.reason,
      event: letter.event,
    })}\n`
  })
  return Buffer.from(lines.join(''))
}

/** The system fields at the start of a line, which the gateway wrote. */
function systemFieldsOf(line: string): { _event_time: string; _received_at: string; _source: string | undefined } {
  const fields = JSON.parse(line) as { _event_time: string; _received_at: string; _source?: string }
  return { _event_time: fields._event_time, _received_at: fields._received_at, _source: fields._source }
}
