/** The engine's Prometheus metrics. Gauges are read at the moment they are asked for. */
import { Counter, Gauge, Registry } from 'prom-client'
import type { Log } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import type { StreamReport } from './completeness.ts'
import { engineStatus } from './engine-status.ts'
import type { RollupStatus } from './rollups/status.ts'
import type { StreamLoader } from './stream-loader.ts'

export async function engineMetrics(
  loaders: Iterable<StreamLoader>,
  log: Log,
  clock: Clock,
  reports: ReadonlyMap<string, StreamReport> | undefined,
  rollups: readonly RollupStatus[],
): Promise<string> {
  const registry = new Registry()
  const registers = [registry]
  const labelNames = ['stream']
  const gauge = (name: string, help: string): Gauge =>
    new Gauge({ name: `freshet_engine_${name}`, help, labelNames, registers })
  const counter = (name: string, help: string): Counter =>
    new Counter({ name: `freshet_engine_${name}`, help, labelNames, registers })
  const rows = gauge('rows', 'Rows that SQL sees, hot and committed')
  const hotRows = gauge('hot_rows', 'Rows that are visible and not committed yet')
  const lag = gauge('lag_bytes', 'Bytes of the log behind the last commit')
  const files = gauge('files', 'Data files of the current snapshot')
  const freshness = gauge('freshness_p99_seconds', 'Arrival to visible in SQL, 99th percentile over the last minute')
  const stuck = gauge('stuck', '1 while the stream does not get on')
  const through = gauge(
    'complete_through_seconds',
    'Event time that every active site has reported through, since 1970',
  )
  const loaded = counter('events_loaded_total', 'Events loaded since the engine started')
  const repeats = counter('events_deduplicated_total', 'Repeats left out since the engine started')
  const dead = counter(
    'events_dead_lettered_total',
    'Events that could not be loaded and became dead letters, since the engine started',
  )
  const all = [...loaders]
  const { streams } = await engineStatus(all, new Set(), log, clock, reports)
  for (const status of streams) {
    const labels = { stream: status.name }
    rows.set(labels, status.rows)
    hotRows.set(labels, status.hotRows)
    lag.set(labels, status.lagBytes)
    files.set(labels, status.files)
    if (status.freshnessMs) freshness.set(labels, status.freshnessMs.p99 / 1000)
    stuck.set(labels, status.problem === null ? 0 : 1)
    if (status.completeThrough !== null) through.set(labels, Date.parse(status.completeThrough) / 1000)
  }
  for (const { table, stats } of all) {
    const labels = { stream: table.stream.name }
    loaded.inc(labels, stats.loaded)
    repeats.inc(labels, stats.repeats)
    dead.inc(labels, stats.deadLetters)
  }
  addRollups(registry, rollups)
  return registry.metrics()
}

/** Those that the configuration has. */
function addRollups(registry: Registry, rollups: readonly RollupStatus[]): void {
  const kept = rollups.filter(({ bucket }) => bucket !== null)
  if (kept.length === 0) return
  const shared = { labelNames: ['rollup', 'from'], registers: [registry] }
  const rows = new Gauge({ name: 'freshet_engine_rollup_rows', help: 'Rows of the rollup', ...shared })
  const lag = new Gauge({
    name: 'freshet_engine_rollup_lag_seconds',
    help: 'For how long its source has had commits that the rollup has not',
    ...shared,
  })
  const stuck = new Gauge({
    name: 'freshet_engine_rollup_stuck',
    help: '1 while the rollup does not get on',
    ...shared,
  })
  for (const { name, from, rows: count, lagMs, problem } of kept) {
    const labels = { rollup: name, from: from ?? '' }
    rows.set(labels, count)
    if (lagMs !== null) lag.set(labels, lagMs / 1000)
    stuck.set(labels, problem === null ? 0 : 1)
  }
}
