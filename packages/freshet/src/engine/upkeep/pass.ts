/**
 * One pass over tables: plans each job, runs its tasks one at a time, and notes what came of each. A job that fails is noted, and stops neither
 * other jobs nor other tables. Where a table changed under a task (`commit_conflict`), the job is planned anew for it, so that nothing is lost
 * silently. While events come in, there is a pause after each task as long as it took, so that upkeep has half of its share of the machine.
 */
import type { Logger } from '../../runtime/logging.ts'
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import type { Timers } from '../../runtime/timers.ts'
import { planCompactionJob } from './compaction.ts'
import { planExpiryJob } from './expiry.ts'
import type { JobDeps, JobPlan, KeptTable, PlanJob, Task, TrustedNow } from './job.ts'
import { planManifestsJob } from './manifests.ts'
import { maintenanceRow, upkeepJobs, type MaintenanceRow, type UpkeepJob } from './maintenance-row.ts'
import { planOrphansJob } from './orphans.ts'
import type { UpkeepRecord } from './record.ts'
import { planRetentionJob } from './retention.ts'

export interface PassDeps extends JobDeps {
  timers: Timers
  logger: Logger
}

export interface PassRequest {
  tables: readonly KeptTable[]
  jobs: readonly UpkeepJob[]
  now: TrustedNow
  /** Only plans. */
  dryRun: boolean
  /** Where decisions and outcomes are noted; a dry run notes none. */
  record: UpkeepRecord
  /** Whether a job of a table is to be left out of this pass; its rows stay as they are. */
  isLeftOut: (table: string, job: UpkeepJob) => boolean
  /** Told how a job went. */
  onJob: (table: string, job: UpkeepJob, failed: boolean) => void
  /** Told each row of this pass that is final. */
  onRow: (row: MaintenanceRow) => void
  signal: AbortSignal
}

const planners: Readonly<Record<UpkeepJob, PlanJob>> = {
  retention: planRetentionJob,
  compaction: planCompactionJob,
  manifests: planManifestsJob,
  expiry: planExpiryJob,
  orphans: planOrphansJob,
}

/** What is dropped need not be compacted, and what was compacted can expire. */
const jobOrder: readonly UpkeepJob[] = ['retention', 'compaction', 'manifests', 'expiry', 'orphans']

/** Times that a job of a table is planned anew in one pass. */
const replansMax = 3
const pauseMsMax = 30_000
const saveEveryMs = 10_000

interface Queued {
  table: KeptTable
  task: Task
}

export class Pass {
  readonly #deps: PassDeps
  readonly #request: PassRequest
  #savedAtMs: number

  constructor(deps: PassDeps, request: PassRequest) {
    this.#deps = deps
    this.#request = request
    this.#savedAtMs = deps.timers.monotonicMs()
  }

  async run(): Promise<void> {
    const { jobs, signal, dryRun, tables } = this.#request
    if (!dryRun) for (const table of tables) await this.#refresh(table)
    for (const job of jobOrder) {
      if (!jobs.includes(job) || signal.aborted) continue
      const planned = await this.#planAll(job)
      if (dryRun) for (const { task } of planned) this.#request.onRow(task.row)
      else await this.#runAll(job, planned)
    }
  }

  /**
   * Takes over what other engines have committed. Without loads of its own nobody would look, and queries would go on with files that
   * another engine may have expired.
   */
  async #refresh(kept: KeptTable): Promise<void> {
    try {
      await kept.refresh()
    } catch (error) {
      this.#deps.logger.warn(
        { stream: kept.stream.name, reason: messageOf(error) },
        'the table could not be loaded again',
      )
    }
  }

  async #planAll(job: UpkeepJob): Promise<Queued[]> {
    const { tables, isLeftOut, signal } = this.#request
    const queue: Queued[] = []
    for (const table of tables) {
      if (signal.aborted) break
      if (!isLeftOut(table.stream.name, job)) queue.push(...(await this.#plan(job, table, true)))
    }
    return queue
  }

  /** @param told whether what is skipped is told as part of this pass */
  async #plan(job: UpkeepJob, table: KeptTable, told: boolean): Promise<Queued[]> {
    const { now, record, dryRun, onRow, onJob } = this.#request
    const { name } = table.stream
    let plan: JobPlan
    try {
      plan = await planners[job](this.#deps, table, now)
    } catch (error) {
      const failed = maintenanceRow({ table: name, job, state: 'failed', reason: messageOf(error) })
      this.#end({ ...failed, startedAt: this.#iso(), finishedAt: this.#iso() })
      if (!dryRun) {
        record.decide(name, job, [])
        onJob(name, job, true)
      }
      return []
    }
    if (told) for (const row of plan.skipped) onRow(row)
    if (dryRun) return plan.tasks.map((task) => ({ table, task }))
    record.decide(name, job, [...plan.tasks.map(({ row }) => row), ...plan.skipped])
    if (plan.tasks.length === 0) onJob(name, job, false)
    return plan.tasks.map((task) => ({ table, task }))
  }

  async #runAll(job: UpkeepJob, planned: readonly Queued[]): Promise<void> {
    const { signal, onJob } = this.#request
    let queue = inOrder(planned)
    const replans = new Map<KeptTable, number>()
    const failed = new Set<KeptTable>()
    for (let next = queue.shift(); next !== undefined && !signal.aborted; next = queue.shift()) {
      const { table, task } = next
      const outcome = await this.#runOne(table, task)
      if (outcome === 'failed') failed.add(table)
      if (outcome !== 'conflict') continue
      const times = (replans.get(table) ?? 0) + 1
      replans.set(table, times)
      queue = queue.filter((other) => other.table !== table)
      if (times > replansMax) failed.add(table)
      else queue = inOrder([...queue, ...(await this.#plan(job, table, false))])
    }
    if (signal.aborted) return
    for (const table of new Set(planned.map((one) => one.table))) onJob(table.stream.name, job, failed.has(table))
  }

  async #runOne(table: KeptTable, task: Task): Promise<'done' | 'failed' | 'conflict' | 'stopped'> {
    const { timers, logger } = this.#deps
    const { record, signal, tables } = this.#request
    const begunMs = timers.monotonicMs()
    const before = positionsOf(tables)
    const running: MaintenanceRow = { ...task.row, state: 'running', startedAt: this.#iso() }
    record.replace(task.row, running)
    try {
      const outcome = await task.run(signal)
      const row: MaintenanceRow = { ...running, state: 'done', finishedAt: this.#iso(), ...outcome }
      this.#end(row)
      const { job, partition, filesBefore, filesAfter, bytesBefore, bytesAfter } = row
      const what = { stream: row.table, job, partition, filesBefore, filesAfter, bytesBefore, bytesAfter }
      logger.info({ ...what, ms: Math.round(timers.monotonicMs() - begunMs) }, `upkeep ${row.state}`)
      return 'done'
    } catch (error) {
      if (signal.aborted && !(error instanceof FreshetError)) return 'stopped'
      const isConflict = error instanceof FreshetError && error.code === 'commit_conflict'
      const reason = isConflict ? `planned anew: ${error.message}` : messageOf(error)
      this.#end({ ...running, state: 'failed', finishedAt: this.#iso(), reason })
      logger.warn({ stream: table.stream.name, job: task.row.job, reason }, 'upkeep failed')
      return isConflict ? 'conflict' : 'failed'
    } finally {
      record.replace(running, undefined)
      await this.#saveNowAndThen()
      if (positionsOf(tables) !== before)
        await timers.sleep(Math.min(timers.monotonicMs() - begunMs, pauseMsMax), signal)
    }
  }

  #end(row: MaintenanceRow): void {
    if (!this.#request.dryRun) this.#request.record.add(row)
    this.#request.onRow(row)
  }

  async #saveNowAndThen(): Promise<void> {
    const { timers } = this.#deps
    if (timers.monotonicMs() - this.#savedAtMs < saveEveryMs) return
    this.#savedAtMs = timers.monotonicMs()
    await this.#request.record.save('nowMs' in this.#request.now ? this.#request.now.nowMs : undefined)
  }

  #iso(): string {
    return new Date(this.#deps.clock.nowMs()).toISOString()
  }
}

function inOrder(queue: readonly Queued[]): Queued[] {
  return queue.toSorted((a, b) => b.task.rank - a.task.rank)
}

/** Differs from what it was when events have come in meanwhile. */
function positionsOf(tables: readonly KeptTable[]): string {
  return tables.map(({ position }) => String(position)).join()
}

/** The jobs that a name stands for; all without one. */
export function jobsOf(name: UpkeepJob | undefined): readonly UpkeepJob[] {
  return name === undefined ? upkeepJobs : [name]
}
