/** Upkeep in a running engine: under load and queries, killed at each step, beside another engine (I3, I4, I5, I6, I10). */
import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { verifyDataFolder } from '../../src/app/verify/verify.ts'
import { openDataFolder } from '../../src/runtime/data-folder.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import {
  Lab,
  streamPlan,
  trade,
  tradeColumns,
  tradeEvents,
  until,
  type LabEngine,
  type LabOptions,
} from './engine-harness.ts'
import { balancedLedger } from './ledger-checks.ts'
import { Freezer } from './store-faults.ts'

let lab: Lab
afterEach(() => lab.close())

interface Run {
  run: number
  state: string
  rows: {
    job: string
    state: string
    partition: string | null
    reason: string
    filesBefore: number
    filesAfter: number
  }[]
}

/** Has an engine keep its tables up, and waits for it. */
async function maintain(engine: LabEngine, request: object = {}): Promise<Run> {
  const json = { 'content-type': 'application/json' }
  const answer = await engine.send('POST', '/v1/maintenance', json, JSON.stringify(request))
  expect([200, 202], answer.text).toContain(answer.status)
  let run = JSON.parse(answer.text) as Run
  await until('the run is done', async () => {
    if (run.state !== 'done') run = JSON.parse((await engine.send('GET', `/v1/maintenance/${run.run}`)).text) as Run
    return run.state === 'done'
  })
  return run
}

const open = async (options: LabOptions = {}): Promise<Lab> => {
  lab = await Lab.open({
    ...options,
    plan: { lake: { flushIntervalMs: 1, snapshots: { keepMs: 0, min: 1, max: 200 } }, ...options.plan },
  })
  return lab
}

const days = ['2013-10-07', '2013-10-08']

/** Commits `commits` small files on each of two days, and some repeats. */
async function loadMany(engine: LabEngine, commits: number, rows = 10): Promise<number> {
  for (let commit = 0; commit < commits; commit++) {
    const from = commit * rows
    const events = days.flatMap((day) => tradeEvents(rows + 2, { day, prefix: `${day}-`, from: Math.max(0, from - 2) }))
    await lab.post('trades', events)
    await engine.committed('trades')
  }
  return commits * rows * days.length
}

const counts = 'select count(*) as n, count(distinct _event_id) as d from trades'
async function expectTrades(engine: LabEngine, n: number): Promise<void> {
  expect((await engine.sql(counts))[0]).toEqual({ n, d: n })
}

const filesOf = async (engine: LabEngine): Promise<number> =>
  Number(await engine.value("select count(*) from freshet.files where stream = 'trades'"))

/** `freshet verify` finds nothing wrong. */
async function expectVerified(): Promise<void> {
  await openDataFolder({ dataDir: lab.dir, version: '0.0.0', fileSystem: nodeFileSystem })
  const report = await verifyDataFolder({ plan: lab.plan(), streams: [], deep: true, onProgress: () => undefined })
  expect(report.problems).toEqual([])
}

describe('compaction', () => {
  test('makes few files of many, keeps every row and its ledger, and says what it did', async () => {
    await open()
    const engine = await lab.start()
    const total = await loadMany(engine, 6)
    const ledger = await balancedLedger(engine, 'trades')
    const { rows } = await maintain(engine, { table: 'trades', job: 'compaction' })
    expect(rows.map(({ state, partition, filesAfter }) => [state, partition, filesAfter])).toEqual([
      ['done', '2013-10-08', 1],
      ['done', '2013-10-07', 1],
    ])
    await expectTrades(engine, total)
    expect(await balancedLedger(engine, 'trades')).toEqual(ledger)
    const shown = await engine.sql(
      "select job, partition, state, files_before, files_after, rows, snapshot_id is not null as committed from freshet.maintenance where stream = 'trades' order by finished_at",
    )
    expect(shown.map((row) => [row['partition'], row['state'], row['files_after'], row['committed']])).toEqual([
      ['2013-10-08', 'done', 1, true],
      ['2013-10-07', 'done', 1, true],
    ])
    expect(await filesOf(engine)).toBe(2)
    // What was there is recognised: at once, and by an engine that starts on the compacted files.
    await lab.post('trades', tradeEvents(30, { day: days[0]!, prefix: `${days[0]}-` }))
    await engine.committed('trades')
    await expectTrades(engine, total)
    await engine.stop()
    const next = await lab.start()
    await lab.post('trades', tradeEvents(30, { day: days[1]!, prefix: `${days[1]}-` }))
    await next.committed('trades')
    await expectTrades(next, total)
    await next.stop()
    await expectVerified()
  })

  test('by schedule, under load, with queries all the time: each sees every event once, and never fewer than the last', async () => {
    await open({ plan: { upkeep: { enabled: true, intervalMs: 50, orphanAgeMs: 3_600_000 } } })
    const engine = await lab.start()
    const over = new AbortController()
    const watch = async (): Promise<number> => {
      let last = 0
      let queries = 0
      for (; !over.signal.aborted; queries++) {
        const [row] = await engine.sql(counts)
        expect(row!['n']).toBe(row!['d'])
        expect(Number(row!['n'])).toBeGreaterThanOrEqual(last)
        last = Number(row!['n'])
      }
      return queries
    }
    await lab.post('trades', [trade('first', '2013-10-07T00:00:00Z')])
    await engine.committed('trades')
    const watching = [watch(), watch()]
    const total = await loadMany(engine, 40)
    await until('the files are few', async () => (await filesOf(engine)) <= 12)
    over.abort()
    for (const queries of await Promise.all(watching)) expect(queries).toBeGreaterThan(40)
    await expectTrades(engine, total + 1)
    const done = await engine.sql(
      "select job, count(*) as n from freshet.maintenance where state = 'done' group by job",
    )
    expect(done.map(({ job }) => job)).toEqual(expect.arrayContaining(['compaction', 'expiry']))
    expect(await engine.value("select count(*) from freshet.maintenance where state = 'failed'")).toBe(0)
    await engine.stop()
    await expectVerified()
  })

  test('a query that began before goes on reading files that are compacted away and expired meanwhile', async () => {
    await open()
    const engine = await lab.start()
    const total = await loadMany(engine, 6, 500)
    const former = (await engine.sql("select path from freshet.files where stream = 'trades'")).map(({ path }) =>
      String(path),
    )
    // It has read none of the files yet, and goes on once they would be gone.
    const slow = engine.value(
      'select count(*) from trades, (select max(hash(a.range * b.range)) as h from range(4000) a, range(4000) b) slow where slow.h is not null',
    )
    const done = (async () => {
      await maintain(engine, { job: 'compaction' })
      return maintain(engine, { job: 'expiry' })
    })()
    expect(await slow).toBe(total)
    await done
    await until('the former files are gone', async () => !former.some((path) => existsSync(path)))
    await expectTrades(engine, total)
  })

  test('two engines that compact the same table lose nothing', async () => {
    await open()
    const [one, other] = [await lab.start(), await lab.start()]
    const total = await loadMany(one, 8)
    await other.committed('trades')
    const runs = await Promise.all([one, other].map((engine) => maintain(engine, { job: 'compaction' })))
    for (const { rows } of runs)
      for (const row of rows) if (row.state === 'failed') expect(row.reason).toMatch(/^planned anew/)
    await lab.post('trades', [trade('last', '2013-10-09T00:00:00Z')])
    for (const engine of [one, other]) await engine.committed('trades')
    for (const engine of [one, other]) await expectTrades(engine, total + 1)
    for (const engine of [one, other]) await engine.stop()
    await expectVerified()
  })
})

test('a query for files that another engine has compacted away and removed reads those in their place', async () => {
  await open()
  const [one, other] = [await lab.start(), await lab.start()]
  const total = await loadMany(one, 6)
  await other.committed('trades')
  await expectTrades(other, total)
  const former = await other.sql("select path from freshet.files where stream = 'trades'")
  for (const job of ['compaction', 'expiry'] as const) await maintain(one, { job })
  expect(former.some(({ path }) => existsSync(String(path)))).toBe(false)
  await expectTrades(other, total)
  await until('the other engine shows the files', async () => (await filesOf(other)) === 2)
  // Nothing can be taken over in place of a file that is lost: that is damage, and no mistake of the statement's.
  const [file] = await other.sql("select path from freshet.files where stream = 'trades'")
  await rm(String(file!['path']))
  await expect(other.sql(counts)).rejects.toThrow(/A data file of the table is not there/)
})

describe('an engine that is killed while it keeps its tables up', () => {
  const retained = { ...streamPlan('trades', { columns: tradeColumns }), retainMs: 30 * 365 * 86_400_000 }

  test.each(Array.from({ length: 20 }, (_, index) => index + 1))(
    'before change %i of the store leaves nothing lost, and the next one finishes',
    async (step) => {
      await open({ streams: { trades: retained }, plan: { upkeep: { orphanAgeMs: 0 } } })
      const first = await lab.start()
      const total = await loadMany(first, 5)
      await lab.post('trades', tradeEvents(20, { day: '1971-01-01', prefix: 'old-' }))
      await first.committed('trades')
      await first.stop()
      const freezer = new Freezer(step, 'before')
      const killed = await lab.start(freezer.options)
      const run = maintain(killed)
      await Promise.race([run, until('the freeze', async () => freezer.frozen)])
      run.catch(() => undefined)
      if (freezer.frozen) await killed.abandon()
      else await killed.stop()

      const engine = await lab.start()
      await engine.caughtUp('trades')
      const rows = await engine.sql('select _event_id from trades')
      expect(new Set(rows.map(({ _event_id: id }) => id)).size).toBe(rows.length)
      expect([total, total + 20]).toContain(rows.length)
      await maintain(engine)
      await maintain(engine)
      await expectTrades(engine, total)
      expect(await filesOf(engine)).toBe(2)
      // Nothing is left behind: each file of the folder is one that the table has.
      const folder = join(lab.lakeDir, 'trades', 'data')
      const found = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.parquet'))
      expect(found).toHaveLength(2)
      await lab.post('trades', tradeEvents(50, { day: days[0]!, prefix: `${days[0]}-` }))
      await engine.committed('trades')
      await expectTrades(engine, total)
      await engine.stop()
      await expectVerified()
    },
  )
})

test('a dry run changes nothing', async () => {
  await open()
  const engine = await lab.start()
  await loadMany(engine, 5)
  const before = await readdir(lab.lakeDir, { recursive: true })
  const { rows } = await maintain(engine, { dryRun: true })
  expect(rows.filter(({ state }) => state === 'planned').map(({ job }) => job)).toEqual([
    'compaction',
    'compaction',
    'expiry',
  ])
  expect(await readdir(lab.lakeDir, { recursive: true })).toEqual(before)
  expect(await engine.sql('select * from freshet.maintenance')).toEqual([])
})

describe('retention', () => {
  const yearMs = 365 * 86_400_000
  const recent = new Date(Date.now() - 2 * 86_400_000).toISOString().slice(0, 10)

  test('drops what is past, and the ledger says so; what is sent again is new, and goes likewise', async () => {
    await open({ streams: { trades: { ...streamPlan('trades', { columns: tradeColumns }), retainMs: yearMs } } })
    const engine = await lab.start()
    await lab.post('trades', [
      ...tradeEvents(30, { prefix: 'old-' }),
      ...tradeEvents(20, { prefix: 'new-', day: recent }),
    ])
    await engine.committed('trades')
    await lab.post('trades', tradeEvents(5, { prefix: 'older-', day: '2012-01-01' }))
    await engine.committed('trades')
    await expectTrades(engine, 55)
    const { rows } = await maintain(engine, { job: 'retention', table: 'trades' })
    expect(rows.map(({ state, partition }) => [state, partition])).toEqual([['done', '2012-01-01 .. 2013-10-07']])
    await expectTrades(engine, 20)
    const sums = async (): Promise<unknown> =>
      (
        await engine.sql(
          "select sum(accepted) as a, sum(committed) as c, sum(removed) as r from freshet.ledger where stream = 'trades'",
        )
      )[0]
    expect(await sums()).toEqual({ a: 55, c: 55, r: 35 })
    await lab.post('trades', [
      ...tradeEvents(30, { prefix: 'old-' }),
      ...tradeEvents(20, { prefix: 'new-', day: recent }),
    ])
    await engine.committed('trades')
    await expectTrades(engine, 50)
    await maintain(engine, { job: 'retention' })
    await expectTrades(engine, 20)
    expect(await sums()).toEqual({ a: 105, c: 85, r: 65 })
    await engine.stop()
    await expectVerified()
    const next = await lab.start()
    await expectTrades(next, 20)
  })

  test('of a stream that is cut by the time of arrival goes by that', async () => {
    const byArrival = { columns: tradeColumns, partition: { by: 'received_at', unit: 'day' } } as const
    await open({ streams: { trades: { ...streamPlan('trades', byArrival), retainMs: yearMs } } })
    const engine = await lab.start()
    await lab.post('trades', tradeEvents(10, { prefix: 'a-' }), { receivedAtMs: Date.now() - 2 * yearMs })
    await lab.post('trades', tradeEvents(10, { prefix: 'b-' }))
    await engine.committed('trades')
    await maintain(engine, { job: 'retention' })
    expect(await engine.value('select string_agg(distinct left(_event_id, 1)) from trades')).toBe('b')
  })
})

test('orphans go when they are old; live, young and foreign files stay', async () => {
  const ageMs = 2000
  await open({ plan: { upkeep: { orphanAgeMs: ageMs } } })
  const engine = await lab.start()
  const total = await loadMany(engine, 3)
  const put = async (place: string): Promise<string> => {
    const path = join(lab.lakeDir, 'trades', place)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, 'left behind')
    return path
  }
  const old = [await put('data/x=1/old.parquet'), await put('metadata/old-m0.avro')]
  const marker = await put('data/_marker')
  const putMs = Date.now()
  await until('they are old', async () => Date.now() > putMs + ageMs)
  const young = await put('data/young.parquet')
  const { rows } = await maintain(engine, { job: 'orphans', table: 'trades' })
  expect(rows).toMatchObject([{ state: 'done', filesBefore: 2 }])
  expect(old.map((path) => existsSync(path))).toEqual([false, false])
  expect([marker, young].map((path) => existsSync(path))).toEqual([true, true])
  await expectTrades(engine, total)
  await engine.stop()
  const next = await lab.start()
  await expectTrades(next, total)
})

test('a request that cannot be is refused', async () => {
  await open()
  const engine = await lab.start()
  const ask = async (body: string): Promise<unknown> => {
    const { text } = await engine.send('POST', '/v1/maintenance', {}, body)
    return (JSON.parse(text) as { code?: string; hint?: string }).code
  }
  expect(await ask('{"table":"trade"}')).toBe('unknown_stream')
  expect(await ask('{"job":"compact"}')).toBe('invalid_request')
  expect(await ask('{"dryRun":1}')).toBe('invalid_request')
  expect(await ask('[]')).toBe('invalid_request')
  expect(await ask('{')).toBe('invalid_json')
  expect((await engine.send('GET', '/v1/maintenance/99')).status).toBe(404)
})
