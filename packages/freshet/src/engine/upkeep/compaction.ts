/**
 * Compaction: writes small files of a partition anew as few, sorted ones, cuts up files that are too large, and leaves out rows that
 * delete files take out. The rows of the table stay the same.
 *
 * One task is one group of files of one partition, and one commit. What a crash leaves, at each step:
 * 1. before the files are in place: scratch, removed at the next start.
 * 2. before the commit: data files in no snapshot, which orphan removal finds; the table still has the former ones.
 * 3. after the commit, before the view knows: nothing to do; the next start shows what the table says.
 * The former files stay for queries that run and for older snapshots, until expiry.
 *
 * Others may commit meanwhile. Appends do no harm: the commit is made on top of them. Where one of the files is gone, or rows of it
 * were deleted, nothing is committed (`commit_conflict`): what was written is removed, and the job is planned anew from the table as it is.
 */
import type { LoadedTable } from '../../lake/catalog.ts'
import { partitionRange, partitionText } from '../../lake/partition.ts'
import { rewriteFiles } from '../../lake/rewrite.ts'
import { removedOnConflict } from '../data-files.ts'
import { candidatesOf, deletesDoneWith, type Candidate } from './candidates.ts'
import {
  leftAlone,
  noTable,
  bytesOf,
  snapshotIdOf,
  type JobDeps,
  type JobPlan,
  type KeptTable,
  type TaskOutcome,
} from './job.ts'
import { maintenanceRow } from './maintenance-row.ts'
import { megabytes, planCompaction, type RewriteGroup } from './plan-compaction.ts'
import { writeAnew } from './write-anew.ts'

/** Files that one group may read: each is open while it is read. */
const filesMax = 500

export async function planCompactionJob(deps: JobDeps, kept: KeptTable): Promise<JobPlan> {
  const { table, files, stream } = kept
  if (table === undefined) return leftAlone(stream.name, 'compaction', noTable)
  const { time, candidates, left } = candidatesOf(table, files)
  const byPath = new Map(candidates.map((candidate) => [candidate.path, candidate]))
  const policy = { targetBytes: deps.targetFileBytes, filesMax }
  const { groups, skipped } = planCompaction(candidates, policy, deps.clock.nowMs())
  const nameOf = (partition: number): string | null => (time ? partitionText(time.unit, partition) : null)
  const common = { table: stream.name, job: 'compaction' as const }
  return {
    tasks: groups.map((group) => ({
      row: maintenanceRow({
        ...common,
        partition: nameOf(group.partition),
        state: 'planned',
        reason: group.reason,
        filesBefore: group.files.length,
        bytesBefore: group.bytes,
        rows: group.rows,
      }),
      rank: time ? Number(partitionRange(time.unit, group.partition).from) : 0,
      run: (signal) => {
        const members = group.files.map(({ path }) => byPath.get(path)!)
        return compact(deps, kept, { table, group, members }, signal)
      },
    })),
    skipped: [...left, ...skipped.map((one) => ({ ...one, partition: nameOf(one.partition) }))].map((one) =>
      maintenanceRow({
        ...common,
        partition: one.partition,
        state: 'skipped',
        reason: one.reason,
        filesBefore: one.files,
        bytesBefore: one.bytes,
        rows: one.rows,
      }),
    ),
  }
}

interface Planned {
  /** The table as it was when the group was chosen. */
  table: LoadedTable
  group: RewriteGroup
  members: readonly Candidate[]
}

async function compact(
  deps: JobDeps,
  kept: KeptTable,
  { table, group, members }: Planned,
  signal: AbortSignal,
): Promise<TaskOutcome> {
  const files = members.map(({ file }) => file)
  // The log goes before: it takes no events when the disk is nearly full.
  const free = await deps.fileSystem.freeBytes(deps.lakeDir)
  if (free < deps.diskFreeBytesMin + 2 * group.bytes)
    return {
      state: 'skipped',
      reason: `${megabytes(free)} are free on the disk, too little to write ${megabytes(group.bytes)} anew`,
    }
  const removeDeletes = deletesDoneWith(kept.files, files)
  const written = await (
    await deps.database()
  ).with((connection) =>
    writeAnew(connection, deps, {
      table,
      files,
      partition: group.partition,
      outputs: group.outputs,
      sort: kept.stream.sort,
      signal,
    }),
  )
  const add = written.map(({ dataFile }) => dataFile)
  const committed = await kept.change(async () => {
    const request = {
      table,
      remove: files.map(({ path }) => path),
      add,
      operation: 'replace' as const,
      ...(removeDeletes.length > 0 && { removeDeletes }),
    }
    const { table: next } = await removedOnConflict(deps, written, () => rewriteFiles(deps, request))
    return next
  }, 'kept')
  return {
    filesAfter: add.length,
    bytesAfter: bytesOf(add),
    rows: add.reduce((sum, { recordCount }) => sum + recordCount, 0),
    snapshotId: snapshotIdOf(committed),
  }
}
