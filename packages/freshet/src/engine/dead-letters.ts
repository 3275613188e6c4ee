/**
 * Dead letters as the engine has them: what it makes of events that it cannot load, and how it reads those that are in the log and not in
 * their table yet.
 *
 * A letter is durable in its own log before the position behind its event is committed (I6). A crash between the two finds the event again;
 * its letter has the same id and is left out then.
 */
import type { DeadLetter } from '../events/dead-letter.ts'
import type { Log, Position } from '../log/log.ts'

/** The letter of an event that cannot be loaded. @param line as the log has it, without its end */
export function loadLetter(
  line: string,
  about: Pick<DeadLetter, 'stream' | 'position' | 'code' | 'message' | 'failedAtMs'>,
): DeadLetter {
  const { _event_id, _event_time, _received_at, _source, _tenant } = JSON.parse(line) as Record<string, string>
  return {
    ...about,
    stage: 'load',
    event: line,
    eventId: _event_id!,
    eventTime: _event_time!,
    receivedAt: _received_at!,
    ...(_source !== undefined && { source: _source }),
    ...(_tenant !== undefined && { tenant: _tenant }),
  }
}

/** A letter as its log has it. */
export type LoggedLetter = Record<string, unknown> & {
  _event_id: string
  _received_at: string
  _source?: string
  stage: string
  position?: number
}

const partition = 0
const chunkBytesMax = 8 * 1024 * 1024

/**
 * Calls `onLetter` for each letter that a log has from a position on, those that are there twice twice.
 * @param name of the stream of letters
 * @throws FreshetError `log_trimmed` when the log no longer reaches back to `from`
 */
export async function eachLoggedLetter(
  log: Pick<Log, 'read' | 'ends'>,
  name: string,
  from: Position,
  onLetter: (letter: LoggedLetter) => void,
): Promise<void> {
  const end = (await log.ends(name)).get(partition) ?? 0n
  for (let at = from; at < end;) {
    const { bytes, next } = await log.read(name, partition, at, chunkBytesMax)
    if (bytes.length === 0) return
    for (const line of bytes.toString('utf8').split('\n')) {
      if (line.startsWith('{"_event_id"')) onLetter(JSON.parse(line) as LoggedLetter)
    }
    at = next
  }
}
