/** I4 and I5: each event once, in every query at every moment, however it is loaded, committed and sent again. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { Lab, streamPlan, trade, tradeColumns, tradeEvents, trades, type LabEngine } from './engine-harness.ts'

let lab: Lab
afterEach(() => lab.close())

const counts = 'select count(*) as n, count(distinct _event_id) as d from trades'

async function countsOf(engine: LabEngine): Promise<{ n: number; d: number }> {
  const [row] = await engine.sql(counts)
  return row as { n: number; d: number }
}

describe('I4: readers', () => {
  test('see no dip, no duplicate and no gap while events are loaded and committed', async () => {
    lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1 } } })
    const engine = await lab.start()
    const batches = 60
    const size = 100
    const loading = new AbortController()
    const reader = async (format: 'json' | 'parquet'): Promise<number> => {
      let last = 0
      let reads = 0
      for (; !loading.signal.aborted; reads++) {
        if (format === 'parquet') {
          const answer = await engine.query({ sql: counts, format })
          expect(answer.status, answer.text).toBe(200)
          continue
        }
        const { n, d } = await countsOf(engine)
        expect(n).toBe(d)
        expect(n % size, 'a batch is visible whole or not at all').toBe(0)
        expect(n).toBeGreaterThanOrEqual(last)
        last = n
      }
      return reads
    }
    const readers = [reader('json'), reader('json'), reader('parquet')]
    let posted = 0
    try {
      for (let batch = 0; batch < batches; batch++) {
        const fresh = tradeEvents(size, { from: posted })
        const again = tradeEvents(Math.min(posted, 50), { from: Math.max(0, posted - 200) })
        await lab.post('trades', [...again, ...fresh])
        posted += size
        if (batch % 10 === 9) await engine.committed('trades')
      }
      await engine.committed('trades')
    } finally {
      loading.abort()
    }
    const reads = await Promise.all(readers)
    expect(Math.min(...reads)).toBeGreaterThan(3)
    expect(await countsOf(engine)).toEqual({ n: batches * size, d: batches * size })
    expect((await engine.status('trades')).files).toBeGreaterThan(3)
  })

  test('that began before a commit end with the rows they began with', async () => {
    lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1 } } })
    const engine = await lab.start()
    await lab.post('trades', tradeEvents(3000))
    await engine.caughtUp('trades')
    const long = engine.sql('select a._event_id, count(*) as n from trades a, trades b group by a._event_id')
    await lab.post('trades', tradeEvents(500, { prefix: 'u' }))
    await engine.committed('trades')
    const rows = await long
    expect(rows.every(({ n }) => n === rows.length)).toBe(true)
  })
})

describe('I5: repeats', () => {
  /** Loads `trades` twice over, with `between` happening after the first time. */
  async function sendTwice(between: (engine: LabEngine) => Promise<LabEngine>): Promise<LabEngine> {
    let engine = await lab.start()
    await lab.post('trades', tradeEvents(50))
    await engine.caughtUp('trades')
    engine = await between(engine)
    await lab.post('trades', [...tradeEvents(50), trade('new', '2013-10-07T05:00:00Z')])
    await engine.caughtUp('trades')
    return engine
  }

  test('in one batch are left out; the first one stays', async () => {
    lab = await Lab.open()
    const engine = await lab.start()
    const time = '2013-10-07T01:00:00Z'
    await lab.post('trades', [trade('a', time, { size: 1 }), trade('b', time), trade('a', time, { size: 2 })])
    await engine.caughtUp('trades')
    expect(await engine.sql('select id, size from trades order by id')).toEqual([
      { id: 'a', size: 1 },
      { id: 'b', size: 1 },
    ])
    expect(await engine.status('trades')).toMatchObject({ rows: 2, duplicates: 1 })
  })

  test('in a later batch are left out', async () => {
    lab = await Lab.open()
    const engine = await sendTwice(async (running) => running)
    expect(await countsOf(engine)).toEqual({ n: 51, d: 51 })
  })

  test('after a commit are left out', async () => {
    lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1 } } })
    const engine = await sendTwice(async (running) => {
      await running.committed('trades')
      return running
    })
    expect(await countsOf(engine)).toEqual({ n: 51, d: 51 })
  })

  test('after a restart are left out', async () => {
    lab = await Lab.open()
    const engine = await sendTwice(async (running) => {
      await running.stop()
      return lab.start()
    })
    expect(await countsOf(engine)).toEqual({ n: 51, d: 51 })
  })

  test('that come late into old partitions are left out, and late events are not', async () => {
    lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1 } } })
    const engine = await lab.start()
    const days = ['2013-10-05', '2013-10-06', '2013-10-07', '1969-12-31', '9999-12-31']
    for (const day of days) {
      await lab.post('trades', tradeEvents(20, { prefix: day, day }))
      await engine.committed('trades')
    }
    for (const day of days.toReversed()) await lab.post('trades', tradeEvents(25, { prefix: day, day }))
    await engine.committed('trades')
    expect(await countsOf(engine)).toEqual({ n: 125, d: 125 })
    const files = await engine.sql('select partition, sum(rows) as n from freshet.files group by all order by 1')
    expect(files).toEqual(days.toSorted().map((partition) => ({ partition, n: 25 })))
  })

  test('of ids with quotes, backslashes and other scripts are left out after a commit and a restart', async () => {
    lab = await Lab.open()
    const ids = ['a"b', 'back\\slash', 'é', 'e\u0301', '日本', '😀', "o'clock", 'x\u2028y', '0', '00']
    const events = ids.map((id, index) => trade(id, `2013-10-07T00:00:0${index}Z`))
    let engine = await lab.start()
    await lab.post('trades', [...events, ...events])
    await engine.caughtUp('trades')
    await engine.stop()
    engine = await lab.start()
    await lab.post('trades', events)
    await engine.caughtUp('trades')
    expect((await engine.sql('select id from trades order by _event_time')).map(({ id }) => id)).toEqual(ids)
  })

  test('with the same id on another day are other events when the client says the time', async () => {
    lab = await Lab.open()
    let engine = await lab.start()
    await lab.post('trades', [trade('a', '2013-10-07T23:59:59.999999Z'), trade('a', '2013-10-08T00:00:00Z')])
    await engine.caughtUp('trades')
    await engine.stop()
    engine = await lab.start()
    await lab.post('trades', [trade('a', '2013-10-08T00:00:00Z'), trade('a', '2013-10-09T00:00:00Z')])
    await engine.caughtUp('trades')
    expect(await engine.value('select count(*) from trades')).toBe(3)
  })

  test.each([
    ['has no time of its own', { time: null }],
    ['is partitioned by arrival', { partition: { by: 'received_at', unit: 'day' } }],
  ] as const)('are found in the whole table when the stream %s', async (_, options) => {
    lab = await Lab.open({ streams: { trades: streamPlan('trades', { columns: tradeColumns, ...options }) } })
    let engine = await lab.start()
    await lab.post('trades', [trade('a', '2013-10-07T00:00:00Z'), trade('b', '2013-10-07T00:00:00Z')])
    await engine.caughtUp('trades')
    await engine.stop()
    engine = await lab.start()
    await lab.post('trades', [trade('a', '2015-01-01T00:00:00Z'), trade('c', '2015-01-01T00:00:00Z')])
    await engine.caughtUp('trades')
    expect((await engine.sql('select id from trades order by id')).map(({ id }) => id)).toEqual(['a', 'b', 'c'])
  })

  test('are found after the partitioning was changed', async () => {
    lab = await Lab.open()
    const hourly = {
      trades: streamPlan('trades', { columns: tradeColumns, partition: { by: 'event_time', unit: 'hour' } }),
    }
    const monthly = {
      trades: streamPlan('trades', { columns: tradeColumns, partition: { by: 'event_time', unit: 'month' } }),
    }
    const events = [
      trade('a', '2013-10-07T01:00:00Z'),
      trade('b', '2013-10-07T02:00:00Z'),
      trade('c', '2013-11-07T02:00:00Z'),
    ]
    for (const streams of [{ trades }, hourly, monthly, { trades }]) {
      const engine = await lab.start({ streams })
      await lab.post('trades', [...events, trade(`new-${JSON.stringify(streams).length}`, '2013-10-07T03:00:00Z')])
      await engine.caughtUp('trades')
      await engine.stop()
    }
    const engine = await lab.start()
    expect(await countsOf(engine)).toEqual({ n: 6, d: 6 })
    const partitions = await engine.sql('select distinct length(partition) as n from freshet.files order by n')
    expect(partitions.map(({ n }) => n)).toEqual([7, 10, 13])
  })

  test('of events with ids that the gateway made are none: nothing is left out of a stream without an id field', async () => {
    lab = await Lab.open({ streams: { trades: streamPlan('trades', { id: null, time: null }) } })
    const engine = await lab.start()
    await lab.post('trades', [
      { id: 'g1', fields: { a: 1 } },
      { id: 'g2', fields: { a: 1 } },
    ])
    await engine.caughtUp('trades')
    expect(await engine.value('select count(*) from trades')).toBe(2)
  })
})

describe('a chunk that is large enough for a data file of its own', () => {
  const oneSegment = { segmentBytes: 256 << 20 }

  /** Batches no larger than the gateway takes. */
  async function postAll(events: ReturnType<typeof tradeEvents>): Promise<void> {
    for (let from = 0; from < events.length; from += 10_000) await lab.post('trades', events.slice(from, from + 10_000))
  }

  const padding = 'x'.repeat(300)
  const large = (prefix: string, day = '2013-10-07'): ReturnType<typeof tradeEvents> =>
    tradeEvents(90_000, { prefix, day }).map((event) => ({ ...event, fields: { ...event.fields, padding } }))

  test('is there once, hot and committed, and its repeats are left out', async () => {
    lab = await Lab.open({ ...oneSegment, streams: { trades: streamPlan('trades') } })
    let engine = await lab.start()
    await lab.post('trades', tradeEvents(10, { prefix: 'few' }))
    await engine.caughtUp('trades')
    await lab.post(
      'trades',
      tradeEvents(1).map((event) => ({ ...event, fields: { ...event.fields, padding } })),
    )
    await engine.caughtUp('trades')
    await engine.stop()
    engine = await lab.start()
    await engine.stop()
    await postAll(large('a'))
    engine = await lab.start()
    await engine.caughtUp('trades')
    await lab.post('trades', [...tradeEvents(20, { prefix: 'a' }), ...tradeEvents(20, { prefix: 'few' })])
    await engine.caughtUp('trades')
    expect(await countsOf(engine)).toEqual({ n: 90_021, d: 90_021 })
    expect(await engine.status('trades')).toMatchObject({ hotRows: 90_010 })
    await engine.stop()
    engine = await lab.start()
    await lab.post('trades', [...tradeEvents(30, { prefix: 'a' }), ...tradeEvents(30, { prefix: 'few' })])
    await engine.caughtUp('trades')
    expect(await countsOf(engine)).toEqual({ n: 90_031, d: 90_031 })
  })

  test('of several days is there once, too, and what follows it at once is seen', async () => {
    lab = await Lab.open({
      ...oneSegment,
      streams: { trades: streamPlan('trades') },
      plan: { lake: { flushIntervalMs: 1 } },
    })
    await postAll([...large('a').slice(0, 60_000), ...large('b', '2013-10-08').slice(0, 60_000)])
    const engine = await lab.start()
    for (let batch = 0; batch < 30; batch++) await lab.post('trades', tradeEvents(1, { prefix: `few${batch}-` }))
    await engine.caughtUp('trades')
    await engine.committed('trades')
    expect(await countsOf(engine)).toEqual({ n: 120_030, d: 120_030 })
  })
})

test('a backlog that is too much for the memory at once is loaded in smaller pieces', async () => {
  lab = await Lab.open({
    segmentBytes: 256 << 20,
    streams: { trades: streamPlan('trades') },
    plan: { lake: { flushIntervalMs: 1 }, engine: { memoryBytes: 80 << 20, spillBytesMax: 0 } },
  })
  for (let batch = 0; batch < 40; batch++) {
    const events = tradeEvents(2000, { from: batch * 2000 })
    await lab.post(
      'trades',
      events.map((event) => ({ ...event, fields: { ...event.fields, padding: 'x'.repeat(400) } })),
    )
  }
  const engine = await lab.start()
  await engine.committed('trades')
  expect(await countsOf(engine)).toEqual({ n: 80_000, d: 80_000 })
})

describe('the table', () => {
  test.each([
    ['hour', ['2013-10-07-00', '2013-10-07-23', '2013-10-08-00']],
    ['day', ['2013-10-07', '2013-10-08']],
    ['month', ['2013-10']],
  ] as const)('is cut by %s', async (unit, partitions) => {
    lab = await Lab.open({
      streams: { trades: streamPlan('trades', { columns: tradeColumns, partition: { by: 'event_time', unit } }) },
    })
    let engine = await lab.start()
    await lab.post('trades', [
      trade('a', '2013-10-07T00:00:00Z'),
      trade('b', '2013-10-07T23:59:59.999999Z'),
      trade('c', '2013-10-08T00:00:00Z'),
    ])
    await engine.caughtUp('trades')
    await engine.stop()
    engine = await lab.start()
    const files = await engine.sql('select partition from freshet.files order by 1')
    expect(files.map(({ partition }) => partition)).toEqual(partitions)
    expect(await engine.value('select count(*) from trades')).toBe(3)
  })

  test('can be moved with the whole data folder', async () => {
    lab = await Lab.open()
    let engine = await lab.start()
    await lab.post('trades', tradeEvents(10))
    await engine.caughtUp('trades')
    await engine.stop()
    await lab.closeLog()
    const elsewhere = await mkdtemp(join(tmpdir(), "freshet it's elsewhere "))
    await lab.moveTo(join(elsewhere, 'data'))
    await lab.openLog()
    engine = await lab.start()
    await lab.post('trades', tradeEvents(12))
    await engine.caughtUp('trades')
    await engine.stop()
    engine = await lab.start()
    expect(await countsOf(engine)).toEqual({ n: 12, d: 12 })
    expect(await engine.value('select count(*) from freshet.files')).toBe(2)
    await lab.close()
    await rm(elsewhere, { recursive: true })
  })
})
