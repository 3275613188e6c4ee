/**
 * Retention: partitions that are past (plan-retention.ts) leave the table by a commit that changes metadata alone, together with what the
 * ledger has to say of it (I6): their rows are committed, and removed. Their files stay for older snapshots, until expiry.
 *
 * Crash points: before the commit nothing has changed; after it there is nothing left to do.
 *
 * An event that comes in later and belongs to a past partition is taken, is in queries, and goes with its partition at the next run. The ids of
 * dropped rows are forgotten with them: an event that is sent again after its partition was dropped is a new one, which lives as long. So an
 * id is never in a query twice (I5), and every event that was accepted is accounted for (I6); nothing is refused because a clock is wrong.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema } from '../../lake/metadata.ts'
import { rewriteFiles } from '../../lake/rewrite.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { withRetainedFrom } from '../rollups/retained-from.ts'
import { addGone, countGone, goneColumns, toldOfGone, type GoneRows } from '../gone-rows.ts'
import { deletesDoneWith } from './candidates.ts'
import {
  leftAlone,
  noTable,
  bytesOf,
  snapshotIdOf,
  type JobDeps,
  type JobPlan,
  type KeptTable,
  type TaskOutcome,
  type TrustedNow,
} from './job.ts'
import { maintenanceRow } from './maintenance-row.ts'
import { planRetention, type PastPartition } from './plan-retention.ts'
import { selectStored } from './stored-rows.ts'

export async function planRetentionJob(deps: JobDeps, kept: KeptTable, now: TrustedNow): Promise<JobPlan> {
  const { table, stream, files } = kept
  const skip = (reason: string): JobPlan => leftAlone(stream.name, 'retention', reason)
  if (table === undefined) return skip(noTable)
  if (stream.retainMs === undefined) return skip('the stream keeps its events for ever')
  if ('reason' in now) return skip(now.reason)
  const { past, reason } = planRetention(files, stream.retainMs, now.nowMs)
  if (past.length === 0) return skip(reason)
  const gone = past.flatMap((one) => one.files)
  const row = maintenanceRow({
    table: stream.name,
    job: 'retention',
    partition: spanOf(past),
    state: 'planned',
    reason: `${past.length === 1 ? 'the partition is' : `${past.length} partitions are`} older than the stream keeps events; ${reason}`,
    filesBefore: gone.length,
    bytesBefore: bytesOf(gone),
    rows: gone.reduce((sum, { recordCount }) => sum + recordCount, 0),
  })
  return { tasks: [{ row, rank: 0, run: (signal) => drop(deps, kept, { table, gone }, signal) }], skipped: [] }
}

function spanOf(past: readonly PastPartition[]): string {
  const first = past[0]!.partition
  return past.length === 1 ? first : `${first} .. ${past.at(-1)!.partition}`
}

async function drop(
  deps: JobDeps,
  kept: KeptTable,
  { table, gone }: { table: LoadedTable; gone: readonly ScanFile[] },
  signal: AbortSignal,
): Promise<TaskOutcome> {
  const database = await deps.database()
  const removed = kept.hasLog
    ? await database.with((connection) => countRows(connection, deps, kept, table, gone))
    : addGone([])
  signal.throwIfAborted()
  const removeDeletes = deletesDoneWith(kept.files, gone)
  const told = toldOfGone(kept, removed, deps.keptSources)
  const committed = await kept.change(async () => {
    const { table: next } = await rewriteFiles(deps, {
      table,
      remove: gone.map(({ path }) => path),
      add: [],
      operation: 'delete',
      ...(removeDeletes.length > 0 && { removeDeletes }),
      ...told,
      properties: (base) => ({ ...told.properties?.(base), ...withRetainedFrom(base, gone) }),
    })
    return next
  }, 'fewer')
  return {
    filesAfter: 0,
    bytesAfter: 0,
    ...(kept.hasLog && { rows: removed.count }),
    snapshotId: snapshotIdOf(committed),
  }
}

/** Files that are read by one statement. */
const filesAtOnce = 200

/** The rows that go, by source and hour of arrival. */
async function countRows(
  connection: DuckDBConnection,
  { lakeDir }: JobDeps,
  kept: KeptTable,
  table: LoadedTable,
  files: readonly ScanFile[],
): Promise<GoneRows> {
  const counted: GoneRows[] = []
  for (let from = 0; from < files.length; from += filesAtOnce) {
    const group = files.slice(from, from + filesAtOnce)
    const select = selectStored(currentSchema(table.metadata), group, { lakeDir, only: goneColumns })
    counted.push(await countGone(connection, kept, select))
  }
  return addGone(counted)
}
