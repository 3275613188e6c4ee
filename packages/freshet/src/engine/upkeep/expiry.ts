/**
 * Snapshot expiry: former snapshots that are past leave the table's metadata, and the files that only they need are removed, once no query
 * that could read them runs any more. What a crash leaves, and what is never expired: lake/expire.ts.
 */
import { chooseExpired } from '../../lake/expire.ts'
import { expireShown } from './expire-shown.ts'
import {
  leftAlone,
  noTable,
  type JobDeps,
  type JobPlan,
  type KeptTable,
  type TaskOutcome,
  type TrustedNow,
} from './job.ts'
import { maintenanceRow } from './maintenance-row.ts'

export async function planExpiryJob(deps: JobDeps, kept: KeptTable, now: TrustedNow): Promise<JobPlan> {
  const { table, stream } = kept
  const skip = (reason: string): JobPlan => leftAlone(stream.name, 'expiry', reason)
  if (table === undefined) return skip(noTable)
  if ('reason' in now) return skip(now.reason)
  const { keepMs, min } = deps.snapshots
  const options = { olderThanMs: now.nowMs - keepMs, keepLast: min }
  const { expired } = chooseExpired(table, options, now.nowMs)
  const all = table.metadata.snapshots.length
  const limit = new Date(options.olderThanMs).toISOString()
  if (expired.length === 0)
    return skip(`of ${all} snapshots, none is older than ${limit} and neither tagged nor among the newest ${min}`)
  const row = maintenanceRow({
    table: stream.name,
    job: 'expiry',
    state: 'planned',
    reason: `${expired.length} of ${all} snapshots are older than ${limit}`,
  })
  return { tasks: [{ row, rank: 0, run: (signal) => expire(deps, kept, options, signal) }], skipped: [] }
}

async function expire(
  deps: JobDeps,
  kept: KeptTable,
  options: { olderThanMs: number; keepLast: number },
  signal: AbortSignal,
): Promise<TaskOutcome> {
  const { expired, removed } = await expireShown(deps, { kept, change: 'kept', ...options }, signal)
  return {
    ...(expired.length === 0 && { state: 'skipped', reason: 'the snapshots had gone already' }),
    filesBefore: removed.length,
    filesAfter: 0,
  }
}
