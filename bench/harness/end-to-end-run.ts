/** Posting a few million events until all are committed: the run that three benchmarks look at, made once. */
import { checkRows, untilCommitted } from './committed.ts'
import { copyLimitName, CopyLimit } from './copy-limit.ts'
import { distinctEvents } from './corpus.ts'
import type { Lab } from './lab.ts'
import type { LoadResult } from './load-run.ts'
import { hasProc, peakResidentBytes } from './process-tree.ts'
import { median, rounded } from './statistics.ts'

export interface Peaks {
  gateway: number
  engine: number
}

export interface EndToEndRun {
  events: number
  /** Rows in the table: different events. */
  rows: number
  /** From the first request until everything was committed. */
  seconds: number
  load: LoadResult
  limit: { name: string; value: number }
  limits: number[]
  /** Peak resident size, bytes, when `earlyRows` rows were visible and at the end; null where there is no /proc. */
  peaks: { earlyRows: number; early: Peaks; late: Peaks } | null
  /** The data folder, whose table holds `rows` rows; no server is running on it. */
  dataDir: string
}

/** One event in a hundred is a repeat in another batch. */
const shape = { events: 500, overlap: 5 }
const connections = 16

let cached: Promise<EndToEndRun> | undefined

/** The run of this process; it is made when first asked for. */
export function endToEndRun(lab: Lab): Promise<EndToEndRun> {
  return (cached ??= run(lab))
}

async function run(lab: Lab): Promise<EndToEndRun> {
  const batches = lab.quick ? 2000 : 10_000
  const earlyRows = lab.quick ? 200_000 : 1_000_000
  const events = batches * shape.events
  const rows = distinctEvents(batches, shape)
  const copy = await CopyLimit.prepare(lab, batches, shape)
  const limits = [await copy.measure()]

  const dataDir = lab.folder('end-to-end')
  const server = await lab.startWholeServer({ config: 'committing', dataDir })
  const generator = lab.startGenerator()
  const pids = await server.sql.pids()
  let early: Peaks | undefined
  lab.say(`posting ${events.toLocaleString('en-US')} events`)
  const startedAt = performance.now()
  const [load] = await Promise.all([
    generator.run({ port: server.port, connections, shape, first: 0, batches, producer: 'bench' }),
    untilCommitted(server.sql, rows, (visible) => {
      if (visible >= earlyRows) early ??= readPeaks(pids)
    }),
  ])
  const seconds = (performance.now() - startedAt) / 1000
  const late = readPeaks(pids)
  const pidsAfter = await server.sql.pids()
  for (const role of ['gateway', 'engine']) {
    if (pids.get(role) !== pidsAfter.get(role)) throw new Error(`the ${role} was started again during the run`)
  }
  await checkRows(server.sql, lab.corpus, rows)
  await lab.close()
  limits.push(await copy.measure())
  copy.remove()
  lab.say(`all committed after ${rounded(seconds)} s`)
  return {
    events,
    rows,
    seconds,
    load,
    limit: { name: copyLimitName, value: median(limits) },
    limits,
    peaks: early === undefined || late === undefined ? null : { earlyRows, early, late },
    dataDir,
  }
}

function readPeaks(pids: ReadonlyMap<string, number>): Peaks | undefined {
  if (!hasProc()) return undefined
  return { gateway: peakResidentBytes(pids.get('gateway') ?? 0), engine: peakResidentBytes(pids.get('engine') ?? 0) }
}
