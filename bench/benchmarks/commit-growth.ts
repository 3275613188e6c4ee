import { planScan } from '../../packages/freshet/dist/lake/scan.js'
import type { LoadedTable } from '../../packages/freshet/dist/lake/catalog.js'
import { appendDay, firstDay, makeFileTable, openLake, type FileLake } from '../harness/file-table.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { mean, median, rounded } from '../harness/statistics.ts'

const ratioMax = 2
const sizes = { small: { files: 10, days: 10 }, large: { files: 10_000, days: 365 } }
type Size = keyof typeof sizes
/** A commit that reads more objects than this has merged manifests; one that removes more has tidied up after a merge. */
const fewObjects = 20
const worstShown = 3

/** One commit, and what it asked of the object store. */
interface Sample {
  ms: number
  reads: number
  deletes: number
}

/**
 * Time of a commit of one data file to a table of 10,000 files, against one to a table of 10. So many commits that manifests are merged
 * several times, and what was merged is removed again, with the snapshots that had it.
 */
export async function commitGrowth(lab: Lab): Promise<Result> {
  const folder = lab.folder('commit-growth')
  const lake = openLake(folder)
  const tables: Record<Size, LoadedTable> = {
    small: await makeFileTable(lake, 'small', sizes.small),
    large: await makeFileTable(lake, 'large', sizes.large),
  }
  const samples: Record<Size, Sample[]> = { small: [], large: [] }
  const commits = lab.quick ? 120 : 400
  for (let commit = 0; commit < commits; commit++) {
    for (const name of commit % 2 === 0 ? (['small', 'large'] as const) : (['large', 'small'] as const)) {
      lake.store.take()
      const startedAt = performance.now()
      tables[name] = await appendDay(lake, tables[name], firstDay + sizes[name].days, 1)
      const ms = performance.now() - startedAt
      const { reads, deletes } = lake.store.take()
      samples[name].push({ ms, reads: reads.length, deletes: deletes.length })
    }
  }
  for (const name of ['small', 'large'] as const) await check(lake, tables[name], sizes[name].files + commits)
  lab.removeFolder(folder)
  const [small, large] = [figuresOf(samples.small), figuresOf(samples.large)]
  const ratio = large.medianMs / small.medianMs
  const meanRatio = large.meanMs / small.meanMs
  return {
    name: 'commit-growth',
    value: large.medianMs,
    unit: 'ms a commit, table of 10,000 files',
    limit: { name: 'the same to a table of 10', value: small.medianMs },
    ratio,
    goal: {
      text: `ratio at most ${ratioMax}, of the medians and of the means`,
      met: ratio <= ratioMax && meanRatio <= ratioMax,
    },
    details: { commits, meanRatio: rounded(meanRatio), small: shown(small), large: shown(large) },
  }
}

/** @throws Error when the table has not as many files as were committed */
async function check({ store }: FileLake, table: LoadedTable, expected: number): Promise<void> {
  const { files } = await planScan(store, table)
  const distinct = new Set(files.map(({ path }) => path)).size
  if (files.length !== expected || distinct !== expected)
    throw new Error(`wrong rows: ${table.name} has ${files.length} files, ${distinct} different ones, for ${expected}`)
}

interface Figures {
  medianMs: number
  meanMs: number
  merging: Sample[]
  worst: Sample[]
}

function figuresOf(samples: readonly Sample[]): Figures {
  const ms = samples.map((sample) => sample.ms)
  return {
    medianMs: median(ms),
    meanMs: mean(ms),
    merging: samples.filter(({ reads }) => reads > fewObjects),
    worst: samples.toSorted((a, b) => b.ms - a.ms).slice(0, worstShown),
  }
}

function shown({ medianMs, meanMs, merging, worst }: Figures): Record<string, unknown> {
  return {
    medianMs: rounded(medianMs),
    meanMs: rounded(meanMs),
    merging: {
      commits: merging.length,
      medianMs: merging.length === 0 ? null : rounded(median(merging.map(({ ms }) => ms))),
    },
    worst: worst.map((sample) => ({ ...sample, ms: rounded(sample.ms) })),
  }
}
