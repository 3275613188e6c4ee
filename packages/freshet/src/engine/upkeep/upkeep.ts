/**
 * Keeps the tables up: compaction, manifests, retention, snapshot expiry and orphans (pass.ts), by schedule and when asked. One pass at a time
 * for all streams of the engine; a second one waits. It works on a database of its own, so that it takes no memory from queries and
 * loads, and only its commits take turns with those of the loader. A stop ends it at once: what was not committed is done again later.
 * An erasure holds it back while it works (turns.ts).
 */
import { join } from 'node:path'
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import { TrustedClock } from '../../runtime/trusted-clock.ts'
import { nearest } from '../../config/spelling.ts'
import type { Plan } from '../../config/plan.ts'
import type { Database, DatabaseOptions } from '../duckdb.ts'
import type { KeptTable, TrustedNow } from './job.ts'
import { upkeepJobs, type MaintenanceRow, type UpkeepJob } from './maintenance-row.ts'
import { ownDatabaseLimits } from './own-database.ts'
import { jobsOf, Pass, type PassDeps } from './pass.ts'
import { UpkeepRecord } from './record.ts'
import { UpkeepTurns } from './turns.ts'

export interface UpkeepDeps extends Omit<
  PassDeps,
  'database' | 'targetFileBytes' | 'snapshots' | 'orphanAgeMs' | 'diskFreeBytesMin'
> {
  plan: Plan
  /** Folder of the history. */
  dir: string
  tables: () => Iterable<KeptTable>
  openDatabase: (options: DatabaseOptions) => Promise<Database>
}

/** What is asked of `POST /v1/maintenance`. */
export interface MaintenanceRequest {
  table?: string
  job?: UpkeepJob
  dryRun: boolean
}

/** A pass that was asked for. */
export interface MaintenanceRun {
  run: number
  state: 'waiting' | 'running' | 'done'
  dryRun: boolean
  rows: MaintenanceRow[]
}

/** Requests that wait for the one before them. */
const waitingMax = 4
const runsKept = 20
const orphansEveryMs = 6 * 60 * 60 * 1000
const backOffMsMax = 60 * 60 * 1000
/** What was seen of the clock is saved so often at least. */
const seenEveryMs = 60 * 60 * 1000

export class Upkeep {
  readonly #deps: UpkeepDeps
  readonly #record: UpkeepRecord
  readonly #clock: TrustedClock
  readonly #turns = new UpkeepTurns()
  readonly #stop = new AbortController()
  readonly #runs = new Map<number, MaintenanceRun>()
  /** By table and job: when it is due, by the monotonic clock, and how often it failed in a row. */
  readonly #due = new Map<string, { atMs: number; failures: number }>()
  #database: Promise<Database> | undefined
  #loop: Promise<void> | undefined
  #lastRun = 0
  #waiting = 0
  #savedSeenMs = 0

  static async open(deps: UpkeepDeps): Promise<Upkeep> {
    await deps.fileSystem.makeDir(deps.tmpDir)
    return new Upkeep(deps, await UpkeepRecord.open(deps))
  }

  private constructor(deps: UpkeepDeps, record: UpkeepRecord) {
    this.#deps = deps
    this.#record = record
    this.#clock = new TrustedClock(record.seenMs)
  }

  /** Begins to work by schedule, unless that is turned off. */
  start(): void {
    if (this.#deps.plan.upkeep.enabled) this.#loop = this.#work()
  }

  /** Ends what goes on; a commit that has begun is finished. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('the engine stops'))
    await this.#loop
    await this.#turns.idle()
    await this.#record.save(this.#clock.seenMs)
    const database = await this.#database?.catch(() => undefined)
    database?.close()
  }

  /** Runs `work` while upkeep changes nothing, and has nothing left on disk of what it read before. */
  hold<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.hold(async () => {
      // What its database has spilled goes with it.
      const database = await this.#database?.catch(() => undefined)
      this.#database = undefined
      database?.close()
      return work()
    })
  }

  /** The rows of `freshet.maintenance`. */
  rows(): MaintenanceRow[] {
    const { clock, timers, plan } = this.#deps
    const aheadMs = clock.nowMs() - timers.monotonicMs()
    return this.#record.rows((table, job) => {
      const due = this.#due.get(keyOf(table, job))
      return due === undefined || !plan.upkeep.enabled ? null : new Date(Math.round(due.atMs + aheadMs)).toISOString()
    })
  }

  /**
   * Plans, or begins to do, what is asked. A dry run is answered when it is done; anything else at once, to be followed by `find`.
   * @throws FreshetError `unknown_stream`, `overloaded` when too many wait
   */
  async request({ table, job, dryRun }: MaintenanceRequest): Promise<MaintenanceRun> {
    const chosen = this.#chosen(table)
    if (this.#waiting >= waitingMax) {
      throw new FreshetError('overloaded', `${this.#waiting} runs of upkeep wait already.`, {
        hint: 'Ask again when they are done; `freshet.maintenance` shows what runs.',
      })
    }
    const run: MaintenanceRun = { run: ++this.#lastRun, state: 'waiting', dryRun, rows: [] }
    this.#runs.set(run.run, run)
    for (const old of [...this.#runs.keys()].slice(0, -runsKept)) this.#runs.delete(old)
    const work = async (signal: AbortSignal): Promise<void> => {
      run.state = 'running'
      // Begun anew, it tells again what is skipped.
      run.rows = run.rows.filter(({ state }) => state !== 'skipped')
      await this.#pass(chosen, jobsOf(job), { dryRun, signal, onRow: (row) => run.rows.push(row) })
    }
    this.#waiting++
    const { signal: stop } = this.#stop
    const done = (dryRun ? work(stop) : this.#turns.pass(stop, work))
      .catch((error: unknown) => this.#report(error))
      .finally(() => {
        run.state = 'done'
        this.#waiting--
      })
    if (dryRun) await done
    return run
  }

  /** A run that was asked for a while ago. @throws FreshetError `not_found` */
  find(number: number): MaintenanceRun {
    const run = this.#runs.get(number)
    if (run !== undefined) return run
    throw new FreshetError('not_found', `There is no run ${number} of upkeep.`, {
      hint: `The newest ${runsKept} since the engine started can be asked for; \`freshet.maintenance\` shows what was done.`,
    })
  }

  #chosen(name: string | undefined): KeptTable[] {
    const all = [...this.#deps.tables()]
    if (name === undefined) return all
    const table = all.find(({ stream }) => stream.name === name)
    if (table !== undefined) return [table]
    const near = nearest(
      name,
      all.map(({ stream }) => stream.name),
    )
    throw new FreshetError('unknown_stream', `There is no table ${JSON.stringify(name)}.`, {
      ...(near !== undefined && { hint: `Did you mean "${near}"?` }),
    })
  }

  async #work(): Promise<void> {
    const { timers, random, plan } = this.#deps
    const { signal } = this.#stop
    const { intervalMs } = plan.upkeep
    // Engines that were started together do not work together.
    const about = (ms: number): number => Math.round(ms * (0.9 + random.integer(200) / 1000))
    await timers.sleep(about(intervalMs / 4), signal)
    while (!signal.aborted) {
      const scheduled = { dryRun: false, onRow: () => undefined, onlyDue: true }
      await this.#turns
        .pass(signal, (own) => this.#pass([...this.#deps.tables()], upkeepJobs, { ...scheduled, signal: own }))
        .catch((error: unknown) => this.#report(error))
      await timers.sleep(about(intervalMs), signal)
    }
  }

  async #pass(
    tables: readonly KeptTable[],
    jobs: readonly UpkeepJob[],
    options: { dryRun: boolean; signal: AbortSignal; onRow: (row: MaintenanceRow) => void; onlyDue?: boolean },
  ): Promise<void> {
    const { dryRun, signal, onRow, onlyDue = false } = options
    const { timers, tmpDir } = this.#deps
    const { upkeep, lake, limits } = this.#deps.plan
    if (signal.aborted) return
    const deps: PassDeps = {
      ...this.#deps,
      tmpDir,
      database: () => this.#ownDatabase(),
      targetFileBytes: upkeep.targetFileBytes,
      snapshots: lake.snapshots,
      orphanAgeMs: upkeep.orphanAgeMs,
      diskFreeBytesMin: limits.diskFreeBytesMin,
    }
    const nowMs = timers.monotonicMs()
    const pass = new Pass(deps, {
      tables,
      jobs,
      dryRun,
      onRow,
      now: this.#look(),
      record: this.#record,
      isLeftOut: (table, job) => onlyDue && (this.#due.get(keyOf(table, job))?.atMs ?? 0) > nowMs,
      onJob: (table, job, failed) => this.#noteJob(table, job, failed),
      signal,
    })
    await pass.run()
    if (!dryRun) await this.#record.save(this.#clock.seenMs)
  }

  #look(): TrustedNow {
    const { clock, timers, tables } = this.#deps
    const updated = [...tables()].flatMap(({ table }) => table?.metadata['last-updated-ms'] ?? [])
    const now = this.#clock.look(
      clock.nowMs(),
      timers.monotonicMs(),
      updated.length === 0 ? undefined : Math.max(...updated),
    )
    const { seenMs = 0 } = this.#clock
    if (seenMs - this.#savedSeenMs > seenEveryMs) {
      this.#savedSeenMs = seenMs
      this.#record.touch()
    }
    return now
  }

  /** When a job of a table is looked at again: one that fails waits longer each time. */
  #noteJob(table: string, job: UpkeepJob, failed: boolean): void {
    const { timers, plan } = this.#deps
    const { intervalMs, orphanAgeMs } = plan.upkeep
    const key = keyOf(table, job)
    const failures = failed ? (this.#due.get(key)?.failures ?? 0) + 1 : 0
    // The next pass may come a little early.
    const everyMs = job === 'orphans' ? Math.max(intervalMs, Math.min(orphanAgeMs / 4, orphansEveryMs)) : intervalMs
    const backOffMs = failures === 0 ? 0 : Math.min(backOffMsMax, intervalMs * 2 ** Math.min(failures, 20))
    this.#due.set(key, { atMs: timers.monotonicMs() + Math.max(everyMs * 0.8, backOffMs), failures })
  }

  #ownDatabase(): Promise<Database> {
    const { plan, tmpDir, lakeDir, openDatabase } = this.#deps
    this.#database ??= openDatabase({
      ...ownDatabaseLimits(plan),
      tmpDir,
      lakeDir,
      logDir: join(tmpDir, 'no-log'),
    }).catch((error: unknown) => {
      this.#database = undefined
      throw error
    })
    return this.#database
  }

  #report(error: unknown): void {
    if (!this.#stop.signal.aborted) this.#deps.logger.error({ reason: messageOf(error) }, 'a pass of upkeep failed')
  }
}

function keyOf(table: string, job: UpkeepJob): string {
  return `${table} ${job}`
}
