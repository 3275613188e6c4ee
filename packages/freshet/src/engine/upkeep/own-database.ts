/**
 * How much of the machine upkeep's own DuckDB gets. Its memory limit is on what it counts, which is not all that it takes: while it sorts and
 * writes Parquet, the process grows by some two and a half times as much (`bench/benchmarks/compaction.ts`). And each thread needs buffers of
 * its own: with too little for them, a sort ends with an error instead of going on on disk.
 */
import type { Plan } from '../../config/plan.ts'
import type { DatabaseOptions } from '../duckdb.ts'

/** What DuckDB counts, of what the process takes: a third, to be on the safe side. */
const countedShare = 3
const threadBytesMin = 192 * 2 ** 20

/** Within `upkeep.memory`, and half of the threads at most: the rest is for loads and queries. */
export function ownDatabaseLimits({
  upkeep,
  engine,
}: Pick<Plan, 'upkeep' | 'engine'>): Pick<DatabaseOptions, 'memoryBytes' | 'spillBytesMax' | 'threads'> {
  const memoryBytes = Math.floor(upkeep.memoryBytes / countedShare)
  const threadsMax = Math.min(Math.floor(engine.threads / 2), Math.floor(memoryBytes / threadBytesMin))
  return { memoryBytes, spillBytesMax: engine.spillBytesMax, threads: Math.max(1, threadsMax) }
}
