import type { ChildTasks } from '../harness/child-task.ts'
import type { DedupeResult, DedupeSpec } from '../harness/dedupe-task.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { median, rounded, sum } from '../harness/statistics.ts'

const ratioGoal = 2
const otherRatioGoal = 1.2
const megabyte = 1e6
const batchEvents = 5000
/** What a batch is made of besides new events: so many of these, in each batch. */
const kinds = { new: { recent: 0, old: 0 }, recent: { recent: 500, old: 0 }, old: { recent: 0, old: 500 } }
type Kind = keyof typeof kinds
/** New ids are numbered from here on, far above those that are stored. */
const newIdsFrom = 1_500_000_000
const otherIdsFrom = 1_000_000_000

interface Target {
  name: 'few' | 'many' | 'other'
  table: string
  day: number
  /** Ids that were stored before. */
  stored: { first: number; count: number }
  recent: number[]
  sentAgain: Set<number>
  loaded: number
  ms: Record<Kind, number[]>
  firstMs: number[]
}

/**
 * What a batch costs where many ids are stored already, against few, in the same partition and in another one of the same table. A
 * batch goes from the bytes of the log until its events are in every query, with repeats of events just sent and of any old ones.
 */
export async function dedupeGrowth(lab: Lab): Promise<Result> {
  const many = lab.quick ? 5_000_000 : 50_000_000
  const few = lab.quick ? 100_000 : 1_000_000
  const rounds = lab.quick ? 9 : 25
  const dir = lab.folder('dedupe')
  await makeTables(lab, dir, many, few)
  const targets: Target[] = [
    targetOf('few', 'few_ids', 0, { first: 0, count: few }),
    targetOf('many', 'many_ids', 0, { first: 0, count: many }),
    targetOf('other', 'many_ids', 1, { first: otherIdsFrom, count: few }),
  ]
  const ids = { next: newIdsFrom }
  // The first start has to read the ids of all data files; the second one finds what the first has remembered.
  const built = await run(lab, dir, targets, ids, 1)
  const memory = await run(lab, dir, targets, ids, rounds, true)
  lab.removeFolder(dir)

  const [base, grown, other] = targets.map(costOf)
  const ratio = grown! / base!
  const otherRatio = other! / base!
  const within = memory.idBytes <= memory.idBytesMax && built.idBytes <= built.idBytesMax
  return {
    name: 'dedupe-growth',
    value: grown!,
    unit: `ms a batch of ${batchEvents.toLocaleString('en-US')}, ${many / 1e6} million ids stored`,
    limit: { name: `the same with ${few / 1e6} million`, value: base! },
    ratio,
    goal: {
      text: `ratio at most ${ratioGoal}, in other partitions ${otherRatioGoal}; memory within the setting`,
      met: ratio <= ratioGoal && otherRatio <= otherRatioGoal && within,
    },
    details: {
      otherPartition: { ms: rounded(other!), ratio: rounded(otherRatio) },
      batchMs: Object.fromEntries(targets.map(({ name, ms }) => [name, mediansOf(ms)])),
      firstBatchMs: Object.fromEntries(targets.map(({ name, firstMs }) => [name, firstMs.map(rounded)])),
      ids: {
        peakMB: rounded(Math.max(memory.idBytes, built.idBytes) / megabyte),
        settingMB: memory.idBytesMax / megabyte,
      },
      processPeakMB: {
        building: rounded(built.residentBytes / megabyte),
        afterRestart: rounded(memory.residentBytes / megabyte),
      },
    },
  }
}

async function makeTables(lab: Lab, dir: string, many: number, few: number): Promise<void> {
  const tasks = start(lab)
  const fileRows = lab.quick ? 500_000 : 1_000_000
  const made = { work: 'make', dir, fileRows } as const
  await tasks.run({ ...made, table: 'few_ids', ranges: [{ day: 0, first: 0, count: few }] })
  const ranges = [
    { day: 0, first: 0, count: many },
    { day: 1, first: otherIdsFrom, count: few },
  ]
  await tasks.run({ ...made, table: 'many_ids', ranges })
  await tasks.stop()
}

function start(lab: Lab): ChildTasks<DedupeSpec, DedupeResult> {
  return lab.startTasks(new URL('../harness/dedupe-task.ts', import.meta.url))
}

/** Loads batches in turns, commits, and checks the rows; in a process of its own. */
async function run(
  lab: Lab,
  dir: string,
  targets: readonly Target[],
  ids: { next: number },
  rounds: number,
  measured = false,
): Promise<DedupeResult> {
  const tasks = start(lab)
  await tasks.run({ work: 'open', dir, tables: ['few_ids', 'many_ids'] })
  for (const one of targets) one.firstMs.push(await load(tasks, one, 'new', ids))
  lab.say(`first batches: ${targets.map(({ name, firstMs }) => `${name} ${rounded(firstMs.at(-1)!)} ms`).join(', ')}`)
  for (const table of ['few_ids', 'many_ids']) await tasks.run({ work: 'settle', table })
  for (let round = 0; round < rounds; round++) {
    for (const kind of Object.keys(kinds) as Kind[]) {
      for (const one of rotated(targets, round)) {
        const ms = await load(tasks, one, kind, ids)
        // The first round reads what the page cache may not have.
        if (measured && round > 0) one.ms[kind].push(ms)
      }
    }
    if (round % 8 === 4) for (const table of ['few_ids', 'many_ids']) await tasks.run({ work: 'flush', table })
  }
  for (const table of ['few_ids', 'many_ids']) {
    await tasks.run({ work: 'flush', table })
    await tasks.run({ work: 'settle', table })
    await check(
      tasks,
      targets.filter((one) => one.table === table),
    )
  }
  const memory = await tasks.run({ work: 'memory' })
  await tasks.stop()
  return memory
}

/** Loads one batch; how long it took, ms. @throws Error when other events were left out than the repeats */
async function load(
  tasks: ChildTasks<DedupeSpec, DedupeResult>,
  target: Target,
  kind: Kind,
  ids: { next: number },
): Promise<number> {
  const { recent, old } = kinds[kind]
  const { first, count } = target.stored
  const again = [
    ...target.recent.slice(0, recent),
    ...Array.from({ length: old }, () => first + Math.floor(Math.random() * count)),
  ]
  const fresh = Array.from({ length: batchEvents - again.length }, () => ids.next++)
  const { ms, found, rows } = await tasks.run({
    work: 'load',
    table: target.table,
    day: target.day,
    ids: [...again, ...fresh],
  })
  if (found !== again.length || rows !== fresh.length) {
    throw new Error(`wrong rows: of ${again.length} repeats ${found} were found, of ${fresh.length} new events ${rows}`)
  }
  target.recent = fresh
  target.loaded += fresh.length
  for (const id of again) target.sentAgain.add(id)
  return ms
}

/** @throws Error when events are missing, or there more than once */
async function check(tasks: ChildTasks<DedupeSpec, DedupeResult>, targets: readonly Target[]): Promise<void> {
  const again = new Set(targets.flatMap(({ sentAgain }) => [...sentAgain]))
  const wanted = sum(targets.map(({ stored, loaded }) => stored.count + loaded))
  const { rows, found } = await tasks.run({ work: 'count', table: targets[0]!.table, ids: [...again] })
  if (rows !== wanted || found !== again.size) {
    throw new Error(`wrong rows: ${rows} for ${wanted}, and ${found} for ${again.size} ids that were sent again`)
  }
}

function targetOf(name: Target['name'], table: string, day: number, stored: Target['stored']): Target {
  const ms = { new: [], recent: [], old: [] }
  return { name, table, day, stored, recent: [], sentAgain: new Set(), loaded: 0, ms, firstMs: [] }
}

function rotated<T>(list: readonly T[], by: number): T[] {
  return [...list.slice(by % list.length), ...list.slice(0, by % list.length)]
}

/** Of a batch of each kind, on average. */
function costOf({ ms }: Target): number {
  return sum(Object.values(ms).map(median)) / Object.keys(kinds).length
}

function mediansOf(ms: Target['ms']): Record<string, number> {
  return Object.fromEntries(Object.entries(ms).map(([kind, samples]) => [kind, rounded(median(samples))]))
}
