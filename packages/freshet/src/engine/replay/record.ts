/**
 * What is known of a replay of a stream, durable before it changes anything. It holds counts and names, no values of rows: those of a preview are
 * kept in memory alone.
 */
import { JobRecords, type JobPlace, type JobRecord } from '../job-records.ts'

export type ReplayState = 'previewing' | 'previewed' | 'applying' | 'applied' | 'undoing' | 'undone' | 'failed'

export interface RowCounts {
  /** Rows that are new, that have other values, and that are made no more. */
  appear: number
  change: number
  vanish: number
  /** Rows that stay as they are. */
  same: number
}

interface PartitionCounts extends RowCounts {
  partition: string
}

/** What a replay finds. */
export interface Findings extends RowCounts {
  /** Events of the source that the code was given. */
  events: number
  /** Those of them that have no outputs, as the code failed. */
  letters: number
  /** Partitions with a difference, the oldest first, as far as there are not too many. */
  partitions: PartitionCounts[]
  partitionsChanged: number
  partitionsSame: number
}

/** One swap of rows. */
export interface ReplayCommit {
  /** Text, as it can exceed 2^53. */
  snapshotId: string
  partitions: string
  rowsRemoved: number
  rowsAdded: number
}

/** A time that the replay went over the table without being interrupted: the tags that keep what was before and after it. */
interface ReplayRound {
  before: string
  /** null while it goes on. */
  after: string | null
}

export interface StreamReplayRecord extends JobRecord {
  stream: string
  state: ReplayState
  /** Who asked for the last of its steps. */
  requestedBy: string | null
  /** Event times, from `from` until before `to`; null for no bound. */
  from: string | null
  to: string | null
  /** Of the transform's code. */
  version: string
  /** How long the former rows are kept for an undo. */
  keepMs: number
  preview: Findings | null
  applied: Findings | null
  commits: ReplayCommit[]
  rounds: ReplayRound[]
  undone: ReplayCommit[]
  finishedAt: string | null
  /** What it waits for, or what went wrong last; applying and undoing go on by themselves. */
  waitingFor: string | null
}

/** What others are shown. */
export type StreamReplayAnswer = Omit<StreamReplayRecord, 'format' | 'rounds' | 'keepMs'> & {
  /** Until when it can be undone; null where it cannot. */
  undoUntil: string | null
}

export function answerOf(record: StreamReplayRecord): StreamReplayAnswer {
  const { format: _format, rounds: _rounds, keepMs, ...rest } = record
  const canUndo = hasUndo(record) && record.finishedAt !== null && record.commits.length > 0
  const undoUntil = canUndo ? new Date(Date.parse(record.finishedAt!) + keepMs).toISOString() : null
  return { ...rest, undoUntil }
}

/** Whether an undo can be asked for: also of one that was given up when it had swapped something. */
export function hasUndo({ state, rounds }: StreamReplayRecord): boolean {
  return state === 'applied' || (state === 'failed' && rounds.length > 0)
}

/** Replays that have ended and are kept. */
const endedMax = 500

export type StreamReplayRecords = JobRecords<StreamReplayRecord>

export function openStreamReplayRecords(place: JobPlace): Promise<StreamReplayRecords> {
  return JobRecords.open<StreamReplayRecord>({ ...place, isOver: ({ state }) => !isOpen(state), overMax: endedMax })
}

/** Whether there is something left to do. */
export function isOpen(state: ReplayState): boolean {
  return state === 'previewing' || state === 'applying' || state === 'undoing'
}
