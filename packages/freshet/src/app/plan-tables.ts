/**
 * `freshet plan`, and the look before a start: what the configuration changes in the tables of a data folder. Read-only and without
 * a lock: also while a server runs on it, and where there is no data folder yet.
 */
import type { Plan } from '../config/plan.ts'
import { checkNotRefused, planChanges } from '../engine/evolution/plan-changes.ts'
import type { TablePlan } from '../engine/evolution/plan-table.ts'
import { FileCatalog } from '../lake/file-catalog/file-catalog.ts'
import { dataFolderAt, readDataFolderFormat } from '../runtime/data-folder.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { silentLogger } from '../runtime/logging.ts'
import { systemRandom } from '../runtime/random.ts'
import { LocalObjectStore } from '../storage/local/local-object-store.ts'

/** What `freshet plan --json` prints. */
export interface PlanReport {
  dataDir: string
  /** False when a change is refused, and so a start would be. */
  ok: boolean
  tables: Omit<TablePlan, 'next'>[]
}

/** @throws FreshetError `data_folder_newer`, `data_folder_unusable` */
export async function planTables(plan: Plan): Promise<PlanReport> {
  const plans = await changesOf(plan)
  const tables = plans.map(({ table, state, changes, refusals, notes }) => ({ table, state, changes, refusals, notes }))
  return { dataDir: plan.dataDir, ok: tables.every(({ state }) => state !== 'refused'), tables }
}

/** The changes that a start is about to make. @throws FreshetError `plan_refused` */
export async function checkedChanges(plan: Plan): Promise<TablePlan[]> {
  const plans = await changesOf(plan)
  checkNotRefused(plans)
  return plans
}

async function changesOf(plan: Plan): Promise<TablePlan[]> {
  await readDataFolderFormat(plan.dataDir, nodeFileSystem)
  const { lakeDir } = dataFolderAt(plan.dataDir)
  const store = new LocalObjectStore({ root: lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
  return planChanges(plan, new FileCatalog({ store, rootLocation: `file://${lakeDir}`, logger: silentLogger }))
}
