/** The dead letters of events that a transform has no outputs of. */
import type { StreamPlan, TransformPlan } from '../../config/plan.ts'
import type { DeadLetter } from '../../events/dead-letter.ts'
import { eventLines, type SourceBatch } from '../source-batch.ts'
import { readEvent } from '../source-events.ts'
import type { FailedEvent } from './functions.ts'

/** @param batch with all its events, those that failed and those that did not */
export function failedLetters(
  stream: StreamPlan & { transform: TransformPlan },
  { bytes }: Pick<SourceBatch, 'bytes'>,
  failed: readonly FailedEvent[],
  failedAtMs: number,
): DeadLetter[] {
  if (failed.length === 0) return []
  const byIndex = new Map(failed.map(({ index: place, ...failure }) => [place, failure]))
  const letters: DeadLetter[] = []
  let index = 0
  for (const { start, end } of eventLines(bytes)) {
    const failure = byIndex.get(index++)
    if (failure !== undefined) letters.push(letterOf(stream, bytes.toString('utf8', start, end), failure, failedAtMs))
  }
  return letters
}

function letterOf(
  { name, transform }: StreamPlan & { transform: TransformPlan },
  line: string,
  failure: Omit<FailedEvent, 'index'>,
  failedAtMs: number,
): DeadLetter {
  const { id, eventTime, receivedAt, source, tenant } = readEvent(line)
  return {
    ...failure,
    stream: name,
    stage: 'transform',
    consumer: `transform:${name}`,
    version: transform.version,
    event: line,
    eventId: id,
    failedAtMs,
    eventTime,
    receivedAt,
    ...(source !== undefined && { source }),
    ...(tenant !== undefined && { tenant }),
  }
}
