/** What a new consumer is given of a table: every row once and in order, as lines of the log, with the log position that follows (I3, I7). */
import { afterEach, expect, test } from 'vitest'
import type { PageHead } from '../../src/engine/back-fill/routes.ts'
import type { RowPlace } from '../../src/engine/back-fill/page.ts'
import type { Column } from '../../src/config/plan.ts'
import { Lab, streamPlan, trade, tradeEvents, type LabEngine } from './engine-harness.ts'

let lab: Lab
afterEach(() => lab.close())

const fast = { plan: { lake: { flushIntervalMs: 1 } } }
const consumer = 'transform:copies'

async function ask(engine: LabEngine, action: string, body: object): Promise<{ status: number; text: string }> {
  return engine.send('POST', `/v1/back-fill/${action}`, {}, JSON.stringify(body))
}

async function begin(engine: LabEngine, stream = 'trades'): Promise<{ snapshot: string; position: string }> {
  const { text } = await ask(engine, 'begin', { stream, consumer })
  return JSON.parse(text) as { snapshot: string; position: string }
}

async function page(
  engine: LabEngine,
  snapshot: string,
  after: RowPlace | undefined,
  bytesMax: number,
  stream = 'trades',
): Promise<{ head: PageHead; lines: string[] }> {
  const { text, status } = await ask(engine, 'read', { stream, snapshot, after, bytesMax })
  expect(status, text).toBe(200)
  const [head, ...lines] = text.split('\n')
  expect(lines.pop()).toBe('')
  return { head: JSON.parse(head!) as PageHead, lines }
}

async function all(engine: LabEngine, snapshot: string, bytesMax: number, stream = 'trades'): Promise<string[]> {
  const found: string[] = []
  let after: RowPlace | undefined
  for (;;) {
    const { head, lines } = await page(engine, snapshot, after, bytesMax, stream)
    expect(head.count).toBe(lines.length)
    expect(head.batches.reduce((sum, { count }) => sum + count, 0)).toBe(lines.length)
    if (lines.length === 0) return found
    expect(lines.length === 1 || Buffer.byteLength(lines.join('\n')) < bytesMax).toBe(true)
    found.push(...lines)
    after = head.last
  }
}

const idOf = (line: string): string => (JSON.parse(line) as { _event_id: string })._event_id
const tags = (engine: LabEngine): Promise<unknown> =>
  engine.value("select string_agg(tags, ';') from freshet.snapshots where stream = 'trades' and tags is not null")

test('every row comes once, in the order of arrival, whatever the size of the pages', async () => {
  lab = await Lab.open(fast)
  const engine = await lab.start()
  const receivedAtMs = Date.parse('2013-10-08T00:00:00Z')
  // Later arrivals of earlier days, so that the files' order is not the rows'.
  const days = ['2013-10-09', '2013-10-07', '2013-10-08']
  for (const [index, day] of days.entries()) {
    for (const half of [0, 1]) {
      const events = tradeEvents(15, { prefix: `${index}-`, day, from: half * 15 })
      const sent = events.map((event) => ({ ...event, fields: { _source: `s${half}`, ...event.fields } }))
      await lab.post('trades', sent, { receivedAtMs: receivedAtMs + index * 1000 + half, source: `s${half}` })
      await engine.committed('trades')
    }
  }
  const { snapshot, position } = await begin(engine)
  expect(BigInt(position)).toBe((await lab.log.ends('trades')).get(0))
  const expected = [0, 1, 2].flatMap((index) => Array.from({ length: 30 }, (_, at) => `${index}-${at}`))
  const once = await all(engine, snapshot, 1e9)
  expect(once.map(idOf)).toEqual(expected)
  for (const bytesMax of [1, 700, 2000]) expect(await all(engine, snapshot, bytesMax)).toEqual(once)
  const { head } = await page(engine, snapshot, undefined, 1e9)
  expect(head.batches[0]).toEqual({
    count: 15,
    receivedAtMs,
    source: 's0',
    eventTimeMaxMs: Date.parse('2013-10-09T00:00:14Z'),
  })
  expect(head.batches.length).toBe(6)
})

test('what is committed later is in the log behind the position, and in no page', async () => {
  lab = await Lab.open(fast)
  const engine = await lab.start()
  await lab.post('trades', tradeEvents(10))
  await engine.committed('trades')
  const { snapshot, position } = await begin(engine)
  const first = await page(engine, snapshot, undefined, 700)
  await lab.post('trades', tradeEvents(10, { from: 10 }))
  await engine.committed('trades')
  expect((await all(engine, snapshot, 700)).map(idOf)).toEqual(tradeEvents(10).map(({ id }) => id))
  expect(await page(engine, snapshot, undefined, 700)).toEqual(first)
  const rest = await lab.log.read('trades', 0, BigInt(position), 1 << 20)
  expect(rest.count).toBe(10)
  expect(rest.bytes.toString()).toContain('"t10"')
})

test('the snapshot is kept by a tag until the end, and beginning anew moves the tag', async () => {
  lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1, snapshots: { keepMs: 1, min: 1, max: 200 } } } })
  const engine = await lab.start()
  const expire = async (): Promise<void> => {
    const { text } = await engine.send('POST', '/v1/maintenance', {}, JSON.stringify({ jobs: ['expire'], wait: true }))
    expect(text).not.toContain('"failed"')
  }
  await lab.post('trades', tradeEvents(10))
  await engine.committed('trades')
  const first = await begin(engine)
  expect(await tags(engine)).toBe(`back-fill:${consumer}`)
  await lab.post('trades', tradeEvents(10, { from: 10 }))
  await engine.committed('trades')
  await expire()
  expect((await all(engine, first.snapshot, 700)).length).toBe(10)
  const second = await begin(engine)
  expect(second.snapshot).not.toBe(first.snapshot)
  expect(await tags(engine)).toBe(`back-fill:${consumer}`)
  expect((await all(engine, second.snapshot, 700)).length).toBe(20)
  expect((await ask(engine, 'end', { stream: 'trades', consumer })).status).toBe(204)
  expect((await ask(engine, 'end', { stream: 'trades', consumer })).status).toBe(204)
  expect(await tags(engine)).toBe(null)
})

test('without a table there is nothing to begin with, and a snapshot that is gone is an error', async () => {
  lab = await Lab.open()
  const engine = await lab.start()
  expect(await begin(engine)).toEqual({ snapshot: null })
  await lab.post('trades', tradeEvents(1))
  await engine.caughtUp('trades')
  expect(await begin(engine)).toEqual({ snapshot: null })
  const { status, text } = await ask(engine, 'read', { stream: 'trades', snapshot: '17', bytesMax: 1 })
  expect([status, (JSON.parse(text) as { code: string }).code]).toEqual([404, 'unknown_snapshot'])
})

test('a line has the values that the event had, of every type, and nothing where the event had nothing', async () => {
  const columns: Column[] = [
    { name: 'id', type: { kind: 'string' } },
    { name: 'yes', type: { kind: 'boolean' } },
    { name: 'big', type: { kind: 'long' } },
    { name: 'ratio', type: { kind: 'double' } },
    { name: 'price', type: { kind: 'decimal', precision: 20, scale: 4 } },
    { name: 'at', type: { kind: 'timestamptz' } },
    { name: 'local', type: { kind: 'timestamp' } },
    { name: 'day', type: { kind: 'date' } },
    { name: 'key', type: { kind: 'uuid' } },
    { name: 'raw', type: { kind: 'binary' } },
    { name: 'any', type: { kind: 'json' } },
    { name: 'it\'s "odd"', type: { kind: 'string' } },
    {
      name: 'nested',
      type: {
        kind: 'struct',
        fields: [
          { name: 'a', type: { kind: 'long' } },
          {
            name: 'b',
            type: { kind: 'list', element: { kind: 'struct', fields: [{ name: 'c', type: { kind: 'string' } }] } },
          },
        ],
      },
    },
    { name: 'rates', type: { kind: 'map', value: { kind: 'decimal', precision: 10, scale: 2 } } },
    { name: 'list', type: { kind: 'list', element: { kind: 'list', element: { kind: 'long' } } } },
  ]
  lab = await Lab.open({ ...fast, streams: { typed: streamPlan('typed', { columns }) } })
  const engine = await lab.start()
  const full = {
    id: 'é"\\/\u0001😀',
    yes: true,
    big: '9007199254740993',
    ratio: 1e300,
    price: '1234567890123456.7890',
    at: '2020-01-01T00:00:00.12Z',
    local: '2020-01-01T00:00:00',
    day: '2020-02-29',
    key: '5f2e1c1e-8f0a-4b6e-9a52-0d6f2b1f9a3c',
    raw: 'AAEC',
    any: { x: [1, null, { y: 'z' }] },
    'it\'s "odd"': 'tab\tand\nline',
    nested: { a: 1, b: [{ c: 'd' }, null] },
    rates: { 'a"b': '1.50' },
    list: [[1, 2], [], null, [null]],
  }
  const text = JSON.stringify(full).replace('"9007199254740993"', '9007199254740993')
  await lab.post('typed', [
    { id: 'full', time: full.at, raw: text },
    { id: 'half', time: full.at, raw: '{"id":"half","nested":{"b":[]},"rates":{}}' },
    { id: 'none', time: full.at, raw: '{}' },
  ])
  await engine.committed('typed')
  const { snapshot } = await begin(engine, 'typed')
  const [first, second, third] = await all(engine, snapshot, 1e9, 'typed')
  const head =
    /^{"_event_id":"full","_event_time":"2020-01-01T00:00:00.12Z","_received_at":"[-\d]+T[:\d]+\.\d{3}Z",(.*)$/.exec(
      first!,
    )
  expect(`{${head?.[1]}`).toBe(text)
  expect(second).toMatch(/Z","id":"half","nested":{"b":\[\]},"rates":{}}$/)
  expect(third).toMatch(/"_received_at":"[^"]*"}$/)
})

test('rows come with the columns of today, and lines of a former name as that', async () => {
  const named = (name: string, more: object = {}) =>
    streamPlan('trades', {
      columns: [
        { name: 'id', type: { kind: 'string' } },
        { name, type: { kind: 'long' } },
      ],
      time: null,
      ...more,
    })
  lab = await Lab.open({ ...fast, streams: { trades: named('size') } })
  const before = await lab.start()
  await lab.post('trades', [trade('a', '2020-01-01T00:00:00Z', { size: 7 })])
  await before.committed('trades')
  const { snapshot } = await begin(before)
  await before.stop()
  const streams = { trades: named('amount', { renames: [{ path: ['amount'], former: ['size'] }] }) }
  const engine = await lab.start({ streams })
  expect(await all(engine, snapshot, 1e9)).toEqual([expect.stringContaining('"amount":7')])
})
