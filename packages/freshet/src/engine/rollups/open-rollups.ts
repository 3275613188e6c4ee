/** Opens the tables of rollups: those of the plan, and those that were made by former ones, which stay as they are. */
import type { Column, Plan, RollupPlan } from '../../config/plan.ts'
import { undeclaredStream } from '../../config/plan.ts'
import type { Catalog } from '../../lake/catalog.ts'
import { planWithoutConfig } from '../evolution/stream-record.ts'
import { StreamTable } from '../stream-table.ts'
import type { StreamTableDeps } from '../stream-table-deps.ts'
import { rollupRecord } from './record.ts'
import { bucketColumn } from './update.ts'

const leading: readonly Column[] = [bucketColumn]

/** Names of the rollups of the plan, and of tables that are a rollup's. A table that cannot be read is none. */
export async function rollupNames(plan: Pick<Plan, 'streams' | 'rollups'>, catalog: Catalog): Promise<Set<string>> {
  const names = new Set(Object.keys(plan.rollups))
  for (const name of await catalog.tables()) {
    if (names.has(name) || Object.hasOwn(plan.streams, name)) continue
    const table = await catalog.load(name).catch(() => undefined)
    if (table !== undefined && rollupRecord(table.metadata) !== undefined) names.add(name)
  }
  return names
}

/** @param rollup undefined for a rollup that the configuration does not have any more */
export async function openRollupTable(
  name: string,
  rollup: RollupPlan | undefined,
  deps: Omit<StreamTableDeps, 'hasLog' | 'leading' | 'onDeadLetters' | 'onOvertaken'>,
): Promise<StreamTable> {
  const stream = rollup
    ? {
        ...undeclaredStream(name),
        partition: { by: 'bucket' as const, ...rollup.partition },
        ...(rollup.retainMs !== undefined && { retainMs: rollup.retainMs }),
      }
    : planWithoutConfig(name, await deps.catalog.load(name))
  return StreamTable.open(stream, {
    ...deps,
    hasLog: false,
    leading,
    onDeadLetters: () => Promise.reject(new Error(`The rollup ${name} has no events`)),
    onOvertaken: () => undefined,
  })
}
