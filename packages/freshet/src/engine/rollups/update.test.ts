/**
 * Whatever comes to a source in whatever order, late, twice, merged, deleted, replayed, and however an update ends on the way: a rollup is in the
 * end what its SELECT gives over all rows of the source, and at each moment what it gave over the rows of one snapshot (I9). So is one that is
 * made of it.
 */
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import { TableLab } from '../../../test/support/table-lab.ts'
import { bucketOf } from '../../config/rollups.ts'
import type { RollupPlan } from '../../config/plan.ts'
import type { Catalog } from '../../lake/catalog.ts'
import { snapshotById } from '../../lake/metadata.ts'
import { planScan } from '../../lake/scan.ts'
import type { Random } from '../../runtime/random.ts'
import { Database } from '../duckdb.ts'
import { literal } from '../sql-text.ts'
import type { StreamTable } from '../stream-table.ts'
import { openRollupTable } from './open-rollups.ts'
import { rollupRecord } from './record.ts'
import { updateRollup, type RollupTarget, type UpdateResult } from './update.ts'

const seeds = 8
const steps = 20
const timeoutMs = 120_000
const width = { ms: 60_000 }
const sql = `SELECT ${bucketOf(width, '_event_time')} AS bucket, size AS kind, count(*) AS trades, max(_event_id) AS last FROM trades GROUP BY ALL`
const wideWidth = { ms: 15 * 60_000 }
const wideSql = `SELECT ${bucketOf(wideWidth, 'bucket')} AS bucket, kind, sum(trades) AS trades, max(last) AS last FROM bars GROUP BY ALL`
const plan: RollupPlan = { name: 'bars', from: 'trades', bucket: width, sql, by: ['kind'], partition: { unit: 'day' } }
const widePlan: RollupPlan = { ...plan, name: 'wide', from: 'bars', bucket: wideWidth, sql: wideSql }

let lab: TableLab
let database: Database | undefined
let targets: StreamTable[] = []
let rollup: RollupTarget
/** Made of `rollup`. */
let wide: RollupTarget
/** What the next commit to a rollup's table meets. */
let fate: 'made' | 'lost before' | 'lost after'

beforeEach(async () => {
  lab = await TableLab.open()
  fate = 'made'
  await reopen()
})

afterEach(async () => {
  close()
  targets = []
  database = undefined
  await lab.close()
})

const catalog: Catalog = {
  tables: () => lab.catalog.tables(),
  load: (name) => lab.catalog.load(name),
  create: (name, metadata) => lab.catalog.create(name, metadata),
  commit: async (base, next) => {
    if (fate === 'lost before') throw new Error('the catalog cannot be reached')
    const committed = await lab.catalog.commit(base, next)
    if (fate === 'lost after') throw new Error('the answer is lost')
    return committed
  },
}

/** The rollups' tables as a process finds them that has just started. */
async function reopen(): Promise<void> {
  close()
  const { tmpDir, lakeDir } = lab.deps
  const folders = { tmpDir, lakeDir, logDir: join(lab.dir, 'log') }
  database = await Database.open({ memoryBytes: 128 << 20, spillBytesMax: 1 << 30, threads: 1, ...folders })
  const deps = { ...lab.deps, database, catalog }
  const bars = await openRollupTable('bars', plan, deps)
  const target = await openRollupTable('wide', widePlan, deps)
  targets = [bars, target]
  rollup = { plan, source: lab.table, target: bars }
  wide = { plan: widePlan, source: bars, target }
}

function close(): void {
  for (const target of targets) target.close()
  database?.close()
}

function update(one = rollup): Promise<UpdateResult | undefined> {
  return lab.deps.database.with((connection) => updateRollup(connection, { ...lab.deps, catalog }, one))
}

/** Loads and commits events, each with a minute and a kind. */
async function commit(events: readonly { id: string; minute: number; kind: number }[]): Promise<void> {
  const lines = events.map(({ id, minute, kind }) => {
    const at = new Date(Date.UTC(2013, 9, 7, 23, 30 + minute)).toISOString()
    return `{"_event_id":"${id}","_event_time":"${at}","_received_at":"${at}","id":"${id}","at":"${at}","price":1,"size":${kind}}\n`
  })
  const bytes = Buffer.from(lines.join(''))
  const from = lab.table.position
  const chunk = { bytes, count: events.length, next: from + BigInt(bytes.length), batches: [], receivedAtMs: 0 }
  await lab.table.load(chunk, from)
  await lab.table.flush()
  await lab.table.settled()
}

async function rowsOf(keys: readonly string[], select: string): Promise<string[]> {
  if (keys.length === 0) return []
  const paths = keys.map((key) => literal(join(lab.deps.lakeDir, key)))
  return lab.deps.database.with(async (connection) => {
    const files = `read_parquet([${paths.join(', ')}], hive_partitioning = false)`
    const found = await connection.runAndReadAll(
      `SELECT CAST(t AS VARCHAR) FROM (${select.replace('$files', files)}) AS t ORDER BY 1`,
    )
    return found.getRows().map(([row]) => String(row))
  })
}

/** What a rollup gives over the rows of files. */
const recomputed = (made: RollupPlan): string => made.sql.replace(`FROM ${made.from}`, 'FROM $files')

const keysOf = (files: readonly { key: string }[]): string[] => files.map(({ key }) => key)

/** The rows of a rollup's table. */
async function ownRows(name: string): Promise<string[]> {
  const { files } = await planScan(lab.deps.store, (await lab.catalog.load(name))!)
  return rowsOf(keysOf(files), 'SELECT bucket, kind, trades, last FROM $files')
}

/** That each rollup's rows are those of the snapshot that it says. */
async function expectOneState(): Promise<void> {
  for (const made of [plan, widePlan]) {
    const [table, source] = [await lab.catalog.load(made.name), await lab.catalog.load(made.from)]
    const record = table && rollupRecord(table.metadata)
    if (record === undefined || source === undefined) continue
    const snapshot = snapshotById(source.metadata, record.snapshot)
    const wanted = snapshot === undefined ? [] : (await planScan(lab.deps.store, source, { snapshot })).files
    expect(await ownRows(made.name)).toEqual(await rowsOf(keysOf(wanted), recomputed(made)))
  }
}

class Run {
  readonly #random: Random
  #ids = 0

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  async step(): Promise<void> {
    const integer = (below: number): number => this.#random.integer(below)
    switch (integer(10)) {
      case 0:
      case 1:
      case 2:
        return commit(this.#events())
      case 3:
        // Some that were sent already, with others behind them.
        return commit([...this.#events(integer(this.#ids + 1)), ...this.#events()])
      case 4:
        return this.#erase()
      case 5:
        return this.#compact()
      case 6:
        await this.#failingUpdate(integer(2) === 0 ? 'lost before' : 'lost after')
        return expectOneState()
      case 7:
        await this.#failingUpdate('lost after')
        return reopen()
      case 8:
        return this.#replay()
      default:
        await update()
        if (integer(2) === 0) await update(wide)
        return expectOneState()
    }
  }

  async #failingUpdate(what: typeof fate): Promise<void> {
    fate = what
    await update(this.#random.integer(2) === 0 ? rollup : wide).catch(() => undefined)
    fate = 'made'
  }

  #events(first?: number): { id: string; minute: number; kind: number }[] {
    const integer = (below: number): number => this.#random.integer(below)
    const at = first ?? this.#ids
    const events = Array.from({ length: 1 + integer(4) }, (_, index) => ({
      id: `e${at + index}`,
      minute: integer(60),
      kind: integer(2),
    }))
    this.#ids = Math.max(this.#ids, at + events.length)
    return events
  }

  async #erase(): Promise<void> {
    if (lab.table.files.length === 0) return
    const digit = this.#random.integer(10)
    await lab.table.change(
      (table) => lab.rewrite(table, lab.table.files, `NOT ends_with(_event_id, '${digit}')`),
      'fewer',
    )
  }

  /** Of some events, the kind is another one, and the time a later one. */
  async #replay(): Promise<void> {
    const { files } = lab.table
    if (files.length === 0) return
    const some = files.slice(this.#random.integer(files.length))
    const isChanged = `ends_with(_event_id, '${this.#random.integer(10)}')`
    const star = `* REPLACE (if(${isChanged}, 1 - size, size) AS size, if(${isChanged}, _event_time + INTERVAL 7 MINUTE, _event_time) AS _event_time)`
    await lab.table.change((table) => lab.rewrite(table, some, 'true', star), 'fewer')
  }

  async #compact(): Promise<void> {
    if (lab.table.files.length < 2) return
    await lab.table.change((table) => lab.rewrite(table, lab.table.files), 'kept')
  }
}

describe('a rollup is what its SELECT gives over all rows', () => {
  test.each(Array.from({ length: seeds }, (_, index) => index + 1))('seed %i', { timeout: timeoutMs }, async (seed) => {
    const run = new Run(seed)
    for (let step = 0; step < steps; step++) await run.step()
    await commit([{ id: 'last', minute: 0, kind: 0 }])
    await update()
    await update(wide)
    await expectOneState()
    for (const { source, target } of [rollup, wide]) {
      expect(rollupRecord(target.table!.metadata)?.snapshot).toBe(source.table!.metadata['current-snapshot-id'])
    }
    const overAll = sql.replace(bucketOf(width, '_event_time'), bucketOf(wideWidth, '_event_time'))
    expect(await ownRows('wide')).toEqual(
      await rowsOf(keysOf(lab.table.files), overAll.replace('FROM trades', 'FROM $files')),
    )
    expect(await update()).toBeUndefined()
    expect(await update(wide)).toBeUndefined()
  })
})

test('only what was touched is computed', async () => {
  await commit(Array.from({ length: 20 }, (_, minute) => ({ id: `e${minute}`, minute, kind: 0 })))
  expect(await update()).toEqual({ buckets: 20 })
  await commit([{ id: 'late', minute: 3, kind: 1 }])
  expect(await update()).toEqual({ buckets: 1 })
  expect(await update()).toBeUndefined()
})

test('a rollup that another engine has brought up to date meanwhile is left as it is', async () => {
  await commit([{ id: 'a', minute: 0, kind: 0 }])
  await update()
  // It has seen the table, and does not know of what comes.
  const other = { ...rollup, target: await openRollupTable('bars', plan, lab.deps) }
  await commit([{ id: 'b', minute: 0, kind: 0 }])
  await update()
  const late = lab.deps.database.with((connection) => updateRollup(connection, lab.deps, other))
  await expect(late).rejects.toMatchObject({ code: 'commit_conflict' })
  other.target.close()
  await expectOneState()
})

test('a table of events is not replaced', async () => {
  const events = { ...plan, name: 'trades', from: 'trades' }
  await commit([{ id: 'a', minute: 0, kind: 0 }])
  const own: RollupTarget = { plan: events, source: lab.table, target: lab.table }
  await expect(lab.deps.database.with((connection) => updateRollup(connection, lab.deps, own))).rejects.toMatchObject({
    code: 'unsupported_table',
  })
})
