import type { LoadedTable } from '../../packages/freshet/dist/lake/catalog.js'
import { readManifest, type ManifestFile } from '../../packages/freshet/dist/lake/manifest.js'
import { currentManifests } from '../../packages/freshet/dist/lake/next-snapshot.js'
import { rewriteManifests } from '../../packages/freshet/dist/lake/rewrite-manifests.js'
import { keyOf } from '../../packages/freshet/dist/lake/table-paths.js'
import { firstDay, makeScatteredTable, openLake, type FileLake } from '../harness/file-table.ts'
import type { Lab } from '../harness/lab.ts'
import type { PlanResult, PlanSpec } from '../harness/plan-task.ts'
import type { Result } from '../harness/result.ts'
import { median, rounded } from '../harness/statistics.ts'

const goalMs = 50
const name = 'events'
const shape = { filesPerDay: 100, days: 100 }
const files = shape.filesPerDay * shape.days
/** Apart from the days asked before, as far as there are others: no factor of the number of days. */
const dayStep = 37
/** Days that each process plans with nothing kept of the table, after its first. */
const daysWarm = 12
/** The first few still compile. */
const daysLeftOut = 4

/** What of the table is of one day. */
interface DayFiles {
  paths: Set<string>
  /** Keys of the manifests that have files of that day. */
  manifests: Set<string>
}

/** One process. */
interface Round {
  openMs: number
  /** Its first plan. */
  first: PlanResult
  /** Later ones, with nothing kept of the table. */
  days: PlanResult[]
  all: PlanResult[]
  /** With the plan of the whole table, as an engine has it: the first for a day, and the second. */
  open: PlanResult
  again: PlanResult
}

/**
 * Planning a query over one day of a table of 10,000 files, 100 days of 100 files, which were committed in the worst order and then had their
 * manifests regrouped. Each round is a fresh process; of one that has compiled its code, as an engine has that read the table when it
 * started, the plans are judged that have nothing kept of the table.
 * @throws Error when it chooses other files than that day's, or reads manifests that have none of them
 */
export async function planGrowth(lab: Lab): Promise<Result> {
  const folder = lab.folder('plan-growth')
  const lake = openLake(folder)
  const scattered = await makeScatteredTable(lake, name, shape)
  const before = await currentManifests({ store: lake.store, table: scattered })
  const startedAt = performance.now()
  const { table, snapshot } = await rewriteManifests(lake, scattered)
  const regroupMs = performance.now() - startedAt
  if (snapshot === undefined) throw new Error('the manifests were not regrouped')
  const manifests = await currentManifests({ store: lake.store, table })
  const days = await filesByDay(lake, table, manifests)
  lab.say(`regrouped ${before.length} manifests to ${manifests.length} in ${rounded(regroupMs)} ms`)

  const rounds: Round[] = []
  const count = lab.quick ? 3 : 9
  for (let round = 0; round < count; round++) rounds.push(await planInFreshProcess(lab, folder, round * dayStep, days))
  lab.removeFolder(folder)
  const ms = (pick: (round: Round) => PlanResult[]): number => median(rounds.flatMap(pick).map((plan) => plan.ms))
  const [value, limit] = [ms((round) => round.days), ms((round) => round.all)]
  const [{ first }] = rounds as [Round]
  return {
    name: 'plan-growth',
    value,
    unit: 'ms to plan one day of 10,000 files, nothing cached',
    limit: { name: 'planning all 10,000 files', value: limit },
    ratio: value / limit,
    goal: { text: `at most ${goalMs} ms, reading manifests of that day alone`, met: value <= goalMs },
    details: {
      worstMs: rounded(Math.max(...rounds.flatMap((round) => round.days.map((plan) => plan.ms)))),
      firstOfProcessMs: rounds.map((round) => rounded(round.first.ms)),
      withOpenTableMs: { first: rounded(ms((round) => [round.open])), again: rounded(ms((round) => [round.again])) },
      readMetadataMs: rounded(median(rounds.map(({ openMs }) => openMs))),
      manifests: { read: manifestsIn(first, days).length, of: manifests.length, beforeRegrouping: before.length },
      filesChosen: first.paths.length,
      objectsRead: first.reads.length,
      kilobytesRead: rounded(first.readBytes / 1000),
      regroupMs: rounded(regroupMs),
    },
  }
}

async function planInFreshProcess(lab: Lab, folder: string, start: number, days: readonly DayFiles[]): Promise<Round> {
  const known = new Set(days.flatMap(({ manifests }) => [...manifests]))
  const process = lab.startTasks<PlanSpec, PlanResult>(new URL('../harness/plan-task.ts', import.meta.url))
  const plan = async (turn: number, cached: boolean): Promise<PlanResult> => {
    const index = (start + turn * dayStep) % shape.days
    const planned = await process.run({ work: 'plan', day: firstDay + index, cached })
    check(planned, days[index]!, known)
    return planned
  }
  const { ms: openMs } = await process.run({ work: 'open', folder, table: name })
  const first = await plan(0, false)
  const planned: PlanResult[] = []
  const all: PlanResult[] = []
  for (let turn = 1; turn <= daysWarm; turn++) {
    planned.push(await plan(turn, false))
    all.push(await process.run({ work: 'plan', day: null, cached: false }))
  }
  for (const { paths } of all) {
    if (paths.length !== files || new Set(paths).size !== files)
      throw new Error(`wrong rows: ${paths.length} files were planned for ${files}`)
  }
  const open = await plan(0, true)
  const again = await plan(0, true)
  await process.stop()
  return { openMs, first, days: planned.slice(daysLeftOut), all: all.slice(daysLeftOut), open, again }
}

/** @throws Error when a plan has other files than those of its day, or read manifests of other days */
function check(plan: PlanResult, expected: DayFiles, known: ReadonlySet<string>): void {
  const paths = new Set(plan.paths)
  if (
    plan.paths.length !== paths.size ||
    paths.size !== expected.paths.size ||
    plan.paths.some((path) => !expected.paths.has(path))
  )
    throw new Error(`wrong rows: ${plan.paths.length} files were chosen for ${expected.paths.size}`)
  const others = plan.reads.filter((key) => known.has(key) && !expected.manifests.has(key))
  if (others.length > 0)
    throw new Error(`${others.length} manifests were read that have no file of that day: ${others.join(', ')}`)
}

function manifestsIn({ reads }: PlanResult, days: readonly DayFiles[]): string[] {
  const known = new Set(days.flatMap(({ manifests }) => [...manifests]))
  return [...new Set(reads)].filter((key) => known.has(key))
}

/** Looks into every manifest, and at what each file is, not at what the manifest list says of it. */
async function filesByDay(
  { store }: FileLake,
  table: LoadedTable,
  manifests: readonly ManifestFile[],
): Promise<DayFiles[]> {
  const days = Array.from({ length: shape.days }, (): DayFiles => ({ paths: new Set(), manifests: new Set() }))
  for (const manifest of manifests) {
    const key = keyOf(table, manifest.path)
    for (const { file } of await readManifest(store, key, manifest)) {
      const day = days[Number(file.partition['_event_time_day']) - firstDay]!
      day.paths.add(file.path)
      day.manifests.add(key)
    }
  }
  return days
}
