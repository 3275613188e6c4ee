/**
 * An erasure reaches rows wherever in a table's folder they are: in what upkeep is about to write, in what a killed process has left, and in
 * what other engines have written (I6, I10).
 */
import { copyFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { literal } from '../../src/engine/sql-text.ts'
import { appendFiles, type CommitDeps } from '../../src/lake/commit.ts'
import { deleteFileFieldIds } from '../../src/lake/delete-files.ts'
import { readManifest } from '../../src/lake/manifest.ts'
import { currentSchema, tablePositions } from '../../src/lake/metadata.ts'
import { currentManifests } from '../../src/lake/next-snapshot.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import type { LoadedTable } from '../../src/lake/catalog.ts'
import { rewriteFiles } from '../../src/lake/rewrite.ts'
import { planScan, type ScanFile } from '../../src/lake/scan.ts'
import { keyOf } from '../../src/lake/table-paths.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { commitDeletes } from '../conformance/foreign-deletes.ts'
import type { Lake } from '../conformance/lake-fixture.ts'
import { Lab, until, type EngineOptions, type LabEngine } from './engine-harness.ts'
import {
  done,
  erasure,
  expectVerified,
  filesWith,
  killedAtEach,
  orderEvents,
  orders,
  requestErasure,
  secret,
  where,
} from './erasure-lab.ts'
import { balancedLedger } from './ledger-checks.ts'
import { Freezer, intercepted } from './store-faults.ts'

let lab: Lab
const options = { streams: { orders }, plan: { lake: { flushIntervalMs: 1 } } }
beforeEach(async () => {
  lab = await Lab.open(options)
})
afterEach(() => lab.close())

const commits = 6
const kept = commits * 10
/** Batches that come while an erasure waits: it would be done long before. */
const meanwhile = 40
const secrets = `select count(*) from orders where ${where}`

/** Small files of one day, which compaction would merge; each has orders of the secret customer. */
async function load(engine: LabEngine, own = lab): Promise<void> {
  for (let commit = 0; commit < commits; commit++) {
    const prefix = `c${commit}`
    await own.post('orders', [...orderEvents(10, { prefix }), ...orderEvents(2, { prefix, of: secret })])
    await engine.committed('orders')
  }
}

async function compact(engine: LabEngine): Promise<void> {
  const json = { 'content-type': 'application/json' }
  const { status } = await engine.send('POST', '/v1/maintenance', json, '{"table":"orders","job":"compaction"}')
  expect(status).toBe(202)
}

async function expectErased(engine: LabEngine, rows = kept, own = lab): Promise<void> {
  expect(await engine.value(secrets)).toBe(0)
  expect(await engine.sql('select count(*) as n, count(distinct id) as d from orders')).toEqual([{ n: rows, d: rows }])
  expect(await filesWith(own.dir, secret)).toEqual([])
}

/** What another process needs to write to the lake. */
function commitDeps(): CommitDeps {
  const store = new LocalObjectStore({ root: lab.lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
  const catalog = new FileCatalog({ store, rootLocation: `file://${lab.lakeDir}`, logger: silentLogger })
  return { store, catalog, clock: systemClock, random: systemRandom, logger: silentLogger }
}

async function inDuckDB<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    return await work(connection)
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

async function tableFiles(): Promise<{ table: LoadedTable; files: readonly ScanFile[] }> {
  const { store, catalog } = commitDeps()
  const table = (await catalog.load('orders'))!
  return { table, files: (await planScan(store, table)).files }
}

/** Holds the first change of the store that compaction makes, before or after it is made. */
class Gate {
  readonly reached = Promise.withResolvers<string>()
  readonly opened = Promise.withResolvers<void>()
  isArmed = false
  readonly #pattern: RegExp

  constructor(pattern: RegExp) {
    this.#pattern = pattern
  }

  get options(): EngineOptions {
    return {
      wrapStore: (store) =>
        intercepted(store, async (_, key, apply) => {
          const isIt = this.isArmed && this.#pattern.test(key)
          if (!isIt) return apply()
          this.isArmed = false
          const result = await apply()
          this.reached.resolve(key)
          await this.opened.promise
          return result
        }),
    }
  }
}

describe('beside a compaction that runs', () => {
  test.each([
    ['has put its file in place', /\.parquet$/],
    ['is about to commit', /\.avro$/],
  ])('an erasure waits for one that %s; loads and queries do not', async (_, pattern) => {
    const gate = new Gate(pattern)
    const engine = await lab.start(gate.options)
    await load(engine)
    gate.isArmed = true
    await compact(engine)
    await gate.reached.promise
    onTestFinished(() => gate.opened.resolve())
    const { body } = await requestErasure(lab, engine)
    await until('it has committed what came before', async () => (await erasure(engine, body.id)).state === 'flushing')
    for (let round = 0; round < meanwhile; round++) {
      await lab.post('orders', orderEvents(5, { prefix: `meanwhile-${round}` }))
      await engine.caughtUp('orders')
      expect(await engine.value(secrets)).toBe(2 * commits)
    }
    expect(await erasure(engine, body.id)).toMatchObject({ state: 'flushing', report: { commits: [] } })
    gate.opened.resolve()
    await done(engine, body.id)
    await engine.committed('orders')
    await expectErased(engine, kept + 5 * meanwhile)
    await expectVerified(lab)
  })

  test('at whatever moment it comes, and again for each customer', async () => {
    const engine = await lab.start()
    await load(engine)
    let rows = kept
    for (const [round, customer] of ['customer-0', 'customer-1', 'customer-2', secret].entries()) {
      await compact(engine)
      const { body } = await requestErasure(lab, engine, `customer_id = '${customer}'`)
      await done(engine, body.id)
      if (customer !== secret) rows -= kept / 5
      expect(await filesWith(lab.dir, customer)).toEqual([])
      await lab.post('orders', orderEvents(5, { prefix: `later-${round}` }).slice(3))
      rows += 2
      await engine.committed('orders')
    }
    await expectErased(engine, rows)
    await expectVerified(lab)
  })

  test('and is killed with it, after any change of the store', { timeout: 600_000 }, async () => {
    const prepare = async (own: Lab): Promise<void> => {
      const engine = await own.start()
      await load(engine, own)
      await engine.stop()
    }
    const killedAt = async (own: Lab, step: number, scratch: string): Promise<boolean> => {
      const freezer = new Freezer(step, 'after')
      const killed = await own.start(freezer.options)
      await compact(killed)
      const { body } = await requestErasure(own, killed)
      await until('it is over', async () => freezer.frozen || (await erasure(killed, body.id)).state === 'done')
      // What is frozen may be the compaction that is done after the erasure.
      const isOver = !freezer.frozen
      await killed.abandon()
      const engine = await own.start()
      await done(engine, body.id)
      await rm(join(own.dir, scratch), { recursive: true })
      await expectErased(engine, kept, own)
      await engine.stop()
      await expectVerified(own)
      return isOver
    }
    expect(await killedAtEach(options, prepare, killedAt)).toBeGreaterThan(10)
  })

  test('what was interrupted is done afterwards', async () => {
    const engine = await lab.start()
    await load(engine)
    await compact(engine)
    await done(engine, (await requestErasure(lab, engine)).body.id)
    const files = "select count(*) from freshet.files where stream = 'orders'"
    await until('the files are one', async () => (await engine.value(files)) === 1)
    await expectErased(engine)
  })
})

describe('what a killed process has left', () => {
  test('the output of a compaction goes, at the start of the erasure or in its middle', async () => {
    const loading = await lab.start()
    await load(loading)
    await loading.stop()
    const freezer = new Freezer(1, 'after')
    const killed = await lab.start(freezer.options)
    await compact(killed)
    await until('its file is in place', async () => freezer.frozen)
    await killed.abandon()
    const engine = await lab.start()
    const left = (await filesWith(lab.lakeDir, secret)).filter((name) => name.endsWith('.parquet'))
    expect(left).toHaveLength(commits + 1)
    const { report } = await done(engine, (await requestErasure(lab, engine)).body.id)
    expect(report.filesDeleted).toBeGreaterThan(commits)
    await engine.stop()
    expect(await filesWith(lab.dir, secret, ['tmp-2'])).toEqual([])
    await expectVerified(lab)
  })

  test('files that nothing refers to, of every kind, go with it', async () => {
    const engine = await lab.start()
    await load(engine)
    const { table, files } = await tableFiles()
    const data = join(lab.lakeDir, files[0]!.key)
    const [manifest] = await currentManifests({ store: commitDeps().store, table })
    const manifestFile = join(lab.lakeDir, keyOf(table, manifest!.path))
    const metadata = join(lab.lakeDir, 'orders/metadata')
    await copyFile(data, join(dirname(data), `${'0'.repeat(32)}.parquet`))
    await copyFile(data, join(lab.lakeDir, `orders/${'a'.repeat(32)}.parquet`))
    await copyFile(manifestFile, join(metadata, 'left-m0.avro'))
    await copyFile(manifestFile, join(metadata, '.tmp-0123456789ab'))
    await writeFile(join(metadata, 'torn-m0.avro'), `Obj\u0001${secret}`)
    await writeFile(join(dirname(data), '.tmp-0123456789cd'), secret)
    await done(engine, (await requestErasure(lab, engine)).body.id)
    await expectErased(engine)
    for (const name of await readdir(lab.lakeDir, { recursive: true })) expect(name).not.toMatch(/left|torn|tmp/)
    await expectVerified(lab)
  })

  test('files of others that they may be about to commit are waited for, by name', async () => {
    const engine = await lab.start()
    await load(engine)
    const { files } = await tableFiles()
    const theirs = ['orders/data/part-0001.parquet', 'orders/metadata/notes.txt'].map((name) => join(lab.lakeDir, name))
    await copyFile(join(lab.lakeDir, files[0]!.key), theirs[0]!)
    await writeFile(theirs[1]!, `of ${secret}`)
    const { body } = await requestErasure(lab, engine)
    await until('it is said', async () => (await erasure(engine, body.id)).waitingFor !== null)
    const { waitingFor, report, state } = await erasure(engine, body.id)
    expect(state).not.toBe('done')
    expect(waitingFor).toContain('orders/data/part-0001.parquet')
    expect(waitingFor).toContain('orders/metadata/notes.txt')
    expect(report.check!.matches).toBe(2)
    for (const path of theirs) await rm(path)
    expect((await done(engine, body.id)).report.check!.matches).toBe(0)
    await expectErased(engine)
  })
})

describe('what other engines have done', () => {
  test('rows that they deleted by place are gone as well, and none comes back', async () => {
    const engine = await lab.start()
    await load(engine)
    const { table, files } = await tableFiles()
    const [first, second] = files
    const places = async (file: ScanFile, condition: string): Promise<number[]> => {
      const read = `read_parquet(${literal(join(lab.lakeDir, file.key))}, file_row_number = true)`
      const select = `SELECT file_row_number FROM ${read} WHERE ${condition}`
      const result = await inDuckDB((connection) => connection.runAndReadAll(select))
      return result.getRows().map(([place]) => Number(place))
    }
    const deleted = [
      // One of the secret customer's rows, and one of another's; the second file's path is written in another way.
      ...(await places(first!, where)).slice(0, 1).map((at) => ({ path: first!.path, at })),
      ...(await places(first!, "customer_id = 'customer-1'")).slice(0, 1).map((at) => ({ path: first!.path, at })),
      ...(await places(second!, "customer_id = 'customer-2'")).map((at) => ({
        path: second!.path.replace('file:///', 'file:/'),
        at,
      })),
    ]
    expect(deleted).toHaveLength(4)
    const name = 'their-deletes.parquet'
    const day = files[0]!.partitionValue!
    await commitDeletes(commitDeps() as unknown as Lake, table, [{ name, rows: deleted.length, day }])
    const rows = deleted.map(({ path, at }) => `(${literal(path)}, ${at})`).join(', ')
    const ids = `{file_path: ${deleteFileFieldIds.filePath}, pos: ${deleteFileFieldIds.pos}}`
    const theirs = literal(join(lab.lakeDir, 'orders/data', name))
    const values = `SELECT * FROM (VALUES ${rows}) AS v(file_path, pos)`
    await inDuckDB((connection) => connection.run(`COPY (${values}) TO ${theirs} (FORMAT parquet, FIELD_IDS ${ids})`))
    const { report } = await done(engine, (await requestErasure(lab, engine)).body.id)
    await expectErased(engine, kept - 3)
    // The deleted one had left the table before.
    expect(report.commits.reduce((sum, commit) => sum + commit.rows, 0)).toBe(2 * commits - 1)
    const ledger = await balancedLedger(engine, 'orders')
    expect(ledger.reduce((sum, { removed }) => sum + removed, 0)).toBe(2 * commits - 1)
    expect((await tableFiles()).files.every(({ deletes }) => deletes.length === 0)).toBe(true)
  })

  test('bounds that are wrong hide nothing', async () => {
    const engine = await lab.start()
    await load(engine)
    const deps = commitDeps()
    const { store } = deps
    const { table } = await tableFiles()
    const entries = []
    for (const manifest of await currentManifests({ store, table }))
      entries.push(...(await readManifest(store, keyOf(table, manifest.path), manifest)))
    const { file } = entries.find(({ status }) => status !== 2)!
    const field = table.metadata.schemas[0]!.fields.find(({ name }) => name === 'customer_id')!.id
    const copy = file.path.replace(/[0-9a-f]{32}/, 'f'.repeat(32))
    await copyFile(join(lab.lakeDir, keyOf(table, file.path)), join(lab.lakeDir, keyOf(table, copy)))
    const wrong = new Map([...file.upperBounds, [field, Buffer.from('customer-5')] as const])
    await rewriteFiles(deps, {
      table,
      remove: [file.path],
      add: [{ ...file, path: copy, upperBounds: wrong }],
      operation: 'overwrite',
    })
    const { report } = await done(engine, (await requestErasure(lab, engine)).body.id)
    expect(report.commits.filter(({ table: name }) => name === 'orders').length).toBeGreaterThan(1)
    await expectErased(engine)
  })

  test('rows that say not when they arrived are meant as well', async () => {
    const engine = await lab.start()
    await load(engine)
    const { table, files } = await tableFiles()
    const { partition, partitionValue } = files[0]!
    const idOf = (name: string): number => currentSchema(table.metadata).fields.find((field) => field.name === name)!.id
    const names = ['_event_id', '_event_time', 'id', 'customer_id']
    const path = files[0]!.path.replace(/[0-9a-f]{32}/, 'part-0001')
    const file = join(lab.lakeDir, keyOf(table, path))
    const rows = ['theirs-1', 'theirs-2'].map(
      (id, at) => `('${id}', TIMESTAMPTZ '2013-10-07 00:00:00+00', '${id}', '${[secret, 'customer-1'][at]}')`,
    )
    const ids = names.map((name) => `"${name}": ${idOf(name)}`)
    const { bytes } = await inDuckDB(async (connection) => {
      const values = `SELECT * FROM (VALUES ${rows.join(', ')}) AS v(${names.join(', ')})`
      await connection.run(`COPY (${values}) TO ${literal(file)} (FORMAT parquet, FIELD_IDS {${ids.join(', ')}})`)
      return { bytes: (await stat(file)).size }
    })
    const none = new Map<never, never>()
    const positions = tablePositions(table.metadata)
    const dataFile = {
      path,
      partition: { [partition!.name]: partitionValue },
      recordCount: 2,
      bytes,
      columnSizes: none,
      valueCounts: none,
      nullValueCounts: none,
      nanValueCounts: none,
      lowerBounds: none,
      upperBounds: none,
    }
    await appendFiles(commitDeps(), { table, dataFiles: [dataFile], from: positions, to: positions })
    await done(engine, (await requestErasure(lab, engine)).body.id)
    await expectErased(engine, kept + 1)
  })
})
