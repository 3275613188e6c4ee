/** A steady stream of events from many producers, and how soon they are in SQL; idle or with other queries running. */
import { checkRows, untilCommitted } from './committed.ts'
import { distinctEvents } from './corpus.ts'
import type { FreshnessResult, FreshnessSpec } from './freshness-task.ts'
import type { Lab } from './lab.ts'
import type { HammerSpec } from './sql-hammer.ts'
import { rounded } from './statistics.ts'

const eventsPerSecond = 20_000
const producers = 64
/** Each producer sends so many events twelve and a half times a second. */
const shape = { events: 25, overlap: 0 }
const fillShape = { events: 500, overlap: 0 }
const warmUpSeconds = 2
const followEvery = 20

export interface FreshnessRun {
  freshnessMs: FreshnessResult['freshnessMs']
  details: Record<string, unknown>
}

/** @param clients how many clients run heavy SQL meanwhile */
export async function freshnessRun(lab: Lab, clients: number): Promise<FreshnessRun> {
  const seconds = lab.quick ? 8 : 30
  const dataDir = lab.folder('freshness')
  const server = await lab.startWholeServer({ config: 'committing', dataDir })
  const filled = await fill(lab, server.port, lab.quick ? 400 : 2000)
  await untilCommitted(server.sql, filled)

  const prober = lab.startTasks<FreshnessSpec, FreshnessResult>(new URL('./freshness-task.ts', import.meta.url))
  const hammers = Array.from({ length: clients }, () =>
    lab.startTasks<HammerSpec, number>(new URL('./sql-hammer.ts', import.meta.url)),
  )
  const load = {
    port: server.port,
    connections: producers,
    shape,
    first: filled,
    seconds,
    eventsPerSecond,
    producer: 'site',
  }
  const [result, ...queryCounts] = await Promise.all([
    prober.run({ load, warmUpSeconds, followEvery }),
    ...hammers.map((hammer, index) => hammer.run({ port: server.port, seconds, offset: index * 2 })),
  ])
  const rows = filled + result.load.distinct
  await untilCommitted(server.sql, rows)
  await checkRows(server.sql, lab.corpus, rows)
  await lab.close()
  lab.removeFolder(dataDir)
  return {
    freshnessMs: result.freshnessMs,
    details: {
      ...roundedAll(result.freshnessMs),
      samples: result.samples,
      eventsPerSecond: rounded(result.load.distinct / result.load.seconds),
      acknowledgedMs: roundedAll(result.load.latencyMs),
      lowerBoundMs: roundedAll(result.lowerBoundMs),
      pollMs: roundedAll(result.pollMs),
      rowsBefore: filled,
      rows,
      ...(clients === 0 ? {} : { heavyQueries: queryCounts }),
    },
  }
}

/** Posts events as fast as they are taken, so that there is a table to query. @returns how many */
async function fill(lab: Lab, port: number, batches: number): Promise<number> {
  const generator = lab.startGenerator()
  await generator.run({ port, connections: 8, shape: fillShape, first: 0, batches, producer: 'fill' })
  await generator.stop()
  return distinctEvents(batches, fillShape)
}

function roundedAll(figures: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, rounded(value)]))
}
