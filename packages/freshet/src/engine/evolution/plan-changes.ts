/** The plan of all tables: what a start with this configuration changes, and what it refuses. */
import type { Plan } from '../../config/plan.ts'
import { letteredStream } from '../../events/dead-letter.ts'
import type { Catalog, LoadedTable } from '../../lake/catalog.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { planRollup } from '../rollups/plan-rollup.ts'
import { planTable, planWithoutStream, type TablePlan } from './plan-table.ts'

/** The plans of all declared streams, in their order, of rollups, and of the other tables behind them. Reads only the catalog, and takes no lock. */
export async function planChanges(
  plan: Pick<Plan, 'streams' | 'accept'> & Partial<Pick<Plan, 'rollups'>>,
  catalog: Pick<Catalog, 'tables' | 'load'>,
): Promise<TablePlan[]> {
  const accepted = new Set(plan.accept)
  const plans: TablePlan[] = []
  for (const stream of Object.values(plan.streams)) {
    plans.push(await readable(stream.name, catalog, (table) => planTable(stream, table, accepted)))
  }
  const rollups = plan.rollups ?? {}
  for (const rollup of Object.values(rollups)) {
    const source = await catalog.load(rollup.from).catch(() => undefined)
    plans.push(await readable(rollup.name, catalog, (table) => planRollup(rollup, table, source)))
  }
  for (const name of await catalog.tables()) {
    const isPlanned = Object.hasOwn(plan.streams, name) || Object.hasOwn(rollups, name)
    if (isPlanned || letteredStream(name) !== undefined) continue
    plans.push(
      await readable(name, catalog, (table) =>
        table === undefined ? unchanged(name, 'undeclared') : planWithoutStream(table, accepted),
      ),
    )
  }
  return plans
}

/** A table that is damaged, or that another engine made unreadable, must not keep the others from being planned. */
async function readable(
  name: string,
  catalog: Pick<Catalog, 'load'>,
  planOf: (table: LoadedTable | undefined) => TablePlan,
): Promise<TablePlan> {
  try {
    return planOf(await catalog.load(name))
  } catch (error) {
    if (!(error instanceof FreshetError && (error.code === 'corrupt_table' || error.code === 'unsupported_table')))
      throw error
    return { ...unchanged(name, 'unreadable'), notes: [error.message] }
  }
}

function unchanged(table: string, state: TablePlan['state']): TablePlan {
  return { table, state, changes: [], refusals: [], notes: [] }
}

/** @throws FreshetError `plan_refused` that names every refusal, and how to mend it */
export function checkNotRefused(plans: readonly TablePlan[]): void {
  const refused = plans.filter(({ state }) => state === 'refused')
  if (refused.length === 0) return
  const lines = refused.flatMap(({ table, refusals }) =>
    refusals.flatMap(({ reason, mend, accept }) => [
      `  ${table}: ${reason}`,
      `    ${mend}${accept === undefined ? '' : ` (--accept ${accept})`}`,
    ]),
  )
  const count = refused.length === 1 ? 'a table' : `${refused.length} tables`
  throw new FreshetError(
    'plan_refused',
    `The configuration asks for changes of ${count} that are refused:\n${lines.join('\n')}`,
    {
      hint: 'Nothing was changed. `freshet plan` shows all changes.',
      extra: { tables: refused.map(({ table, refusals }) => ({ table, refusals })) },
    },
  )
}
