/** Rollups in a running engine: read like streams, corrected by what comes late or goes, and never made of two states of their source (I9). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkConfig } from '../../src/config/check.ts'
import type { Column, RollupPlan } from '../../src/config/plan.ts'
import { checkOptions } from '../support/config-mistakes.ts'
import {
  Lab,
  streamPlan,
  trade,
  tradeColumns,
  until,
  type LabEngine,
  type LabEvent,
  type Row,
} from './engine-harness.ts'

const select = { trades: 'count(*)', volume: 'sum(size)', high: 'max(price)' }
const bars = { from: 'trades', bucket: '1 minute', by: ['venue'], select }
const hours = {
  from: 'bars',
  bucket: '1 hour',
  by: ['venue'],
  select: { trades: 'sum(trades)', volume: 'sum(volume)' },
}

/** The plan of some rollups over `trades`. */
function planOf(rollups: Record<string, unknown>): Record<string, RollupPlan> {
  return checkConfig({ streams: { trades: {} }, rollups }, checkOptions).rollups
}

let lab: Lab
let engine: LabEngine

async function start(rollups: Record<string, unknown> = { bars }): Promise<void> {
  engine = await lab.start({ rollups: planOf(rollups) })
}

const at = (minute: number, second = 0): string => new Date(Date.UTC(2013, 9, 7, 12, minute, second)).toISOString()
const event = (id: string, minute: number, fields: Record<string, unknown> = {}): LabEvent =>
  trade(id, at(minute), { venue: 'XNAS', ...fields })

async function post(...events: LabEvent[]): Promise<void> {
  await lab.post('trades', events)
  await engine.committed('trades')
}

/** Waits until the rollup stands for all that is committed. */
async function settled(name = 'bars'): Promise<void> {
  await until(`${name} is up to date`, async () => {
    const [row] = await engine.sql(`SELECT lag_ms, problem FROM freshet.rollups WHERE name = '${name}'`)
    if (row?.['problem'] != null) throw new Error(row['problem'] as string)
    return row?.['lag_ms'] === 0
  })
}

const recomputed = `SELECT time_bucket(INTERVAL 1 MINUTE, _event_time) AS bucket, venue, count(*) AS trades, sum(size) AS volume,
  max(price) AS high FROM trades GROUP BY ALL`

/** That the rollup is what its SELECT gives over all rows. */
async function expectEqual(): Promise<void> {
  await settled()
  const order = 'ORDER BY bucket, venue'
  const own = await engine.sql(`SELECT bucket, venue, trades, volume, high FROM bars ${order}`)
  expect(own).toEqual(
    await engine.sql(`SELECT bucket, venue, trades, volume::BIGINT AS volume, high FROM (${recomputed}) ${order}`),
  )
}

const rows = (): Promise<Row[]> =>
  engine.sql('SELECT epoch_ms(bucket) AS at, venue, trades, volume FROM bars ORDER BY ALL')

async function rollLog(): Promise<bigint> {
  return (await lab.log.roll('trades')).get(0) ?? 0n
}

async function maintain(request: object): Promise<void> {
  const json = { 'content-type': 'application/json' }
  const { text } = await engine.send('POST', '/v1/maintenance', json, JSON.stringify(request))
  const { run } = JSON.parse(text) as { run: number }
  await until('the run is done', async () => {
    const { text: state } = await engine.send('GET', `/v1/maintenance/${run}`)
    return (JSON.parse(state) as { state: string }).state === 'done'
  })
}

beforeEach(async () => {
  const columns: Column[] = [...tradeColumns, { name: 'venue', type: { kind: 'string' } }]
  lab = await Lab.open({
    streams: { trades: streamPlan('trades', { columns }) },
    plan: { lake: { flushIntervalMs: 20 } },
  })
})

afterEach(() => lab.close())

describe('a rollup', () => {
  test('has a row for each bucket and group, and is corrected by what comes late', async () => {
    await start()
    expect(await engine.sql('SELECT * FROM bars')).toEqual([])
    await post(event('a', 0), event('b', 0), event('c', 1, { venue: 'BATS' }))
    await settled()
    const minute = Date.UTC(2013, 9, 7, 12)
    expect((await rows()).map(Object.values)).toEqual([
      [minute, 'XNAS', 2, 2],
      [minute + 60_000, 'BATS', 1, 1],
    ])
    await post(event('late', 0, { size: 40 }), event('a', 0), event('old', -1_000_000))
    await expectEqual()
    expect(await engine.value(`SELECT sum(volume) FROM bars`)).toBe(44)
    expect(await engine.value(`SELECT count(*) FROM bars`)).toBe(3)
  })
  test('that was behind when the engine ended catches up at the next start', async () => {
    await start()
    await post(event('a', 0))
    await settled()
    await engine.stop()
    await lab.post('trades', [event('b', 0), event('c', 5)])
    await start()
    await engine.committed('trades')
    await expectEqual()
    expect(await engine.value('SELECT sum(trades) FROM bars')).toBe(3)
  })

  test('is computed anew when its definition is another one, and has its new columns only', async () => {
    await start()
    await post(event('a', 0), event('b', 1))
    await settled()
    await engine.stop()
    await start({
      bars: { ...bars, bucket: '1 hour', select: { low: 'min(price)', volume: "sum(size) || ' shares'" } },
    })
    await settled()
    expect(await engine.sql('SELECT * FROM bars')).toEqual([
      { bucket: '2013-10-07T12:00:00.000Z', venue: 'XNAS', low: 1.5, volume: '2 shares' },
    ])
    await post(event('c', 2))
    await settled()
    expect(await engine.value('SELECT volume FROM bars')).toBe('3 shares')
  })

  test('says why it does not get on, and others go on', async () => {
    const tooSmall = { volume: 'CAST(sum(size) AS TINYINT)' }
    await start({ bad: { from: 'trades', bucket: '1 minute', select: tooSmall }, bars })
    await post(event('a', 0, { size: 100 }), event('b', 0, { size: 100 }))
    await until('there is a problem', async () =>
      String(await engine.value(`SELECT problem FROM freshet.rollups WHERE name = 'bad'`)).includes('out of range'),
    )
    await expectEqual()
    const { rollups } = JSON.parse((await engine.send('GET', '/v1/status')).text) as { rollups: Row[] }
    expect(rollups).toMatchObject([
      { name: 'bad', from: 'trades', bucket: '60 seconds', rows: 0, problem: expect.stringContaining('out of range') },
      { name: 'bars', rows: 1, lagMs: 0, problem: null },
    ])
    const metrics = (await engine.send('GET', '/metrics')).text.split('\n')
    for (const line of [
      'freshet_engine_rollup_rows{rollup="bars",from="trades"} 1',
      'freshet_engine_rollup_lag_seconds{rollup="bars",from="trades"} 0',
      'freshet_engine_rollup_stuck{rollup="bars",from="trades"} 0',
      'freshet_engine_rollup_stuck{rollup="bad",from="trades"} 1',
    ])
      expect(metrics).toContain(line)
  })

  test('whose SQL has a word of SQL for a column says so', async () => {
    await start({ last: { from: 'trades', bucket: '1 minute', select: { last: 'max(at)' } } })
    await until('there is a problem', async () => (await engine.value('SELECT problem FROM freshet.rollups')) !== null)
    expect(await engine.value('SELECT problem FROM freshet.rollups')).toBe(
      'syntax error at or near ")". "at" is a word of SQL: if it is a column here, write it in double quotes.',
    )
  })

  test('that the configuration has no longer stays as it is', async () => {
    await start()
    await post(event('a', 0))
    await settled()
    await engine.stop()
    await start({})
    await post(event('b', 0))
    expect(await engine.value('SELECT trades FROM bars')).toBe(1)
    expect(await engine.sql('SELECT source, bucket, lag_ms FROM freshet.rollups')).toEqual([
      { source: 'trades', bucket: null, lag_ms: null },
    ])
  })
})

describe('rows that go', () => {
  test('by an erasure are in no bucket any more, and in no former snapshot', async () => {
    await start({ bars, hours })
    await post(event('a', 0), event('b', 0, { size: 7 }), event('c', 9))
    await post(event('d', 9, { size: 7 }))
    await settled('hours')
    const body = JSON.stringify({
      where: 'size = 7',
      untilMs: Date.now(),
      position: String(await rollLog()),
      requestedBy: null,
    })
    const json = { 'content-type': 'application/json' }
    const answer = await engine.send('POST', '/v1/streams/trades/erasures', json, body)
    expect(answer.status, answer.text).toBe(202)
    const { id } = JSON.parse(answer.text) as { id: string }
    await until('the erasure is done', async () => {
      const { text } = await engine.send('GET', `/v1/erasures/${id}`)
      return (JSON.parse(text) as { state: string }).state === 'done'
    })
    expect(await engine.sql('SELECT trades, volume FROM bars ORDER BY bucket')).toEqual([
      { trades: 1, volume: 1 },
      { trades: 1, volume: 1 },
    ])
    expect(await engine.sql('SELECT trades, volume FROM hours')).toEqual([{ trades: 2, volume: 2 }])
    expect(
      await engine.sql(
        `SELECT stream, count(*) AS n FROM freshet.snapshots WHERE stream <> 'trades' GROUP BY ALL ORDER BY 1`,
      ),
    ).toEqual([
      { stream: 'bars', n: 1 },
      { stream: 'hours', n: 1 },
    ])
  })

  test('by retention leave the buckets that they were in, and what comes late does not empty these', async () => {
    lab.streams['trades'] = { ...lab.streams['trades']!, retainMs: 30 * 86_400_000 }
    await start()
    const today = new Date().toISOString()
    await post(event('a', 0), event('b', 0), trade('c', today, { venue: 'XNAS' }))
    await settled()
    await maintain({ table: 'trades', job: 'retention' })
    expect(await engine.value('SELECT count(*) FROM trades')).toBe(1)
    await post(event('late', 0))
    await settled()
    expect(await engine.sql('SELECT trades FROM bars ORDER BY bucket')).toEqual([{ trades: 2 }, { trades: 1 }])
    await post(trade('d', today, { venue: 'XNAS' }))
    await settled()
    expect(await engine.sql('SELECT trades FROM bars ORDER BY bucket')).toEqual([{ trades: 2 }, { trades: 2 }])
  })
})

describe('a table of a rollup', () => {
  test('is kept up like a stream, and compaction of either changes nothing', async () => {
    await start()
    for (let round = 0; round < 8; round++) await post(event(`a${round}`, round), event(`b${round}`, 20 - round))
    await expectEqual()
    const before = await rows()
    await maintain({ table: 'bars' })
    await maintain({ table: 'trades', job: 'compaction' })
    await settled()
    expect(await rows()).toEqual(before)
    await post(event('late', 3))
    await expectEqual()
    expect(await engine.value(`SELECT count(*) FROM freshet.maintenance WHERE state = 'failed'`)).toBe(0)
  })

  test('shows what it was', async () => {
    await start()
    await post(event('a', 0))
    await settled()
    const id = await engine.value(`SELECT max(snapshot_id) FROM freshet.snapshots WHERE stream = 'bars'`)
    await post(event('b', 0))
    await settled()
    expect(await engine.value(`SELECT trades FROM bars AT (VERSION => ${String(id)})`)).toBe(1)
    expect(await engine.value('SELECT trades FROM bars')).toBe(2)
  })
})

describe('rollups of rollups, and of any SQL', () => {
  test('follow what they are made of', async () => {
    const venues = {
      from: 'trades',
      bucket: '1 day',
      sql: `WITH t AS (SELECT *, row_number() OVER (PARTITION BY venue, date_trunc('day', _event_time) ORDER BY price DESC, _event_id) AS place FROM trades)
        SELECT time_bucket(INTERVAL 1 DAY, _event_time) AS bucket, venue, price AS best FROM t WHERE place = 1`,
      by: ['venue'],
    }
    await start({ hours, bars, venues })
    await post(event('a', 0), event('b', 59, { price: 9 }), event('c', 60, { venue: 'BATS' }))
    await settled('hours')
    await settled('venues')
    const hourly = 'SELECT venue, trades, volume FROM hours ORDER BY bucket, venue'
    await until('the hours are there', async () => (await engine.sql(hourly)).length === 2)
    expect(await engine.sql(hourly)).toEqual([
      { venue: 'XNAS', trades: 2, volume: 2 },
      { venue: 'BATS', trades: 1, volume: 1 },
    ])
    expect(await engine.sql('SELECT venue, best FROM venues ORDER BY venue')).toEqual([
      { venue: 'BATS', best: 1.5 },
      { venue: 'XNAS', best: 9 },
    ])
    await post(event('late', 30, { price: 10 }))
    await until('the hours are corrected', async () => Number((await engine.sql(hourly))[0]?.['trades']) === 3)
    await settled('venues')
    expect(await engine.value(`SELECT best FROM venues WHERE venue = 'XNAS'`)).toBe(10)
  })
})

describe('how far a rollup is complete', () => {
  test('is what its source was when it was computed, and comes with answers', async () => {
    lab.sites.set([{ name: 'london' }])
    await start({ bars, hours })
    await lab.post('trades', [event('a', 0)], { source: 'london', eventTimeMaxMs: Date.parse(at(0)) })
    await engine.committed('trades')
    await settled('hours')
    await until('it is known', async () => (await engine.value(`SELECT complete_through('hours')`)) !== null)
    expect(await engine.value(`SELECT complete_through('bars')`)).toBe('2013-10-07T12:00:00.000Z')
    const { headers } = await engine.query({ sql: 'SELECT * FROM hours' })
    expect(headers['freshet-complete-through']).toBe('hours=2013-10-07T12:00:00.000Z')
    await engine.stop()
    await start({ bars, hours })
    expect(await engine.value(`SELECT complete_through('hours')`)).toBe('2013-10-07T12:00:00.000Z')
  })
})
