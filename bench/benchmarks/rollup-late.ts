import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  systemColumns,
  type Column,
  type Plan,
  type RollupPlan,
  type StreamPlan,
} from '../../packages/freshet/dist/config/plan.js'
import { bucketOf } from '../../packages/freshet/dist/config/rollups.js'
import { writeSelected } from '../../packages/freshet/dist/engine/data-files.js'
import { IdMemory } from '../../packages/freshet/dist/engine/dedup/id-memory.js'
import { Database } from '../../packages/freshet/dist/engine/duckdb.js'
import { Readers } from '../../packages/freshet/dist/engine/readers.js'
import { openRollupTable } from '../../packages/freshet/dist/engine/rollups/open-rollups.js'
import { updateRollup, type RollupTarget } from '../../packages/freshet/dist/engine/rollups/update.js'
import { literal } from '../../packages/freshet/dist/engine/sql-text.js'
import { StreamTable } from '../../packages/freshet/dist/engine/stream-table.js'
import type { StreamTableDeps } from '../../packages/freshet/dist/engine/stream-table-deps.js'
import { appendFiles } from '../../packages/freshet/dist/lake/commit.js'
import { currentSchema, newTableMetadata } from '../../packages/freshet/dist/lake/metadata.js'
import { systemClock } from '../../packages/freshet/dist/runtime/clock.js'
import { nodeFileSystem } from '../../packages/freshet/dist/runtime/file-system.js'
import { systemRandom } from '../../packages/freshet/dist/runtime/random.js'
import { openLake } from '../harness/file-table.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { median, rounded } from '../harness/statistics.ts'

const ratioMax = 0.02
const buckets = 10_000
const late = { events: 1000, buckets: 10 }
const fullRounds = 2
const lateRounds = 9
/** Rows that one commit brings. */
const commitRows = 2_000_000
const groups = 10
const startMicros = BigInt(Date.UTC(2013, 9, 1)) * 1000n
const minuteMicros = 60_000_000n

const own: Column[] = [
  { name: 'symbol', type: { kind: 'string' } },
  { name: 'price', type: { kind: 'double' } },
  { name: 'size', type: { kind: 'long' } },
]
const stream: StreamPlan = {
  name: 'trades',
  schema: {},
  columns: own,
  open: false,
  id: null,
  time: { field: 'at', unit: 'iso' },
  partition: { by: 'event_time', unit: 'day' },
}
const aggregates =
  'count(*) AS trades, arg_min(price, _event_time) AS open, max(price) AS high, min(price) AS low, sum(size) AS volume'

/**
 * What 1,000 late events cost that fall into 10 of 10,000 buckets of a rollup, commit and all, against computing the rollup anew from all
 * events in the same way.
 * @throws Error when the corrected rollup is not what its SELECT gives over all events
 */
export async function rollupLate(lab: Lab): Promise<Result> {
  const folder = lab.folder('rollup-late')
  const events = lab.quick ? 5_000_000 : 30_000_000
  const bench = await Bench.open(folder)
  try {
    for (let first = 0; first < events; first += commitRows) await bench.append(first, first + commitRows, events)
    lab.say(`${events} events in ${bench.source.files.length} files`)
    const full: number[] = []
    let rollup: RollupTarget | undefined
    for (let round = 0; round < fullRounds; round++) {
      rollup = await bench.rollup(`bars_${round}`)
      full.push(await timed(() => bench.update(rollup!)))
    }
    const corrected: number[] = []
    for (let round = 0; round < lateRounds; round++) {
      await bench.appendLate(round)
      corrected.push(await timed(() => bench.update(rollup!)))
    }
    await bench.check(rollup!)
    const [fullMs, lateMs] = [median(full), median(corrected)]
    const ratio = lateMs / fullMs
    return {
      name: 'rollup-late',
      value: lateMs,
      unit: `ms for ${late.events} late events in ${late.buckets} of ${buckets} buckets`,
      limit: { name: `the whole rollup anew, of ${events / 1e6} million events`, value: fullMs },
      ratio,
      goal: { text: `ratio at most ${ratioMax}`, met: ratio <= ratioMax },
      details: { events, fullMs: full.map(rounded), lateMs: corrected.map(rounded) },
    }
  } finally {
    bench.close()
    lab.removeFolder(folder)
  }
}

function planOf(name: string): RollupPlan {
  const bucket = { ms: Number(minuteMicros / 1000n) }
  const sql = `SELECT ${bucketOf(bucket, '_event_time')} AS bucket, "symbol", ${aggregates} FROM "trades" GROUP BY ALL`
  return { name, from: 'trades', bucket, sql, by: ['symbol'], partition: { unit: 'day' } }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}

class Bench {
  readonly source: StreamTable
  readonly #deps: StreamTableDeps
  readonly #database: Database
  readonly #targets: StreamTable[] = []

  static async open(folder: string): Promise<Bench> {
    for (const name of ['lake', 'tmp', 'log', 'ids']) mkdirSync(join(folder, name), { recursive: true })
    const [lakeDir, tmpDir, logDir] = ['lake', 'tmp', 'log'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ]
    const limits = { memoryBytes: 1 << 30, spillBytesMax: 4 * 2 ** 30, threads: 2 }
    const database = await Database.open({ ...limits, lakeDir, tmpDir, logDir })
    const deps: StreamTableDeps = {
      ...openLake(folder),
      plan: { limits: { eventBytesMax: 1 << 20 }, streams: {} } as unknown as Plan,
      database,
      readers: new Readers(),
      lakeDir,
      tmpDir,
      idDir: join(folder, 'ids'),
      idMemory: new IdMemory(1 << 20),
      fileSystem: nodeFileSystem,
      onDeadLetters: async () => undefined,
      hasLog: false,
      keptSources: () => new Set(),
      onOvertaken: () => undefined,
    }
    const { partition } = stream
    const columns = [...systemColumns, ...own]
    await deps.catalog.create(
      'trades',
      newTableMetadata({ columns, partition, clock: systemClock, random: systemRandom }),
    )
    return new Bench(deps, database, await StreamTable.open(stream, deps))
  }

  private constructor(deps: StreamTableDeps, database: Database, source: StreamTable) {
    this.#deps = deps
    this.#database = database
    this.source = source
  }

  close(): void {
    for (const table of [this.source, ...this.#targets]) table.close()
    this.#database.close()
  }

  /** Events number `from` to `to` of `all`, which are spread evenly over the buckets, in order of time. */
  append(from: number, to: number, all: number): Promise<void> {
    const stepMicros = (minuteMicros * BigInt(buckets)) / BigInt(all)
    const micros = `${startMicros} + i * ${stepMicros}`
    return this.#commit(`SELECT i, ${micros} AS us FROM range(${from}, ${Math.min(to, all)}) AS r(i)`)
  }

  /** In each round, other buckets. */
  appendLate(round: number): Promise<void> {
    const bucket = `(i % ${late.buckets}) * ${buckets / late.buckets} + ${37 * (round + 1)}`
    const micros = `${startMicros} + (${bucket}) * ${minuteMicros} + i * 1000`
    return this.#commit(`SELECT i, ${micros} AS us FROM range(0, ${late.events}) AS r(i)`)
  }

  async #commit(places: string): Promise<void> {
    const columns = [...systemColumns, ...own]
    await this.source.change(async (table) => {
      const schema = currentSchema(table.metadata)
      const select = `SELECT md5(i::VARCHAR) AS _event_id, make_timestamptz(us) AS _event_time, make_timestamptz(us) AS _received_at,
          'bench' AS _source, NULL::VARCHAR AS _tenant, 'S' || i % ${groups} AS symbol, 100 + sqrt(i % 9973) AS price, i % 500 AS size
        FROM (${places}) ORDER BY us`
      const written = await this.#database.with((connection) =>
        writeSelected(connection, this.#deps, { table, schema, columns, select }),
      )
      const dataFiles = written.map(({ dataFile }) => dataFile)
      return (await appendFiles(this.#deps, { table, dataFiles, from: new Map(), to: new Map() })).table
    }, 'kept')
  }

  async rollup(name: string): Promise<RollupTarget> {
    const plan = planOf(name)
    const target = await openRollupTable(name, plan, this.#deps)
    this.#targets.push(target)
    return { plan, source: this.source, target }
  }

  update(rollup: RollupTarget): Promise<unknown> {
    return this.#database.with((connection) => updateRollup(connection, this.#deps, rollup))
  }

  /** @throws Error when the rollup is not its SELECT over all events */
  async check({ plan, target }: RollupTarget): Promise<void> {
    const filesOf = (table: StreamTable): string =>
      `read_parquet([${table.files.map(({ key }) => literal(join(this.#deps.lakeDir, key))).join(', ')}], hive_partitioning = false)`
    const wanted = plan.sql.replace(`FROM "trades"`, `FROM ${filesOf(this.source)}`)
    const names = 'bucket, symbol, trades, high, low, volume'
    const result = await this.#database.with((connection) =>
      connection.runAndReadAll(
        `WITH own AS (SELECT ${names} FROM ${filesOf(target)}), wanted AS (SELECT ${names} FROM (${wanted}))
         SELECT count(*) FROM ((FROM own EXCEPT ALL FROM wanted) UNION ALL (FROM wanted EXCEPT ALL FROM own))`,
      ),
    )
    const differences = Number(result.getRows()[0]![0])
    if (differences > 0) throw new Error(`${differences} rows of the rollup are not what its SELECT gives`)
  }
}
