/**
 * Orphan removal: files in a table's folder that nothing refers to, and that are old enough not to be on their way into it. What is taken for
 * one: lake/orphans.ts, which looks twice. The second look and the removal happen while no flush and no change of the table is under way, so
 * that a file of ours that waits for its commit is safe, however long this machine may have slept.
 */
import type { StoredObject } from '../../storage/object-store.ts'
import { findOrphans, removeOrphans } from '../../lake/orphans.ts'
import {
  leftAlone,
  noTable,
  bytesOf,
  type JobDeps,
  type JobPlan,
  type KeptTable,
  type TaskOutcome,
  type TrustedNow,
} from './job.ts'
import { maintenanceRow } from './maintenance-row.ts'

export async function planOrphansJob(deps: JobDeps, kept: KeptTable, now: TrustedNow): Promise<JobPlan> {
  const { table, stream } = kept
  const skip = (reason: string): JobPlan => leftAlone(stream.name, 'orphans', reason)
  if (table === undefined) return skip(noTable)
  if ('reason' in now) return skip(now.reason)
  const options = { olderThanMs: now.nowMs - deps.orphanAgeMs }
  const limit = new Date(options.olderThanMs).toISOString()
  const orphans = await findOrphans(deps, table, options)
  if (orphans.length === 0) return skip(`no file from before ${limit} is without a reference`)
  const row = maintenanceRow({
    table: stream.name,
    job: 'orphans',
    state: 'planned',
    reason: `files from before ${limit} that nothing refers to, such as ${orphans[0]!.key}`,
    filesBefore: orphans.length,
    bytesBefore: bytesOf(orphans),
  })
  return { tasks: [{ row, rank: 0, run: () => remove(deps, kept, orphans, options) }], skipped: [] }
}

async function remove(
  deps: JobDeps,
  kept: KeptTable,
  orphans: readonly StoredObject[],
  options: { olderThanMs: number },
): Promise<TaskOutcome> {
  let removed: StoredObject[] = []
  await kept.change(async (table) => {
    removed = await removeOrphans(deps, table, orphans, options)
    return table
  }, 'kept')
  return { filesBefore: removed.length, filesAfter: 0, bytesBefore: bytesOf(removed), bytesAfter: 0 }
}
