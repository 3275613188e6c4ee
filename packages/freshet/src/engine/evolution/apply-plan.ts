/**
 * Brings tables to what the configuration says of them: the one place that evolves tables by their plan.
 *
 * Each table changes in one metadata commit, a compare-and-swap: it is changed whole, or not at all, and data files stay as they are.
 * When another writer was first, or the answer was lost, the table is loaded again and planned again: what is done already is nothing
 * to do, so a commit is never made twice.
 *
 * What a crash leaves: tables before it changed, those after it not. The next start plans anew and goes on with the others; every
 * table fits its own schema at each moment, so queries and loads work in between.
 */
import type { Plan } from '../../config/plan.ts'
import type { Catalog, LoadedTable } from '../../lake/catalog.ts'
import type { TableMetadata } from '../../lake/metadata.ts'
import type { Clock } from '../../runtime/clock.ts'
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import type { Logger } from '../../runtime/logging.ts'
import { checkNotRefused, planChanges } from './plan-changes.ts'
import { planTable, planWithoutStream, type TablePlan } from './plan-table.ts'

export interface EvolutionDeps {
  catalog: Catalog
  clock: Clock
  logger: Logger
}

const attemptsMax = 20

/**
 * Applies the plan of all tables.
 * @throws FreshetError `plan_refused` before anything is changed; whatever keeps a table from being committed
 */
export async function applyPlan(deps: EvolutionDeps, plan: Pick<Plan, 'streams' | 'accept'>): Promise<TablePlan[]> {
  const plans = await planChanges(plan, deps.catalog)
  checkNotRefused(plans)
  const accepted = new Set(plan.accept)
  for (const { table: name, next } of plans) {
    if (next === undefined) continue
    const stream = Object.hasOwn(plan.streams, name) ? plan.streams[name] : undefined
    await evolve(deps, name, (table) =>
      stream === undefined ? planWithoutStream(table, accepted) : planTable(stream, table, accepted),
    )
  }
  return plans
}

/**
 * A stream's table as the plan has it; undefined while there is none. Where the plan is refused, the table stays as it is: the
 * engine asked at its start, so somebody else has changed it since.
 */
export async function evolvedTable(
  deps: EvolutionDeps & { plan: Pick<Plan, 'streams' | 'accept'> },
  name: string,
): Promise<LoadedTable | undefined> {
  const { streams, accept } = deps.plan
  const stream = Object.hasOwn(streams, name) ? streams[name] : undefined
  if (stream === undefined) return deps.catalog.load(name)
  return evolve(deps, name, (table) => planTable(stream, table, new Set(accept)))
}

async function evolve(
  { catalog, clock, logger }: EvolutionDeps,
  name: string,
  planOf: (table: LoadedTable) => TablePlan,
): Promise<LoadedTable | undefined> {
  for (let attempt = 1; ; attempt++) {
    const table = await catalog.load(name)
    if (table === undefined) return undefined
    const { next, changes, refusals } = planOf(table)
    if (refusals.length > 0)
      logger.warn({ table: name, refused: refusals.map(({ reason }) => reason) }, 'the table is not what the plan says')
    if (next === undefined) return table
    try {
      const changed = await catalog.commit(table, stamped(table.metadata, next, clock))
      if (changes.length > 0) logger.info({ table: name, changes: changes.map(({ text }) => text) }, 'table changed')
      return changed
    } catch (error) {
      const isConflict = error instanceof FreshetError && error.code === 'commit_conflict'
      if (!isConflict || attempt === attemptsMax) throw error
      logger.warn({ table: name, attempt, error: messageOf(error) }, 'another writer committed first')
    }
  }
}

/** Never back in time, even when the clock went back. */
function stamped(before: TableMetadata, next: TableMetadata, clock: Clock): TableMetadata {
  return { ...next, 'last-updated-ms': Math.max(clock.nowMs(), before['last-updated-ms']) }
}
