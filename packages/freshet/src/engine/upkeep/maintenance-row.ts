/** One line of `freshet.maintenance`: what upkeep did, is doing, is about to do, or left alone, and why. */

export const upkeepJobs = ['compaction', 'manifests', 'retention', 'expiry', 'orphans'] as const
export type UpkeepJob = (typeof upkeepJobs)[number]

type MaintenanceState = 'planned' | 'running' | 'done' | 'skipped' | 'failed'

export interface MaintenanceRow {
  table: string
  job: UpkeepJob
  /** null for what is not about one partition. */
  partition: string | null
  state: MaintenanceState
  /** Why it is done, why it is not, or what went wrong. */
  reason: string
  /** Data files that went in (retention, expiry, orphans: that were removed; manifests: manifests) and came out. */
  filesBefore: number | null
  filesAfter: number | null
  bytesBefore: number | null
  bytesAfter: number | null
  rows: number | null
  /** ISO times. */
  startedAt: string | null
  finishedAt: string | null
  /** When the job is looked at again, if it is by schedule. */
  nextAt: string | null
  /** The snapshot that came of it, as text: it may exceed 2^53. */
  snapshotId: string | null
}

/** A row with nothing known but these. */
export function maintenanceRow(
  row: Pick<MaintenanceRow, 'table' | 'job' | 'state' | 'reason'> & Partial<MaintenanceRow>,
): MaintenanceRow {
  return {
    partition: null,
    filesBefore: null,
    filesAfter: null,
    bytesBefore: null,
    bytesAfter: null,
    rows: null,
    startedAt: null,
    finishedAt: null,
    nextAt: null,
    snapshotId: null,
    ...row,
  }
}
