/** Planning a query in a process of its own, that has nothing in its caches. */
import { ManifestColumns } from '../../packages/freshet/dist/lake/manifest-columns.js'
import { planFiles, type ChosenFiles, type Wanted } from '../../packages/freshet/dist/lake/choose-files.js'
import { currentSchema } from '../../packages/freshet/dist/lake/metadata.js'
import { planScan, type ScanPlan } from '../../packages/freshet/dist/lake/scan.js'
import type { LoadedTable } from '../../packages/freshet/dist/lake/catalog.js'
import { serveTasks } from './child-task.ts'
import { dayMicros, openLake, type FileLake } from './file-table.ts'

export type PlanSpec =
  /** Opens the lake, and reads the metadata of a table. */
  | { work: 'open'; folder: string; table: string }
  /**
   * Plans a query over one day, or over all of them. With `cached` it has the plan of the whole snapshot and what it kept of manifests, as
   * an engine that has the table open.
   */
  | { work: 'plan'; day: number | null; cached: boolean }

export interface PlanResult {
  ms: number
  paths: string[]
  /** Keys of what was read from the object store. */
  reads: string[]
  readBytes: number
  filesTotal: number
  manifestsTotal: number
}

interface Opened {
  lake: FileLake
  table: LoadedTable
  whole?: ScanPlan
  columns: ManifestColumns
}

let opened: Opened | undefined

async function work(spec: PlanSpec): Promise<PlanResult> {
  if (spec.work === 'open') {
    const lake = openLake(spec.folder)
    const startedAt = performance.now()
    const table = await lake.catalog.load(spec.table)
    const ms = performance.now() - startedAt
    if (table === undefined) throw new Error(`there is no table ${spec.table}`)
    opened = { lake, table, columns: new ManifestColumns(lake.store) }
    const { reads, readBytes } = lake.store.take()
    return { ms, paths: [], reads, readBytes, filesTotal: 0, manifestsTotal: 0 }
  }
  const { lake, table, columns } = opened!
  if (spec.cached) opened!.whole ??= await planScan(lake.store, table)
  const previous = spec.cached ? opened!.whole : undefined
  const wanted = spec.day === null ? [[]] : wantedOf(table, spec.day)
  lake.store.take()
  const startedAt = performance.now()
  const chosen: ChosenFiles = await planFiles(
    lake.store,
    spec.cached ? columns : new ManifestColumns(lake.store),
    table,
    { wanted, ...(previous && { previous }) },
  )
  const ms = performance.now() - startedAt
  const { reads, readBytes } = lake.store.take()
  const { filesTotal, manifestsTotal } = chosen
  return { ms, paths: chosen.files.map(({ path }) => path), reads, readBytes, filesTotal, manifestsTotal }
}

/** `_event_time >= <day> AND _event_time < <next day>`. */
function wantedOf(table: LoadedTable, day: number): Wanted {
  const field = currentSchema(table.metadata).fields.find(({ name }) => name === '_event_time')!
  const column = { fieldId: field.id, type: 'timestamptz' }
  const from = BigInt(day) * dayMicros
  return [
    [
      { ...column, test: '>=', values: [from] },
      { ...column, test: '<', values: [from + dayMicros] },
    ],
  ]
}

serveTasks(work)
