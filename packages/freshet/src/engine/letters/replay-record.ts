/** What is known of a replay of dead letters, durable before anything is appended. */
import { JobRecords, type JobPlace, type JobRecord } from '../job-records.ts'
import type { LetterKey } from './stored-letter.ts'
import type { Failure } from './letter-judge.ts'

/** Letters that are about to be sent again as one batch. */
export interface ReplayBatch {
  /** Their number in the sequence of the replay's producer. */
  sequence: number
  source: string | null
  keys: LetterKey[]
}

/** A letter that fails again, and stays. */
export interface FailedLetter extends Failure {
  id: string
}

export interface ReplayRecord extends JobRecord {
  stream: string
  state: 'running' | 'done'
  requestedBy: string | null
  /** The condition; null for all letters. */
  where: string | null
  /** The letters that were not looked at yet. */
  keys: LetterKey[]
  /** Batches that may be in the log already, each whole or not at all. */
  batches: ReplayBatch[]
  nextSequence: number
  letters: number
  replayed: number
  failed: number
  /** The first of those that failed again. */
  failures: FailedLetter[]
  /** True when more letters were meant than one replay takes. */
  more: boolean
  finishedAt: string | null
  /** What it waits for, or what went wrong last; it goes on by itself. */
  waitingFor: string | null
}

/** What others are shown. */
export type ReplayAnswer = Omit<ReplayRecord, 'format' | 'keys' | 'batches' | 'nextSequence'>

export function answerOfReplay(record: ReplayRecord): ReplayAnswer {
  const { format: _format, keys: _keys, batches: _batches, nextSequence: _sequence, ...rest } = record
  return rest
}

/** Finished replays that are kept. */
const finishedMax = 200

export type ReplayRecords = JobRecords<ReplayRecord>

export function openReplayRecords(place: JobPlace): Promise<ReplayRecords> {
  return JobRecords.open<ReplayRecord>({ ...place, isOver: ({ state }) => state === 'done', overMax: finishedMax })
}
