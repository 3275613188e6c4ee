/**
 * Dead letters: events that were acknowledged and that somebody could not use, kept with their raw text and the reason. Each stream has a
 * stream of its own for them, `<stream>_dead_letters`, with a log and a table like any other.
 *
 * - Whoever has a letter appends it to that log before it goes on, so nothing that was acknowledged is ever in no place.
 * - A letter's id says where it came from and not when, so the same letter that is appended again after a crash is recognised (I5). Its
 *   event time is the event's, so ids that an event stream uses again at other times stay apart here as they do there.
 * - Its `_received_at` and `_source` are those of the event: letters are counted by the hour in which their events arrived (I6).
 */
import { createHash } from 'node:crypto'
import { deadLettersSuffix, streamNamePattern, type Column, type StreamPlan } from '../config/plan.ts'
import type { AppendBatch, Log } from '../log/log.ts'

/** Where an event was when it could not be used. */
type DeadLetterStage = 'door' | 'transform' | 'load' | 'sink'

export interface DeadLetter {
  /** The stream whose letter it is: for a transform the one that it makes. */
  stream: string
  stage: DeadLetterStage
  /** Of a transform or a sink: who could not use it, as `transform:<stream>` or `sink:<name>`. */
  consumer?: string
  /** An error code of Freshet's, or one of the consumer's own. */
  code: string
  /** JSON pointer into the event. */
  path?: string
  message: string
  stack?: string
  /** The event as it was: its line in the log or, at the door, what the client sent. */
  event: string
  /** The event's id, if it is known. */
  eventId?: string
  /** At the door, which has no other name for it: what tells this letter from all others. */
  place?: string
  /** Where the event starts in the log that it was read from. */
  position?: bigint
  /** Of a transform: the hash of its code. */
  version?: string
  failedAtMs: number
  /** The event's `_event_time` as stored; at the door its time of arrival. */
  eventTime: string
  /** The event's `_received_at` as stored. */
  receivedAt: string
  source?: string
  tenant?: string
}

/** The name of the stream of dead letters that a stream has. */
export function deadLettersOf(stream: string): string {
  return stream + deadLettersSuffix
}

/** The stream whose dead letters a stream has; undefined for any other stream. */
export function letteredStream(name: string): string | undefined {
  const stream = name.endsWith(deadLettersSuffix) ? name.slice(0, -deadLettersSuffix.length) : ''
  return streamNamePattern.test(stream) ? stream : undefined
}

/** A table without a log, which the first versions kept the dead letters of all streams in. It can be read, and nothing is added to it. */
export const formerDeadLetters = 'dead_letters'

const letterColumns: Column[] = [
  { name: 'stage', type: { kind: 'string' } },
  { name: 'consumer', type: { kind: 'string' } },
  { name: 'code', type: { kind: 'string' } },
  { name: 'path', type: { kind: 'string' } },
  { name: 'message', type: { kind: 'string' } },
  { name: 'stack', type: { kind: 'string' } },
  { name: 'event', type: { kind: 'string' } },
  { name: 'event_id', type: { kind: 'string' } },
  { name: 'position', type: { kind: 'long' } },
  { name: 'version', type: { kind: 'string' } },
  { name: 'failed_at', type: { kind: 'timestamptz' } },
]

/**
 * The plan of a stream's dead letters.
 * @param retainMs how long the stream keeps its events; its letters stay as long
 */
export function deadLetterStream(stream: string, retainMs?: number): StreamPlan {
  return {
    name: deadLettersOf(stream),
    schema: null,
    columns: letterColumns,
    open: false,
    id: '_event_id',
    time: { field: '_event_time', unit: 'iso' },
    partition: { by: 'event_time', unit: 'day' },
    ...(retainMs !== undefined && { retainMs }),
  }
}

const idBytesMax = 512
const shortMax = 1024
const messageMax = 4096
const stackMax = 16_384

/**
 * What the lines of letters may have at most, where events have at most `eventBytesMax`: one character of an event can take six as a
 * part of a text, and beside it there are the other columns.
 */
export function letterBytesMax(eventBytesMax: number): number {
  return 6 * (eventBytesMax + 64 * 1024) + 256 * 1024
}

/** What a letter is known by. */
export function letterId({ stage, consumer, position, place, eventId }: DeadLetter): string {
  const start = stage === 'transform' || stage === 'sink' ? (consumer ?? stage) : stage
  const end = place ?? (stage === 'load' ? position : undefined) ?? eventId ?? position
  if (end === undefined) throw new Error(`A dead letter of the stage ${stage} says nothing by which it is known again`)
  const id = `${start}:${end}`
  return Buffer.byteLength(id) <= idBytesMax ? id : `${start}:sha256-${createHash('sha256').update(id).digest('hex')}`
}

/** A letter as a line of its stream's log, ended by `\n`. The event goes in as text, since it may be no JSON at all. */
export function deadLetterLine(letter: DeadLetter): string {
  const line = {
    _event_id: letterId(letter).toWellFormed(),
    _event_time: letter.eventTime,
    _received_at: letter.receivedAt,
    _source: letter.source,
    _tenant: letter.tenant,
    stage: letter.stage,
    consumer: letter.consumer,
    code: letter.code,
    path: cut(letter.path, shortMax),
    message: cut(letter.message, messageMax),
    stack: cut(letter.stack, stackMax),
    event: cut(letter.event, Infinity),
    event_id: cut(letter.eventId, shortMax),
    position: letter.position === undefined ? undefined : Number(letter.position),
    version: letter.version,
    failed_at: new Date(letter.failedAtMs).toISOString(),
  }
  return `${JSON.stringify(line)}\n`
}

/** Half of a surrogate pair is no text that could be stored. */
function cut(text: string | undefined, lengthMax: number): string | undefined {
  return text?.slice(0, lengthMax).toWellFormed()
}

const hourMs = 3_600_000

/**
 * Appends letters to the logs of their streams; when it resolves they are durable (I1). They are appended by source and hour of arrival,
 * since that is how the ledger counts the events of a batch.
 * @throws what `Log.append` throws; some of the letters may be in the log then, and are recognised when they are appended again
 */
export async function appendDeadLetters(log: Pick<Log, 'append'>, letters: readonly DeadLetter[]): Promise<void> {
  const batches = new Map<string, { stream: string; letters: DeadLetter[]; receivedAtMs: number }>()
  for (const letter of letters) {
    const receivedAtMs = Date.parse(letter.receivedAt)
    const key = JSON.stringify([letter.stream, letter.source, Math.floor(receivedAtMs / hourMs)])
    const batch = batches.get(key) ?? { stream: letter.stream, letters: [], receivedAtMs }
    batches.set(key, batch)
    batch.letters.push(letter)
    batch.receivedAtMs = Math.max(batch.receivedAtMs, receivedAtMs)
  }
  for (const { stream, letters: own, receivedAtMs } of batches.values()) {
    const source = own[0]!.source
    for (const lines of piecesOf(own.map(deadLetterLine))) {
      const batch: AppendBatch = {
        lines: [Buffer.from(lines.join(''))],
        count: lines.length,
        receivedAtMs,
        ...(source !== undefined && { source }),
      }
      await log.append(deadLettersOf(stream), batch)
    }
  }
}

const pieceLengthMax = 4 * 1024 * 1024

/** Lines in pieces that can be appended at once. */
function piecesOf(lines: readonly string[]): string[][] {
  const pieces: string[][] = []
  let length = 0
  for (const line of lines) {
    const last = pieces.at(-1)
    if (last === undefined || length + line.length > pieceLengthMax) {
      pieces.push([line])
      length = line.length
    } else {
      last.push(line)
      length += line.length
    }
  }
  return pieces
}
