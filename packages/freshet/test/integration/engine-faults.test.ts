/** What the world can do to an engine at each step of a flush: nothing is lost, nothing is there twice (I3, I5, I10). */
import { open, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/lake/catalog.ts'
import {
  Lab,
  streamPlan,
  trade,
  tradeEvents,
  until,
  type EngineOptions,
  type LabEngine,
  type LabEvent,
} from './engine-harness.ts'
import { closedToLoader, expectLedgerOfTable } from './ledger-checks.ts'
import { Freezer, intercepted, never, type Change } from './store-faults.ts'

let lab: Lab
afterEach(() => lab.close())

const fast = { plan: { lake: { flushIntervalMs: 1 } } }
const counts = 'select count(*) as n, count(distinct _event_id) as d from trades'
async function expectTrades(engine: LabEngine, n: number): Promise<void> {
  expect((await engine.sql(counts))[0]).toEqual({ n, d: n })
}

/** The positions of the table go up by snapshots, the rows of the files are those that the snapshots say, and the ledger agrees. */
async function expectSoundTable(engine: LabEngine): Promise<void> {
  const snapshots = await engine.sql(
    "select positions, total_rows from freshet.snapshots where stream = 'trades' order by committed_at, total_rows",
  )
  const reached = snapshots.map(({ positions }) => Number((JSON.parse(String(positions)) as { 0: string })[0]))
  expect(reached).toEqual(reached.toSorted((a, b) => a - b))
  const rows = await engine.value("select sum(rows) from freshet.files where stream = 'trades'")
  expect(rows).toBe(snapshots.at(-1)!['total_rows'])
  await expectLedgerOfTable(engine, 'trades')
}

describe('an engine that is killed', () => {
  const steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]

  test.each(steps.flatMap((step) => [['before', step] as const, ['after', step] as const]))(
    '%s change %i of the store leaves nothing lost and nothing twice',
    async (side, step) => {
      lab = await Lab.open(fast)
      const freezer = new Freezer(step, side)
      const killed = await lab.start(freezer.options)
      await lab.post('trades', [...tradeEvents(30), ...tradeEvents(30, { prefix: 'late', day: '2013-10-01' })])
      for (let from = 30; !freezer.frozen; from += 10) {
        await lab.post('trades', tradeEvents(20, { from: from - 10 }))
        await freezer.committedOrFrozen(killed, 'trades')
      }
      const sent = Number(await killed.value('select count(*) from trades'))
      await killed.abandon()
      const engine = await lab.start()
      await engine.caughtUp('trades')
      const afterwards = Number(await engine.value('select count(*) from trades'))
      expect(afterwards).toBeGreaterThanOrEqual(sent)
      await lab.post('trades', [...tradeEvents(300), ...tradeEvents(30, { prefix: 'late', day: '2013-10-01' })])
      await engine.committed('trades')
      await expectTrades(engine, 330)
      await expectSoundTable(engine)
    },
  )

  test('between a dead letter and the commit behind it finds the dead letter again, once', async () => {
    lab = await Lab.open(fast)
    const broken = { id: 'x', time: '2013-10-07T00:00:00Z', raw: '{"id":"x","price":1,"price":2}' }
    for (const step of [1, 2, 4, 6, 8, 10]) {
      const freezer = new Freezer(step, 'after')
      const killed = await lab.start(freezer.options)
      await lab.post('trades', [trade(`t${step}`, '2013-10-07T00:00:00Z'), { ...broken, id: `x${step}` }])
      await freezer.committedOrFrozen(killed, 'trades')
      await killed.abandon()
    }
    const engine = await lab.start()
    await engine.committed('trades')
    await expectTrades(engine, 6)
    const letters = await engine.letters('trades', 'count(*) as n, count(distinct _event_id) as d')
    expect(letters).toEqual([{ n: 6, d: 6 }])
    await expectSoundTable(engine)
  })
})

describe('a commit', () => {
  /** Commits one batch, then others with the fault in place, all of which must be there once; how many events there are. */
  async function rowsAfter(options: (armed: { on: boolean }) => EngineOptions): Promise<unknown> {
    lab = await Lab.open(fast)
    const armed = { on: false }
    const engine = await lab.start(options(armed))
    await lab.post('trades', tradeEvents(10))
    await engine.committed('trades')
    armed.on = true
    await lab.post('trades', tradeEvents(20))
    await engine.committed('trades')
    await expectTrades(engine, 20)
    await lab.post('trades', tradeEvents(30))
    await engine.committed('trades')
    await expectTrades(engine, 30)
    await expectSoundTable(engine)
    await until('the problem is over', async () => (await engine.status('trades')).problem === null)
    await engine.stop()
    const next = await lab.start()
    return next.value('select count(distinct _event_id) from trades')
  }

  /** Fails the first `times` changes that match. */
  function failing(
    armed: { on: boolean },
    matches: (change: Change, key: string) => boolean,
    times: number,
    late = false,
  ): EngineOptions {
    let left = times
    return {
      wrapStore: (store) =>
        intercepted(store, async (change, key, apply) => {
          if (!armed.on || left === 0 || !matches(change, key)) return apply()
          left--
          if (late) await apply()
          throw new Error('the disk is not in the mood')
        }),
    }
  }

  test('is made again when a data file cannot be stored', async () => {
    expect(await rowsAfter((armed) => failing(armed, (_, key) => key.endsWith('.parquet'), 1))).toBe(30)
  })

  test('is made again when a data file was stored and the answer lost', async () => {
    expect(await rowsAfter((armed) => failing(armed, (_, key) => key.endsWith('.parquet'), 1, true))).toBe(30)
  })

  test('is made again when a manifest cannot be stored', async () => {
    expect(await rowsAfter((armed) => failing(armed, (_, key) => key.endsWith('.avro'), 1))).toBe(30)
  })

  test('is made again when the metadata cannot be stored', async () => {
    expect(await rowsAfter((armed) => failing(armed, (change) => change === 'putIfAbsent', 1))).toBe(30)
  })

  test('is known to be made when the metadata was stored and the answer lost', async () => {
    expect(await rowsAfter((armed) => failing(armed, (change) => change === 'putIfAbsent', 1, true))).toBe(30)
  })

  function failingCatalog(
    armed: { on: boolean },
    commit: (apply: () => ReturnType<Catalog['commit']>) => ReturnType<Catalog['commit']>,
    load?: () => void,
  ): EngineOptions {
    return {
      wrapCatalog: (catalog) => ({
        tables: () => catalog.tables(),
        create: (...request) => catalog.create(...request),
        load: async (name) => {
          if (armed.on) load?.()
          return catalog.load(name)
        },
        commit: (...request) => (armed.on ? commit(() => catalog.commit(...request)) : catalog.commit(...request)),
      }),
    }
  }

  test('is known to be made when neither its answer nor the table can be had for a while', async () => {
    let silence = 0
    expect(
      await rowsAfter((armed) =>
        failingCatalog(
          armed,
          async (apply) => {
            const table = await apply()
            if (silence > 0) return table
            silence = 3
            throw new Error('connection reset')
          },
          () => {
            if (silence > 1) {
              silence--
              throw new Error('connection refused')
            }
          },
        ),
      ),
    ).toBe(30)
  })

  test('is made again when the catalog refuses it for a while', async () => {
    let left = 1
    expect(
      await rowsAfter((armed) =>
        failingCatalog(armed, (apply) => (left-- > 0 ? Promise.reject(new Error('503')) : apply())),
      ),
    ).toBe(30)
  })

  test('of a large chunk, which is a file already, is made again when the file cannot be put in place', async () => {
    lab = await Lab.open({ ...fast, segmentBytes: 256 << 20 })
    const columns = tradeEvents(100_000).map((event) => ({ ...event, raw: JSON.stringify(event.fields).padEnd(400) }))
    for (let from = 0; from < columns.length; from += 10_000) {
      await lab.post('trades', columns.slice(from, from + 10_000))
    }
    const engine = await lab.start(failing({ on: true }, (_, key) => key.endsWith('.parquet'), 2))
    await lab.post('trades', tradeEvents(100))
    await engine.committed('trades')
    await expectTrades(engine, 100_000)
    await expectSoundTable(engine)
    await engine.stop()
    expect(await (await lab.start()).value('select count(distinct _event_id) from trades')).toBe(100_000)
  })

  test('that fails shows as a problem, while its rows stay visible and loading goes on', async () => {
    lab = await Lab.open(fast)
    const armed = { on: true }
    const engine = await lab.start(failing(armed, () => true, Number.POSITIVE_INFINITY))
    await lab.post('trades', tradeEvents(10))
    await until('a problem', async () => (await engine.status('trades')).problem !== null)
    await lab.post('trades', tradeEvents(20))
    await engine.caughtUp('trades')
    await expectTrades(engine, 20)
    expect((await engine.status('trades')).problem).toContain('not in the mood')
    armed.on = false
    await engine.committed('trades')
    await until('the problem is over', async () => (await engine.status('trades')).problem === null)
    await expectTrades(engine, 20)
  })
})

describe('two engines on one lake', () => {
  test('load nothing twice and lose nothing, with ids and without', async () => {
    lab = await Lab.open({
      ...fast,
      streams: { trades: streamPlan('trades'), plain: streamPlan('plain', { id: null, time: null }) },
    })
    const engines = [await lab.start(), await lab.start()]
    for (let batch = 0; batch < 25; batch++) {
      await lab.post('trades', tradeEvents(20, { from: batch * 10 }))
      await lab.post(
        'plain',
        Array.from({ length: 10 }, (_, index) => ({ id: `${batch}-${index}`, fields: { batch, index } })),
      )
      if (batch % 5 === 4) await engines[batch % 2]!.committed('trades')
    }
    for (const engine of engines) {
      for (const stream of ['trades', 'plain']) await engine.committed(stream)
      await expectTrades(engine, 260)
      expect(await engine.sql('select count(*) as n, count(distinct _event_id) as d from plain')).toEqual([
        { n: 250, d: 250 },
      ])
    }
    for (const engine of engines) await engine.stop()
    const engine = await lab.start()
    await expectTrades(engine, 260)
    expect(await engine.value('select count(*) from plain')).toBe(250)
    await expectSoundTable(engine)
  })

  test('lose no dead letter when one of them commits its own and dies before the stream they are from', async () => {
    lab = await Lab.open({ plan: { lake: { flushRows: 20 } } })
    const broken = (id: string): LabEvent => ({
      id,
      time: '2013-10-07T00:00:00Z',
      raw: `{"id":"${id}","price":1,"price":2}`,
    })
    const gate = { open: true }
    const engine = await lab.start(closedToLoader(gate))
    await lab.post('trades', [broken('x'), ...tradeEvents(5)])
    await engine.caughtUp('trades')
    gate.open = false
    await lab.post('other', [broken('z'), ...tradeEvents(20)])
    await lab.post('trades', tradeEvents(20))
    let letters = false
    const killed = await lab.start({
      wrapStore: (store) =>
        intercepted(store, async (_, key, apply) => {
          if (!key.startsWith('trades/')) return apply()
          letters = true
          return never
        }),
    })
    await until('its dead letters are committed', async () => letters)
    await killed.abandon()
    await lab.post('trades', [broken('y'), ...tradeEvents(25)])
    gate.open = true
    let posted = 25
    await until('all that is committed', async () => {
      await lab.post('trades', tradeEvents(1, { from: posted++ }))
      const { ledger } = await engine.status('trades')
      return ledger?.committed !== undefined && ledger.committed >= 25
    })
    await engine.stop()
    const next = await lab.start()
    await expectTrades(next, posted)
    await expectSoundTable(next)
    const found = [...(await next.letters('trades')), ...(await next.letters('other'))]
    const ids = found.map(({ event }) => String(event).replace(/.*"id":"(\w)".*/, '$1'))
    expect(ids.toSorted()).toEqual(['x', 'y', 'z'])
  })

  test('keep a column as wide as either of them made it', async () => {
    lab = await Lab.open({ streams: { trades: streamPlan('trades') } })
    const stale = await lab.start()
    await lab.post('trades', [trade('a', '2013-10-07T00:00:00Z', { price: 1 })])
    await stale.caughtUp('trades')
    const other = await lab.start()
    await lab.post('trades', [trade('b', '2013-10-07T00:00:01Z', { price: 'high', more: true })])
    await other.caughtUp('trades')
    await other.stop()
    await stale.stop()
    const engine = await lab.start()
    await engine.caughtUp('trades')
    expect(await engine.sql('select price, more from trades order by id')).toEqual([
      { price: '1', more: null },
      { price: 'high', more: true },
    ])
  })
})

describe('a damaged log', () => {
  test('is a problem of its stream alone, and loading goes on once it is mended', async () => {
    lab = await Lab.open({ streams: { trades: streamPlan('trades'), other: streamPlan('other') } })
    await lab.post('trades', tradeEvents(10))
    await lab.post('trades', tradeEvents(20))
    const folder = join(lab.logDir, 'trades', '0')
    const segment = join(
      folder,
      (await readdir(folder)).find((name) => name.endsWith('.ndjson'))!,
    )
    const whole = await readFile(segment)
    const file = await open(segment, 'r+')
    await file.write(Buffer.from('X'), 0, 1, whole.lastIndexOf('"price"') + 3)
    await file.close()
    const engine = await lab.start()
    await until('a problem', async () => (await engine.status('trades')).problem !== null)
    await expectTrades(engine, 10)
    await lab.post('other', tradeEvents(5))
    await engine.caughtUp('other')
    expect(await engine.value("select problem from freshet.streams where name = 'trades'")).toContain('checksum')
    await writeFile(`${segment}.mended`, whole)
    await rename(`${segment}.mended`, segment)
    await engine.caughtUp('trades')
    await expectTrades(engine, 20)
    expect((await engine.status('trades')).problem).toBeNull()
  })
})

describe('a query that runs out of memory', () => {
  test('fails alone: loading and committing go on', async () => {
    lab = await Lab.open({
      plan: { lake: { flushIntervalMs: 1 }, engine: { memoryBytes: 96 << 20, spillBytesMax: 1 << 20 } },
    })
    const engine = await lab.start()
    const hungry = { sql: 'select max(len(l)) from (select list(range) as l from range(30000000))' }
    const query = engine.query(hungry)
    for (let batch = 0; batch < 10; batch++) await lab.post('trades', tradeEvents(100, { from: batch * 100 }))
    const answer = await query
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'query_memory', status: 422 })
    await engine.committed('trades')
    await expectTrades(engine, 1000)
  })
})
