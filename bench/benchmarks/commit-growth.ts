/** Time of a commit of one data file to a table of 10,000 files, against one to a table of 10. */
import { planScan } from '../../packages/freshet/dist/lake/scan.js'
import type { LoadedTable } from '../../packages/freshet/dist/lake/catalog.js'
import { appendDay, firstDay, makeFileTable, openLake } from '../harness/file-table.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { median } from '../harness/statistics.ts'

const ratioMax = 2
const sizes = { small: { files: 10, days: 10 }, large: { files: 10_000, days: 365 } }

export async function commitGrowth(lab: Lab): Promise<Result> {
  const folder = lab.folder('commit-growth')
  const lake = openLake(folder)
  const tables: Record<keyof typeof sizes, LoadedTable> = {
    small: await makeFileTable(lake, 'small', sizes.small),
    large: await makeFileTable(lake, 'large', sizes.large),
  }
  const samples: Record<keyof typeof sizes, number[]> = { small: [], large: [] }
  // More than the number of manifests at which some are merged, so that merging is in the figures.
  const commits = lab.quick ? 120 : 400
  for (let commit = 0; commit < commits; commit++) {
    for (const name of ['small', 'large'] as const) {
      const startedAt = performance.now()
      tables[name] = await appendDay(lake, tables[name], firstDay + sizes[name].days, 1)
      samples[name].push(performance.now() - startedAt)
    }
  }
  for (const name of ['small', 'large'] as const) {
    const { files } = await planScan(lake.store, tables[name])
    const expected = sizes[name].files + commits
    if (files.length !== expected) throw new Error(`the ${name} table has ${files.length} files and not ${expected}`)
  }
  lab.removeFolder(folder)
  const mean = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0) / values.length
  const [small, large] = [median(samples.small), median(samples.large)]
  const means = { small: mean(samples.small), large: mean(samples.large) }
  return {
    name: 'commit-growth',
    value: large,
    unit: 'ms a commit, table of 10,000 files',
    limit: { name: 'the same to a table of 10', value: small },
    ratio: large / small,
    goal: {
      text: `ratio at most ${ratioMax}`,
      met: large / small <= ratioMax && means.large / means.small <= ratioMax,
    },
    details: {
      commits,
      meanMs: means,
      worstMs: { small: Math.max(...samples.small), large: Math.max(...samples.large) },
    },
  }
}
