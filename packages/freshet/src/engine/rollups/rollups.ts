/**
 * The rollups of an engine: which of them have to be brought up to date, and the loop that does so, one after another, each source before
 * what is made of it. A commit that a stream's table shows wakes its rollups; a commit of a rollup wakes those that are made of it.
 *
 * They work on a database of their own, with a memory of its own, so that loads and queries do not wait for them; they only take their turn with upkeep
 * in the commit. One that fails is tried again after a while, and says why (`freshet.rollups`, /v1/status); the others go on.
 *
 * Nothing is remembered here that is not in the tables: at a start, every rollup is looked at once.
 */
import { join } from 'node:path'
import type { Plan, RollupPlan } from '../../config/plan.ts'
import { tableSources, type Sources } from '../../lake/sources.ts'
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { Timers } from '../../runtime/timers.ts'
import type { Database, DatabaseOptions } from '../duckdb.ts'
import { sqlError } from '../query/sql-error.ts'
import type { StreamTable } from '../stream-table.ts'
import { ownDatabaseLimits } from '../upkeep/own-database.ts'
import { rollupStatus, type RollupStatus } from './status.ts'
import { makeTable, updateRollup, type RollupTarget, type UpdateDeps } from './update.ts'

export interface RollupsDeps extends UpdateDeps {
  plan: Plan
  fileSystem: FileSystem
  timers: Timers
  /** A stream's table, or a rollup's. */
  tableOf: (name: string) => StreamTable | undefined
  /** Those of rollups. */
  tables: () => Iterable<StreamTable>
  openDatabase: (options: DatabaseOptions) => Promise<Database>
}

/** One rollup of the plan. */
export interface RollupState {
  readonly plan: RollupPlan
  target: RollupTarget | undefined
  /** Its source may have changed since it was looked at. */
  isDue: boolean
  /** How often it has failed in a row, and when it is tried again by the monotonic clock. */
  failures: number
  retryAtMs: number
  /** Why it does not get on, while it does not. */
  problem: string | undefined
  /** Buckets that were computed since the engine started. */
  buckets: number
}

const retryMsMin = 500
const retryMsMax = 60_000
const pollMs = 20

export class Rollups {
  readonly #deps: RollupsDeps
  /** Each behind its source. */
  readonly #states: readonly RollupState[]
  readonly #stop = new AbortController()
  #database: Promise<Database> | undefined
  #loop: Promise<void> | undefined
  #running: RollupState | undefined
  #wake: (() => void) | undefined

  constructor(deps: RollupsDeps) {
    this.#deps = deps
    this.#states = inOrder(deps.plan.rollups).map((plan) => ({
      plan,
      target: undefined,
      isDue: true,
      failures: 0,
      retryAtMs: 0,
      problem: undefined,
      buckets: 0,
    }))
  }

  /** Those of rollups. */
  tables(): Iterable<StreamTable> {
    return this.#deps.tables()
  }

  /** Makes the tables that are not there yet. Where that is not possible, the loop says why. */
  async prepare(): Promise<void> {
    for (const { plan } of this.#states) {
      if (this.#deps.tableOf(plan.name)?.table !== undefined) continue
      try {
        const database = await this.#ownDatabase()
        await database.with((connection) => makeTable(connection, this.#targetOf(plan)))
      } catch (error) {
        this.#deps.logger.debug({ rollup: plan.name, error: messageOf(error) }, 'rollup has no table yet')
      }
    }
  }

  start(): void {
    if (this.#states.length > 0) this.#loop = this.#run()
  }

  /** Ends what goes on; a commit that has begun is finished. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('the engine stops'))
    this.#wake?.()
    await this.#loop
    const database = await this.#database?.catch(() => undefined)
    database?.close()
  }

  /** The table of a stream, or of a rollup, shows another commit. */
  onShown(name: string): void {
    for (const state of this.#states) if (state.plan.from === name) state.isDue = true
    this.#wake?.()
  }

  /** The tables of all that is made of a stream, directly or not, in the order in which they follow on each other. */
  madeOf(stream: string): StreamTable[] {
    return this.#downstream(stream).flatMap(({ plan }) => this.#deps.tableOf(plan.name) ?? [])
  }

  /** What each source of a rollup's stream had reported of what is in the rollup, and which stream that is. */
  reported(): { name: string; of: string; sources: Sources }[] {
    const roots = new Map<string, string>()
    return this.#states.flatMap(({ plan: { name, from } }) => {
      const of = roots.get(from) ?? from
      roots.set(name, of)
      const metadata = this.#deps.tableOf(name)?.table?.metadata
      return metadata === undefined ? [] : [{ name, of, sources: tableSources(metadata) }]
    })
  }

  /** Of all rollups that have a table, those of former configurations too. */
  async status(
    completeThrough: (names: ReadonlySet<string>) => Promise<ReadonlyMap<string, number>>,
  ): Promise<RollupStatus[]> {
    const tables = [...this.#deps.tables()]
    const names = new Set(tables.map(({ stream }) => stream.name))
    // Left out while the site registry cannot be read; the gateway says why.
    const through = await completeThrough(names).catch(() => new Map<string, number>())
    return tables.map((table) => {
      const { name } = table.stream
      const state = this.#states.find(({ plan }) => plan.name === name)
      return rollupStatus({
        plan: state?.plan,
        table,
        source: state && this.#deps.tableOf(state.plan.from),
        problem: state?.problem,
        nowMs: this.#deps.clock.nowMs(),
        completeThroughMs: through.get(name),
      })
    })
  }

  /**
   * Resolves when all that is made of a stream stands for what its table has been since before the call.
   * @throws FreshetError that says which does not get on, and why; the reason of `signal` when it is aborted
   */
  async settle(stream: string, signal: AbortSignal): Promise<void> {
    const states = this.#downstream(stream)
    for (const state of states) {
      state.isDue = true
      state.retryAtMs = 0
      state.problem = undefined
    }
    this.#wake?.()
    while (states.some((state) => state.isDue || state === this.#running)) {
      signal.throwIfAborted()
      const stuck = states.find(({ problem }) => problem !== undefined)
      if (stuck !== undefined) {
        throw new FreshetError('rollup_behind', `The rollup ${stuck.plan.name} does not get on: ${stuck.problem}`, {
          hint: 'It holds aggregates of events that are gone from its source until then. Mend its SQL, or take it out of the configuration and drop its table.',
        })
      }
      await this.#deps.timers.sleep(pollMs, signal)
    }
  }

  #downstream(stream: string): RollupState[] {
    const names = new Set([stream])
    return this.#states.filter(({ plan }) => names.has(plan.from) && names.add(plan.name))
  }

  async #run(): Promise<void> {
    const { timers } = this.#deps
    const { signal } = this.#stop
    while (!signal.aborted) {
      const nowMs = timers.monotonicMs()
      const due = this.#states.filter(({ isDue }) => isDue)
      const next = due.find(({ retryAtMs }) => retryAtMs <= nowMs)
      if (next === undefined) {
        const { promise, resolve } = Promise.withResolvers<void>()
        this.#wake = resolve
        const atMs = Math.min(...due.map(({ retryAtMs }) => retryAtMs))
        const cancel = due.length === 0 ? () => undefined : timers.after(atMs - nowMs, resolve)
        await promise
        cancel()
        continue
      }
      this.#running = next
      await this.#update(next)
      this.#running = undefined
    }
  }

  async #update(state: RollupState): Promise<void> {
    const { timers, logger } = this.#deps
    const { signal } = this.#stop
    state.isDue = false
    try {
      const target = (state.target ??= this.#targetOf(state.plan))
      const database = await this.#ownDatabase()
      const result = await database.with(async (connection) => {
        const interrupt = (): void => connection.interrupt()
        signal.addEventListener('abort', interrupt)
        try {
          return await updateRollup(connection, this.#deps, target)
        } finally {
          signal.removeEventListener('abort', interrupt)
        }
      })
      state.buckets += result?.buckets ?? 0
      state.failures = 0
      state.retryAtMs = 0
      state.problem = undefined
    } catch (error) {
      state.isDue = true
      if (signal.aborted) return
      const { message, hint } = sqlError(error, state.plan.sql)
      const problem = hint === undefined ? message : `${message.replace(/\.$/, '')}. ${hint}`
      state.retryAtMs = timers.monotonicMs() + Math.min(retryMsMax, retryMsMin * 2 ** Math.min(state.failures++, 20))
      if (state.problem !== problem) logger.error({ rollup: state.plan.name, error: problem }, 'rollup is stuck')
      state.problem = problem
    }
  }

  #targetOf(plan: RollupPlan): RollupTarget {
    const find = (name: string): StreamTable => {
      const table = this.#deps.tableOf(name)
      if (table !== undefined) return table
      throw new FreshetError('corrupt_table', `The table of ${name} could not be opened when the engine started.`, {
        hint: 'The engine says why in its log at the start.',
      })
    }
    return { plan, source: find(plan.from), target: find(plan.name) }
  }

  #ownDatabase(): Promise<Database> {
    const { plan, tmpDir, lakeDir, fileSystem, openDatabase } = this.#deps
    const open = async (): Promise<Database> => {
      await fileSystem.makeDir(tmpDir)
      return openDatabase({ ...ownDatabaseLimits(plan), tmpDir, lakeDir, logDir: join(tmpDir, 'no-log') })
    }
    this.#database ??= open().catch((error: unknown) => {
      this.#database = undefined
      throw error
    })
    return this.#database
  }
}

/** Each rollup behind its source; the configuration has no circles. */
function inOrder(rollups: Readonly<Record<string, RollupPlan>>): RollupPlan[] {
  const ordered = new Set<RollupPlan>()
  const visit = (plan: RollupPlan): void => {
    const source = Object.hasOwn(rollups, plan.from) ? rollups[plan.from] : undefined
    if (source !== undefined) visit(source)
    ordered.add(plan)
  }
  for (const plan of Object.values(rollups)) visit(plan)
  return [...ordered]
}
