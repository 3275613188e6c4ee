/** The events of a batch, parsed once: for consumers that look at them in this process. */
import type { SinkEvent } from '../sinks/sink.ts'
import { eventLines, type SourceBatch } from './source-batch.ts'

/** An event and its place in the batch, from 0. */
export interface PlacedEvent {
  event: SinkEvent
  index: number
}

/**
 * All events of a batch but those that are dealt with already, and those that were given before as others.
 * @throws Error for a line that the gateway cannot have written
 */
export function sourceEvents({ bytes, skip, repeats }: SourceBatch): PlacedEvent[] {
  const events: PlacedEvent[] = []
  let index = -1
  for (const { start, end } of eventLines(bytes)) {
    index++
    if (index < skip || repeats?.has(index)) continue
    events.push({ event: readEvent(bytes.toString('utf8', start, end)), index })
  }
  return events
}

/** One line of the log, as an event. */
export function readEvent(text: string): SinkEvent {
  const { _event_id, _event_time, _received_at, _source, _tenant, ...fields } = JSON.parse(text) as Record<
    string,
    unknown
  >
  return {
    id: _event_id as string,
    eventTime: _event_time as string,
    receivedAt: _received_at as string,
    source: _source as string | undefined,
    tenant: _tenant as string | undefined,
    text,
    fields,
  }
}
