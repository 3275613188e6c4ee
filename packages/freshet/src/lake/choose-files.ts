/**
 * Scan planning with conditions (prune.ts): first the manifests whose partitions may hold such rows, then, in those alone, the files whose
 * partitions and column bounds may. The cost follows what is chosen, not what the table has.
 */
import { FreshetError } from '../runtime/errors.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import type { ManifestFile } from './manifest.ts'
import { columnKey, ManifestColumns, type FileColumns } from './manifest-columns.ts'
import type { Snapshot } from './metadata.ts'
import type { PartitionSpec } from './partition.ts'
import { mayHoldManifest, mayMeet, partitionRangeOf, type Predicate } from './prune.ts'
import { planScan, type ScanFile, type ScanPlan } from './scan.ts'

/**
 * What rows have to meet to be wanted: all predicates of one of the alternatives. Without alternatives none is wanted; an
 * alternative without predicates wants all.
 */
export type Wanted = readonly (readonly Predicate[])[]

export interface ChosenFiles {
  files: readonly ScanFile[]
  /** Data files of the snapshot; their bytes, where they are known. */
  filesTotal: number
  bytesTotal: number | undefined
  /** Manifests that were looked into, of the snapshot's manifests of data files. */
  manifestsRead: number
  manifestsTotal: number
}

/** Chooses among the files of a plan, which has at least those of the manifests that may hold wanted rows. */
export async function chooseFiles(
  columns: ManifestColumns,
  table: LoadedTable,
  plan: ScanPlan,
  wanted: Wanted,
): Promise<ChosenFiles> {
  const { list } = plan
  const totals = totalsOf(plan)
  if (wantsAll(wanted)) {
    return { files: plan.files, ...totals, manifestsRead: list.length }
  }
  const files: ScanFile[] = []
  const predicates = wanted.flat()
  const manifests = list.filter((manifest) => mayHold(table, manifest, wanted))
  for (const manifest of manifests) {
    const own = plan.manifests.get(manifest.path) ?? []
    const paths = await pathsIn(columns, table, manifest, predicates, wanted)
    for (const file of own) if (paths === undefined || paths.has(file.path)) files.push(file)
  }
  return { files, ...totals, manifestsRead: manifests.length }
}

/** Plans the scan of a snapshot for wanted rows; of its manifests, only those are read that may hold some. */
export async function planFiles(
  store: ObjectStore,
  columns: ManifestColumns,
  table: LoadedTable,
  request: { snapshot?: Snapshot; previous?: ScanPlan; wanted: Wanted },
): Promise<ChosenFiles> {
  const { wanted, ...options } = request
  const predicates = wanted.flat()
  const plan = await planScan(store, table, {
    ...options,
    only: (manifest) => mayHold(table, manifest, wanted),
    // So that no manifest is read again for its columns.
    ...(!wantsAll(wanted) && { onRead: (manifest, entries) => void columns.learn(manifest, entries, predicates) }),
  })
  return chooseFiles(columns, table, plan, wanted)
}

function wantsAll(wanted: Wanted): boolean {
  return wanted.some((predicates) => predicates.length === 0)
}

function mayHold(table: LoadedTable, manifest: ManifestFile, wanted: Wanted): boolean {
  const spec = specOf(table, manifest)
  return wanted.some((predicates) => mayHoldManifest(manifest, spec, predicates))
}

function specOf({ metadata }: LoadedTable, { specId }: ManifestFile): PartitionSpec | undefined {
  return metadata['partition-specs'].find((spec) => spec['spec-id'] === specId)
}

/** Paths of the files in a manifest that may hold wanted rows; undefined when the manifest cannot be read, which concerns no reader of files. */
async function pathsIn(
  columns: ManifestColumns,
  table: LoadedTable,
  manifest: ManifestFile,
  predicates: readonly Predicate[],
  wanted: Wanted,
): Promise<Set<string> | undefined> {
  const spec = specOf(table, manifest)
  const meets = (file: FileColumns, predicate: Predicate): boolean => {
    const partition = spec && partitionRangeOf(file.partition, spec, predicate)
    if (partition !== undefined && !mayMeet(predicate, partition)) return false
    const range = file.ranges.get(columnKey(predicate))
    return range === undefined || mayMeet(predicate, range)
  }
  try {
    const files = await columns.filesOf(table, manifest, predicates)
    const chosen = files.filter((file) => wanted.some((all) => all.every((predicate) => meets(file, predicate))))
    return new Set(chosen.map(({ path }) => path))
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'corrupt_table') return undefined
    throw error
  }
}

type Totals = Pick<ChosenFiles, 'filesTotal' | 'bytesTotal' | 'manifestsTotal'>

const totalsOfPlans = new WeakMap<ScanPlan, Totals>()

function totalsOf(plan: ScanPlan): Totals {
  const known = totalsOfPlans.get(plan)
  if (known) return known
  const { list, manifests, files } = plan
  const isPart = manifests.size < list.length
  const found = {
    filesTotal: isPart ? list.reduce((sum, row) => sum + row.addedFiles + row.existingFiles, 0) : files.length,
    bytesTotal: isPart ? undefined : files.reduce((sum, { bytes }) => sum + bytes, 0),
    manifestsTotal: list.length,
  }
  totalsOfPlans.set(plan, found)
  return found
}
