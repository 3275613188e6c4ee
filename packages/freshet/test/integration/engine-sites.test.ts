/** How far streams are complete, by what the engine has loaded: sites, silence, heartbeats, restarts. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/lake/catalog.ts'
import { FreshetError } from '../../src/runtime/errors.ts'
import { Lab, streamPlan, trade, trades, type LabEngine, type Row } from './engine-harness.ts'

let lab: Lab
beforeEach(async () => {
  lab = await Lab.open({ streams: { trades, orders: streamPlan('orders') } })
  lab.sites.set([{ name: 'london' }, { name: 'paris' }])
})
afterEach(() => lab.close())

const day = '2013-10-07T'
const ask = "select complete_through('trades') as t"
let ids = 0

/** A site sends an event of each of these times, as one batch. */
async function send(source: string, ...times: string[]): Promise<void> {
  const events = times.map((time) => trade(`e${ids++}`, time))
  await lab.post('trades', events, { source, eventTimeMaxMs: Math.max(...times.map((time) => Date.parse(time))) })
}

async function beat(source: string, time: string, stream = 'trades'): Promise<void> {
  await lab.log.append(stream, {
    lines: [],
    count: 0,
    source,
    eventTimeMaxMs: Date.parse(time),
    receivedAtMs: Date.now(),
  })
}

async function completeThrough(engine: LabEngine): Promise<unknown> {
  await engine.caughtUp('trades')
  return engine.value(ask)
}

const sitesOf = (engine: LabEngine, stream = 'trades'): Promise<Row[]> =>
  engine.sql('select * from freshet.sites where stream = $stream order by site', { stream })

test('a silent site holds a stream back until it says something, is paused or is removed, and says so', async () => {
  const engine = await lab.start()
  expect(await completeThrough(engine)).toBeNull()
  await send('london', `${day}10:00:00.000Z`, `${day}10:05:00.500Z`)
  expect(await completeThrough(engine)).toBeNull()
  expect(await sitesOf(engine)).toMatchObject([
    { site: 'london', state: 'active', holds_back: false, last_event_time: `${day}10:05:00.500Z` },
    { site: 'paris', state: 'active', holds_back: true, reported_through: null, last_arrival: null, silent_ms: null },
  ])

  await send('paris', `${day}10:01:00.000Z`)
  expect(await completeThrough(engine)).toBe(`${day}10:01:00.000Z`)
  await send('london', `${day}11:00:00.000Z`)
  expect(await completeThrough(engine)).toBe(`${day}10:01:00.000Z`)
  expect(await sitesOf(engine)).toMatchObject([
    { site: 'london', holds_back: false, complete_through: `${day}10:01:00.000Z` },
    { site: 'paris', holds_back: true, reported_through: `${day}10:01:00.000Z` },
  ])

  await beat('paris', `${day}10:30:00.000Z`)
  expect(await completeThrough(engine)).toBe(`${day}10:30:00.000Z`)
  expect(await sitesOf(engine)).toMatchObject([
    { site: 'london' },
    { site: 'paris', last_event_time: `${day}10:01:00.000Z`, reported_through: `${day}10:30:00.000Z` },
  ])

  lab.sites.set([{ name: 'london' }, { name: 'paris', state: 'paused' }])
  expect(await completeThrough(engine)).toBe(`${day}11:00:00.000Z`)
  expect(await sitesOf(engine)).toMatchObject([
    { site: 'london', holds_back: true },
    { site: 'paris', state: 'paused', holds_back: false },
  ])
  lab.sites.set([{ name: 'london' }, { name: 'paris' }])
  expect(await completeThrough(engine)).toBe(`${day}10:30:00.000Z`)
  lab.sites.set([{ name: 'london' }])
  expect(await completeThrough(engine)).toBe(`${day}11:00:00.000Z`)
  expect(await sitesOf(engine)).toMatchObject([{ site: 'london' }, { site: 'paris', state: 'unregistered' }])
  lab.sites.set([])
  expect(await completeThrough(engine)).toBeNull()
})

test('the header of an answer, the status and the table say the same', async () => {
  const engine = await lab.start()
  lab.sites.set([{ name: 'london', streams: ['trades'] }])
  await send('london', `${day}10:00:00.000Z`)
  await beat('tokyo', `${day}09:00:00.000Z`, 'orders')
  await engine.caughtUp('trades')
  await engine.caughtUp('orders')
  const { headers } = await engine.query({ sql: 'select count(*) from trades, orders' })
  expect(headers['freshet-complete-through']).toBe('trades=2013-10-07T10:00:00.000Z')
  const other = await engine.query({ sql: 'select count(*) from orders' })
  expect(other.headers).not.toHaveProperty('freshet-complete-through')
  expect(await engine.status('trades')).toMatchObject({
    completeThrough: '2013-10-07T10:00:00.000Z',
    sitesTotal: 1,
    sites: [{ site: 'london', state: 'active', reportedThrough: '2013-10-07T10:00:00.000Z', holdsBack: true }],
  })
  expect(await engine.status('orders')).toMatchObject({
    completeThrough: null,
    sites: [{ site: 'tokyo', state: 'unregistered', holdsBack: false }],
  })
  expect(await engine.value("select count(*) from freshet.sites where stream like '%dead_letters'")).toBe(0)
})

test('what is complete is in SQL: the time is never later than what the same query sees (I4)', async () => {
  lab.sites.set([{ name: 'london' }])
  const engine = await lab.start()
  const seconds = 300
  let sent = 0
  const sending = (async () => {
    for (; sent < seconds; sent++) await send('london', new Date(Date.UTC(2013, 9, 7) + sent * 1000).toISOString())
  })()
  const query = `select epoch(complete_through('trades')) - epoch(timestamptz '${day}00:00:00.000Z') as second,
    count(*) filter (where _event_time <= complete_through('trades')) as complete,
    (select complete_through from freshet.sites where site = 'london' and stream = 'trades') as listed,
    max(_event_time) as latest from trades`
  let seen = 0
  while (seen < seconds - 1) {
    const [row] = await engine.sql(query)
    if (row!['second'] === null) continue
    seen = row!['second'] as number
    expect(row!['complete']).toBe(seen + 1)
    expect((row!['listed'] ?? '') <= row!['latest']!).toBe(true)
  }
  await sending
})

describe('it never goes back because of a restart', () => {
  test('when all was committed, heartbeats too', async () => {
    const first = await lab.start()
    await send('london', `${day}10:00:00.000Z`)
    await beat('paris', `${day}10:30:00.000Z`)
    expect(await completeThrough(first)).toBe(`${day}10:00:00.000Z`)
    await first.stop()
    const second = await lab.start()
    expect(await second.value(ask)).toBe(`${day}10:00:00.000Z`)
    expect(await sitesOf(second)).toMatchObject([
      { site: 'london', last_event_time: `${day}10:00:00.000Z` },
      { site: 'paris', last_event_time: null, reported_through: `${day}10:30:00.000Z` },
    ])
  })

  test('when nothing was committed, or only a part', async () => {
    const fails = (catalog: Catalog): Catalog => ({
      tables: () => catalog.tables(),
      load: (name) => catalog.load(name),
      create: (name, metadata) => catalog.create(name, metadata),
      commit: () => Promise.reject(new Error('not now')),
    })
    const first = await lab.start()
    await send('london', `${day}10:00:00.000Z`)
    await send('paris', `${day}10:00:00.000Z`)
    await first.caughtUp('trades')
    await first.stop()
    const second = await lab.start({ wrapCatalog: fails })
    await send('london', `${day}11:00:00.000Z`)
    await beat('paris', `${day}10:45:00.000Z`)
    expect(await completeThrough(second)).toBe(`${day}10:45:00.000Z`)
    await second.stop()
    const third = await lab.start()
    expect(await third.value(ask)).toBe(`${day}10:45:00.000Z`)
  })
})

test('heartbeats alone do not fill the log for ever', async () => {
  const engine = await lab.start()
  const bytes = async (): Promise<number> => Number((await lab.log.ends('orders')).get(0) ?? 0n)
  while ((await bytes()) < 3 << 20) {
    await Promise.all(Array.from({ length: 1000 }, () => beat('london', `${day}10:00:00.000Z`, 'orders')))
  }
  const checkpoint = async (): Promise<bigint> => BigInt((await engine.status('orders')).checkpoint)
  await expect.poll(checkpoint, { timeout: 60_000 }).toBeGreaterThan(1n << 20n)
})

test('a registered site is remembered among thousands that are not', async () => {
  lab.sites.set([{ name: 'london' }])
  const first = await lab.start()
  await beat('london', `${day}10:00:00.000Z`)
  await Promise.all(Array.from({ length: 3000 }, (_, index) => beat(`sender ${index}`, `${day}11:00:00.000Z`)))
  expect(await completeThrough(first)).toBe(`${day}10:00:00.000Z`)
  expect((await sitesOf(first)).length).toBeLessThan(2500)
  await first.stop()
  const second = await lab.start()
  expect(await second.value(ask)).toBe(`${day}10:00:00.000Z`)
  expect((await sitesOf(second)).length).toBeLessThan(1100)
})

test('an event from a far future reports a day ahead at most', async () => {
  lab.sites.set([{ name: 'london' }])
  const engine = await lab.start()
  await send('london', '2913-10-07T10:00:00Z')
  const [row] = await engine
    .caughtUp('trades')
    .then(() =>
      engine.sql(
        "select last_event_time, reported_through - last_arrival as ahead from freshet.sites where stream = 'trades'",
      ),
    )
  expect(row).toMatchObject({ last_event_time: '2913-10-07T10:00:00.000Z', ahead: '1 day' })
})

test('a registry that cannot be read keeps the engine from nothing else', async () => {
  lab.sites.list = () => Promise.reject(new FreshetError('sites_unavailable', 'It is damaged.'))
  const engine = await lab.start()
  await send('london', `${day}10:00:00.000Z`)
  await engine.caughtUp('trades')
  expect(await engine.value('select count(*) from trades')).toBe(1)
  expect(await engine.value('select count(*) from freshet.streams')).toBe(2)
  expect(await engine.status('trades')).toMatchObject({ completeThrough: null, sites: null, sitesTotal: null })
  for (const sql of [ask, 'select * from freshet.sites']) {
    const { status, text } = await engine.query({ sql })
    expect([status, JSON.parse(text)]).toMatchObject([503, { code: 'sites_unavailable', detail: 'It is damaged.' }])
  }
})
