/** What the jobs of upkeep have in common: each plans tasks for one table, and says why there are no others. */
import type { StreamPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import type { CommitDeps } from '../../lake/commit.ts'
import type { ScanFile } from '../../lake/scan.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { Database } from '../duckdb.ts'
import { maintenanceRow, type MaintenanceRow, type UpkeepJob } from './maintenance-row.ts'

/** What upkeep needs of a stream's table (stream-table.ts). */
export interface KeptTable {
  readonly stream: StreamPlan
  /** undefined before the first commit. */
  readonly table: LoadedTable | undefined
  /** The data files of `table`. */
  readonly files: readonly ScanFile[]
  /** How far the stream's log is loaded. */
  readonly position: bigint
  /** Whether the stream has a log, and so a ledger. */
  readonly hasLog: boolean
  /** Commits a change of the table's files, and makes it visible. */
  change(commit: (table: LoadedTable) => Promise<LoadedTable>, ids: 'kept' | 'fewer'): Promise<LoadedTable>
  /** Takes over what other engines have committed. */
  refresh(): Promise<boolean>
  /** Resolves when all queries that run now have ended. */
  readersGone(): Promise<void>
}

export interface JobDeps extends CommitDeps {
  fileSystem: FileSystem
  /** Root folder of the tables, where DuckDB reads data files. */
  lakeDir: string
  /** Scratch of upkeep's own. */
  tmpDir: string
  /** A database of upkeep's own, with a memory of its own: it takes none from queries and loads. */
  database: () => Promise<Database>
  targetFileBytes: number
  snapshots: { keepMs: number; min: number }
  orphanAgeMs: number
  /** Less than this must not be left free on the disk. */
  diskFreeBytesMin: number
  /** The sources that a ledger must not forget. */
  keptSources: () => ReadonlySet<string>
}

/** A time that can be trusted, or why there is none (trusted-clock.ts). */
export type TrustedNow = { nowMs: number } | { reason: string }

/** What became of a task. */
export type TaskOutcome = Partial<MaintenanceRow> & { state?: 'done' | 'skipped' }

export interface Task {
  /** As it is planned. */
  row: MaintenanceRow
  /** Among tasks of one job, those with higher ranks come first. */
  rank: number
  /** @throws FreshetError `commit_conflict` when the table has changed so that the job must be planned anew */
  run: (signal: AbortSignal) => Promise<TaskOutcome>
}

export interface JobPlan {
  tasks: Task[]
  /** What is left alone, and why. */
  skipped: MaintenanceRow[]
}

export type PlanJob = (deps: JobDeps, table: KeptTable, now: TrustedNow) => Promise<JobPlan>

/** The plan of a job that has nothing to do with a table, and why. */
export function leftAlone(table: string, job: UpkeepJob, reason: string): JobPlan {
  return { tasks: [], skipped: [maintenanceRow({ table, job, state: 'skipped', reason })] }
}

export const noTable = 'nothing is committed yet'

/** The snapshot that a change left as the current one, as text. */
export function snapshotIdOf({ metadata }: LoadedTable): string | null {
  const id = metadata['current-snapshot-id']
  return id === null ? null : String(id)
}

export function bytesOf(files: readonly { bytes: number }[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** Resolves when a promise does, or as soon as the signal is aborted. */
export async function endedOrAborted(ended: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<void>()
  const abort = (): void => aborted.resolve()
  signal.addEventListener('abort', abort)
  if (signal.aborted) abort()
  try {
    await Promise.race([ended, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
