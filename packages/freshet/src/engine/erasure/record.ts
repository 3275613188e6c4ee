/**
 * What is known of an erasure, durable before the request is answered. While the work goes on it holds the condition as it was given; once all is
 * checked, only the condition with hashes for its values, so that the record does not keep what was erased.
 */
import { JobRecords, type JobPlace, type JobRecord } from '../job-records.ts'
import type { Literal } from './predicate.ts'

/** In this order; `checking` goes back to `rewriting` where something is found that can be removed. */
export type ErasureState = 'queued' | 'flushing' | 'rewriting' | 'expiring' | 'checking' | 'done'

/** One commit of an erasure. */
export interface ErasureCommit {
  table: string
  /** Text, as it can exceed 2^53. */
  snapshotId: string
  /** Rows that matched and are gone. */
  rows: number
  filesRemoved: number
  filesAdded: number
  /** Bytes of the files that were rewritten or removed. */
  bytes: number
}

/** What the search afterwards found in one kind of place. */
export interface SearchedPlace {
  place: string
  files: number
  bytes: number
  /** Where what was to be erased still is. */
  matches: string[]
  /** Where a value of the condition stands for other reasons, and which. */
  explained: string[]
}

export interface ErasureReport {
  commits: ErasureCommit[]
  /** Log position below which the log holds nothing any more. */
  trimmedBelow: string | null
  /** Ids of the snapshots that were expired, by table. */
  expired: { table: string; snapshotId: string }[]
  /** Tags and branches that were dropped, as they kept snapshots that had to go. */
  droppedRefs: { table: string; name: string; type: string; snapshotId: string }[]
  filesDeleted: number
  /** undefined until a search has come to its end. */
  check?: { at: string; seconds: number; bytes: number; matches: number; places: SearchedPlace[] }
}

export interface ErasureRecord extends JobRecord {
  stream: string
  state: ErasureState
  /** Who asked for it, as far as it is known. */
  requestedBy: string | null
  /** Events that arrived until then, in milliseconds since 1970, are meant. */
  untilMs: number
  /** Log position behind all of them. */
  position: string
  /** Of the table's schema, by whose names the condition speaks of columns; left out where there was no table. */
  schemaId?: number | undefined
  /** The condition; undefined once it is done. */
  where?: string
  literals?: Literal[]
  redacted: string
  finishedAt: string | null
  /** What it waits for, or what went wrong last; it goes on by itself. */
  waitingFor: string | null
  report: ErasureReport
}

/** What others are shown. */
export type ErasureAnswer = Omit<
  ErasureRecord,
  'format' | 'where' | 'literals' | 'redacted' | 'untilMs' | 'schemaId'
> & {
  /** With a hash in the place of each value. */
  where: string
  seconds: number | null
}

export function answerOf(record: ErasureRecord): ErasureAnswer {
  const { format: _format, where: _where, literals: _literals, redacted, untilMs: _until, ...known } = record
  const { schemaId: _schema, ...rest } = known
  const ms = record.finishedAt === null ? undefined : Date.parse(record.finishedAt) - Date.parse(record.requestedAt)
  return { ...rest, where: redacted, seconds: ms === undefined ? null : Math.max(0, ms / 1000) }
}

export function emptyReport(): ErasureReport {
  return { commits: [], trimmedBelow: null, expired: [], droppedRefs: [], filesDeleted: 0 }
}

/** Finished erasures that are kept. */
const finishedMax = 1000

export type ErasureRecords = JobRecords<ErasureRecord>

export function openErasureRecords(place: JobPlace): Promise<ErasureRecords> {
  return JobRecords.open<ErasureRecord>({ ...place, isOver: ({ state }) => state === 'done', overMax: finishedMax })
}
