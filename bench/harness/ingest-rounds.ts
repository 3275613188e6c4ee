/** The gateway alone against a limit server, in turns, by the same generator. */
import { checkRows, untilCommitted } from './committed.ts'
import type { BatchShape } from './corpus.ts'
import { untilAnswering, type Lab } from './lab.ts'
import type { LimitServerSpec } from './limit-server.ts'
import type { LoadResult } from './load-run.ts'
import { cpuSeconds, hasProc } from './process-tree.ts'
import { median, rounded, sum } from './statistics.ts'

export interface IngestSpec {
  limit: LimitServerSpec['work']
  connections: number
  shape: BatchShape
  rounds: number
  secondsPerRound: number
}

interface Round extends LoadResult {
  serverCpuSeconds: number
}

export interface IngestRates {
  /** Acknowledged requests a second, the median of all rounds. */
  gateway: number
  limit: number
  details: Record<string, unknown>
}

/** Until both servers' code has been compiled and optimised. */
const warmUpSeconds = 2

/**
 * Only the gateway runs while rates are taken, as the engine would take part of the processor from it and not from the limit
 * server. The engine comes afterwards, to show that every acknowledged event is there, once.
 */
export async function ingestInTurns(lab: Lab, spec: IngestSpec): Promise<IngestRates> {
  const dataDir = lab.folder('ingest')
  const gateway = await lab.startServer({ config: 'committing', dataDir, role: 'gateway' })
  const limitServer = await lab.startLimitServer({ work: spec.limit })
  const generator = lab.startGenerator()
  const { connections, shape } = spec
  const results: Record<'gateway' | 'limit', Round[]> = { gateway: [], limit: [] }
  let first = 0
  for (let round = 0; round <= spec.rounds; round++) {
    const seconds = round === 0 ? warmUpSeconds : spec.secondsPerRound
    const load = { connections, shape, seconds, first }
    const producer = `bench-${round}`
    const ours = await withServerCpu(gateway.pid, generator.run({ ...load, port: gateway.port, producer }))
    const limit = await withServerCpu(limitServer.pid, generator.run({ ...load, port: limitServer.port, producer }))
    if (ours.accepted !== ours.batches * shape.events) throw new Error(`wrong counts: ${JSON.stringify(ours)}`)
    first += ours.distinct
    if (round === 0) continue
    results.gateway.push(ours)
    results.limit.push(limit)
    lab.say(
      `round ${round}: gateway ${rounded(requestRate(ours))} requests/s, limit ${rounded(requestRate(limit))} requests/s`,
    )
  }
  await generator.stop()
  lab.say(`waiting until the engine has all ${first} events`)
  await lab.startServer({ config: 'committing', dataDir, role: 'engine', port: gateway.port })
  await untilAnswering(gateway.sql)
  await untilCommitted(gateway.sql, first)
  await checkRows(gateway.sql, lab.corpus, first)
  await lab.close()
  lab.removeFolder(dataDir)
  const describe = (runs: readonly Round[]): Record<string, unknown> => ({
    requestsPerSecond: runs.map((run) => rounded(requestRate(run))),
    latencyMs: runs.map(({ latencyMs }) => ({ p50: rounded(latencyMs.p50), p99: rounded(latencyMs.p99) })),
    cores: {
      server: rounded(sum(runs.map((run) => run.serverCpuSeconds)) / sum(runs.map((run) => run.seconds))),
      generator: rounded(sum(runs.map((run) => run.cpuSeconds)) / sum(runs.map((run) => run.seconds))),
    },
  })
  return {
    gateway: median(results.gateway.map(requestRate)),
    limit: median(results.limit.map(requestRate)),
    details: {
      connections,
      eventsPerRequest: shape.events,
      rows: first,
      gateway: describe(results.gateway),
      limit: describe(results.limit),
    },
  }
}

/** Adds the CPU time that a server took during a run; 0 where there is no /proc. */
async function withServerCpu(pid: number, run: Promise<LoadResult>): Promise<Round> {
  const before = hasProc() ? cpuSeconds([pid]) : 0
  const result = await run
  return { ...result, serverCpuSeconds: hasProc() ? cpuSeconds([pid]) - before : 0 }
}

function requestRate(run: LoadResult): number {
  return run.batches / run.seconds
}
