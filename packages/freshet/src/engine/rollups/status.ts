/** What there is to say of each rollup: `freshet.rollups`, and the engine's part of `GET /v1/status`. */
import type { RollupPlan } from '../../config/plan.ts'
import { widthText } from '../../config/rollups.ts'
import { currentSnapshot } from '../../lake/metadata.ts'
import type { StreamTable } from '../stream-table.ts'
import { definitionOf, rollupRecord } from './record.ts'

export interface RollupStatus {
  name: string
  /** The stream or rollup that it is made of; null when nobody knows any more. */
  from: string | null
  /** Width of a bucket, in words; null for a rollup that the configuration does not have any more: its table stays as it is. */
  bucket: string | null
  rows: number
  files: number
  bytes: number
  /** The source's snapshot that the rows stand for, as text; null while they stand for an empty source, or for none. */
  sourceSnapshot: string | null
  /** For how long the source has had commits that are not in it; 0 while there are none, null when it has never been computed. */
  lagMs: number | null
  lastCommitAt: string | null
  /** Up to this event time it has all that was sent; null when that cannot be said. */
  completeThrough: string | null
  /** Why it does not get on; null while it does. */
  problem: string | null
}

export interface StatusOptions {
  /** undefined for a rollup that the configuration does not have any more. */
  plan: RollupPlan | undefined
  table: StreamTable
  source: StreamTable | undefined
  problem: string | undefined
  nowMs: number
  completeThroughMs: number | undefined
}

export function rollupStatus({ plan, table, source, problem, nowMs, completeThroughMs }: StatusOptions): RollupStatus {
  const metadata = table.table?.metadata
  const record = metadata && rollupRecord(metadata)
  const snapshot = metadata && currentSnapshot(metadata)
  const isMade = plan !== undefined && record?.definition === definitionOf(plan)
  return {
    name: table.stream.name,
    from: plan?.from ?? record?.from ?? null,
    bucket: plan === undefined ? null : widthText(plan.bucket),
    rows: table.files.reduce((sum, { recordCount }) => sum + recordCount, 0),
    files: table.files.length,
    bytes: table.files.reduce((sum, { bytes }) => sum + bytes, 0),
    sourceSnapshot: record?.snapshot == null ? null : String(record.snapshot),
    lagMs: isMade ? lagOf(record.snapshot, source, nowMs) : null,
    lastCommitAt: snapshot === undefined ? null : new Date(snapshot['timestamp-ms']).toISOString(),
    completeThrough: completeThroughMs === undefined ? null : new Date(completeThroughMs).toISOString(),
    problem: problem ?? null,
  }
}

/** Since the source's first commit behind the snapshot that is covered; of those that are left, where that one is gone. */
function lagOf(covered: bigint | null, source: StreamTable | undefined, nowMs: number): number {
  const metadata = source?.table?.metadata
  if (metadata === undefined || metadata['current-snapshot-id'] === covered) return 0
  const { snapshots } = metadata
  const next = snapshots[snapshots.findIndex((snapshot) => snapshot['snapshot-id'] === covered) + 1]
  return next === undefined ? 0 : Math.max(0, nowMs - next['timestamp-ms'])
}
