/**
 * Regroups manifests by partition, so that a query over one day reads that day's manifests only (lake/rewrite-manifests.ts). Files and rows
 * stay as they are.
 */
import { chooseManifests, rewriteManifests } from '../../lake/rewrite-manifests.ts'
import { defaultMergePolicy } from '../../lake/merge-manifests.ts'
import { currentManifests } from '../../lake/next-snapshot.ts'
import {
  leftAlone,
  noTable,
  snapshotIdOf,
  type JobDeps,
  type JobPlan,
  type KeptTable,
  type TaskOutcome,
} from './job.ts'
import { maintenanceRow } from './maintenance-row.ts'

export async function planManifestsJob(deps: JobDeps, kept: KeptTable): Promise<JobPlan> {
  const { table, stream } = kept
  if (table === undefined) return leftAlone(stream.name, 'manifests', noTable)
  const manifests = await currentManifests({ store: deps.store, table })
  const groups = chooseManifests(table, manifests, deps.merge ?? defaultMergePolicy)
  const chosen = groups.flatMap((group) => group.manifests)
  if (chosen.length === 0) {
    return leftAlone(stream.name, 'manifests', `its ${manifests.length} manifests are in order of partition`)
  }
  const row = maintenanceRow({
    table: stream.name,
    job: 'manifests',
    state: 'planned',
    reason: `${chosen.length} of ${manifests.length} manifests have partitions that others have too`,
    filesBefore: chosen.length,
    bytesBefore: chosen.reduce((sum, { bytes }) => sum + bytes, 0),
  })
  return { tasks: [{ row, rank: 0, run: () => regroup(deps, kept) }], skipped: [] }
}

async function regroup(deps: JobDeps, kept: KeptTable): Promise<TaskOutcome> {
  let counts = { replaced: 0, created: 0 }
  const committed = await kept.change(async (table) => {
    const { table: next, replaced, created } = await rewriteManifests(deps, table)
    counts = { replaced, created }
    return next
  }, 'kept')
  if (counts.replaced === 0) return { state: 'skipped', reason: 'they were put in order meanwhile' }
  return { filesBefore: counts.replaced, filesAfter: counts.created, snapshotId: snapshotIdOf(committed) }
}
