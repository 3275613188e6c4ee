/** What a start with this configuration means for the table of a rollup (`freshet plan`). */
import type { RollupPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema } from '../../lake/metadata.ts'
import { timeColumnOf } from '../../lake/partition.ts'
import type { TablePlan } from '../evolution/plan-table.ts'
import { definitionOf, rollupRecord } from './record.ts'
import { retainedFrom } from './retained-from.ts'

/** @param source the table of what it is made of */
export function planRollup(
  rollup: RollupPlan,
  table: LoadedTable | undefined,
  source: LoadedTable | undefined,
): TablePlan {
  const { name, from } = rollup
  const plan: TablePlan = { table: name, state: 'unchanged', changes: [], refusals: [], notes: [] }
  if (table === undefined) return { ...plan, state: 'new', notes: [`computed from all that ${from} has`] }
  if (timeColumnOf(currentSchema(table.metadata)) !== 'bucket') {
    const reason = `the table ${name} has events of a stream that had this name`
    return { ...plan, state: 'refused', refusals: [{ reason, mend: 'Give the rollup another name.' }] }
  }
  if (rollupRecord(table.metadata)?.definition === definitionOf(rollup)) return plan
  const limit = source && retainedFrom(source.metadata)
  const lost =
    limit === undefined
      ? ''
      : `; what it has of buckets before ${new Date(Number(limit / 1000n)).toISOString()}, whose events ${from} keeps no longer, goes`
  const note = `its definition is another one: all of it is computed anew by the engine, and shows as it was until then${lost}`
  return { ...plan, notes: [note] }
}
