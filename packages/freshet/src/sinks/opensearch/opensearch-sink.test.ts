import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BulkLab } from '../../../test/support/bulk-lab.ts'
import { HttpLab, sinkDeps, sinkEvent } from '../../../test/support/sink-lab.ts'
import { EventsRefused, type Sink } from '../sink.ts'
import { openSearchKind } from './opensearch-sink.ts'
import { openSearchSettings } from './settings.ts'

let server: HttpLab
let index: BulkLab
let sinks: Sink[]

beforeEach(async () => {
  server = await HttpLab.start()
  index = new BulkLab()
  server.reply = (request) => index.answer(request)
  sinks = []
})

afterEach(async () => {
  await Promise.all(sinks.map((sink) => sink.close()))
  await server.stop()
})

async function open(words: object = {}): Promise<Sink> {
  const settings = { url: server.url, index: 'orders', ...words }
  const sink = await openSearchKind.open(sinkDeps('opensearch', openSearchSettings, settings))
  sinks.push(sink)
  return sink
}

async function refusedBy(delivery: Promise<void>): Promise<[number, string][]> {
  const error: unknown = await delivery.catch((reason: unknown) => reason)
  if (error instanceof EventsRefused) return [...error.refused]
  throw new Error('nothing was refused', { cause: error })
}

const time = '2026-11-20T20:29:00.123Z'

describe('a document', () => {
  test('has the own fields of an event, its time, and its id', async () => {
    await (await open()).deliver([sinkEvent('a', { n: 1, _odd: true }), sinkEvent('b', { '@timestamp': 'mine' })], '1')
    expect(index.documents).toEqual({
      'orders/a': { '@timestamp': time, n: 1 },
      'orders/b': { '@timestamp': 'mine' },
    })
  })

  test('keeps every digit of large numbers', async () => {
    const text = '{"_event_id":"a","n":12345678901234567890,"in":{"d":0.12345678901234567890},"e":1E400}'
    await (await open({ gzip: false })).deliver([{ ...sinkEvent('a'), text }], '1')
    expect(server.seen[0]!.body.toString()).toContain(
      '"n":12345678901234567890,"in":{"d":0.12345678901234567890},"e":1E400',
    )
  })

  test('is replaced by a later event with its id, and stays one when the event comes again', async () => {
    const sink = await open({ id: 'order_id' })
    const batch = [sinkEvent('a', { order_id: 7, n: 1 }), sinkEvent('b', { order_id: 7, n: 2 })]
    await sink.deliver(batch, '1')
    await sink.deliver(batch, '1')
    expect(index.documents).toEqual({ 'orders/7': { '@timestamp': time, order_id: 7, n: 2 } })
  })

  test('is removed by a tombstone, and one that is not there needs no removal', async () => {
    const sink = await open({ id: 'k', delete: { field: 'op', value: 'D' } })
    await sink.deliver([sinkEvent('a', { k: 'x', op: 'I' }), sinkEvent('b', { k: 'x', op: 'D' })], '1')
    await sink.deliver([sinkEvent('b', { k: 'x', op: 'D' })], '2')
    index.judge = () => 404
    await sink.deliver([sinkEvent('c', { k: 'y', op: 'D' })], '3')
    expect(index.documents).toEqual({})
    expect(server.seen).toHaveLength(3)
  })

  test('is not replaced by an older version, which counts as delivered', async () => {
    const sink = await open({ id: 'k', version: 'v' })
    await sink.deliver([sinkEvent('a', { k: 1, v: 5 }), sinkEvent('b', { k: 1, v: 4 })], '1')
    expect(index.documents).toEqual({ 'orders/1': { '@timestamp': time, k: 1, v: 5 } })
  })

  test('may have a date and time as its version', async () => {
    const sink = await open({ id: 'k', version: '_event_time' })
    const times = ['2026-11-20T20:29:00.123456Z', '2026-11-20T20:29:00.123455Z']
    await sink.deliver(
      times.map((at, number) => sinkEvent(`e${number}`, { k: 1, _event_time: at })),
      '1',
    )
    expect(index.versions['orders/1']).toBe(1_795_206_540_123_456)
    expect(await refusedBy((await open({ version: 'v' })).deliver([sinkEvent('a', { v: -1 })], '1'))).toEqual([
      [0, 'The field v is no version: a whole number from 0, or a date and time.'],
    ])
  })

  test('goes to the index of its time and values', async () => {
    const sink = await open({ index: 'shop-{country}-{month}' })
    await sink.deliver([sinkEvent('a', { country: 'DE' })], '1')
    expect(Object.keys(index.documents)).toEqual(['shop-de-2026-11/a'])
    expect(await refusedBy(sink.deliver([sinkEvent('b', { country: 'a/b' }), sinkEvent('c')], '1'))).toEqual([
      [0, 'The name of the index, "shop-a/b-2026-11", must not have the character "/".'],
      [1, 'The field country is empty, and the name of the index needs it.'],
    ])
  })
})

describe('an item', () => {
  test('that does not fit the mapping is refused, and the others are there', async () => {
    index.judge = ({ document }) => (document?.['n'] === 'x' ? 400 : undefined)
    const sink = await open()
    const batch = [sinkEvent('a', { n: 1 }), sinkEvent('b', { n: 'x' }), sinkEvent('c', { n: 3 })]
    const [[at, reason] = [], ...more] = await refusedBy(sink.deliver(batch, '1'))
    expect([at, more]).toEqual([1, []])
    expect(reason).toContain('400 mapper_parsing_exception: failed to parse field [n]')
    expect(Object.keys(index.documents)).toEqual(['orders/a', 'orders/c'])
  })

  test.each([429, 403, 404, 503])('that is answered %i is for later, with all others', async (status) => {
    index.judge = ({ id }) => (id === 'b' ? status : undefined)
    const batch = [sinkEvent('a'), sinkEvent('b')]
    const sink = await open()
    await expect(sink.deliver(batch, '1')).rejects.toThrow(`could not take all documents: ${status}`)
    index.judge = () => undefined
    await sink.deliver(batch, '1')
    expect(Object.keys(index.documents)).toEqual(['orders/a', 'orders/b'])
  })
})

describe('a request', () => {
  test('is compressed, and signed in', async () => {
    await (await open({ user: 'me', password: 'pw' })).deliver([sinkEvent('a')], '1')
    await (await open({ apiKey: 'key', gzip: false })).deliver([sinkEvent('a')], '1')
    const [first, second] = server.seen
    expect(first!.path).toBe('/_bulk')
    expect(first!.headers).toMatchObject({ 'content-encoding': 'gzip', authorization: 'Basic bWU6cHc=' })
    expect(gunzipSync(first!.body)).toEqual(second!.body)
    expect(second!.headers.authorization).toBe('ApiKey key')
  })

  test('goes below the path of the address', async () => {
    await (await open({ url: `${server.url}/search/` })).deliver([sinkEvent('a')], '1')
    await (await open({ url: `${server.url}/search` })).deliver([sinkEvent('a')], '1')
    expect(server.seen.map(({ path }) => path)).toEqual(['/search/_bulk', '/search/_bulk'])
  })

  test('stays below its size, and is halved when even that is too large', async () => {
    const batch = Array.from({ length: 20 }, (_, at) => sinkEvent(`e${at}`, { text: 'x'.repeat(500) }))
    await (await open({ bulk: 2000, gzip: false })).deliver(batch, '1')
    expect(server.seen.length).toBeGreaterThan(5)
    expect(server.seen.every(({ body }) => body.length <= 2000)).toBe(true)
    expect(Object.keys(index.documents)).toHaveLength(20)
    index = new BulkLab()
    server.reply = (request) => (gunzipSync(request.body).length > 1000 ? { status: 413 } : index.answer(request))
    const refused = await refusedBy(
      (await open()).deliver([...batch, sinkEvent('big', { text: 'x'.repeat(2000) })], '1'),
    )
    expect(refused.map(([at]) => at)).toEqual([20])
    expect(Object.keys(index.documents)).toHaveLength(20)
  })

  test('that is not answered as a bulk request is for later', async () => {
    const sink = await open()
    server.reply = () => ({ status: 200, body: '<html>a proxy</html>' })
    await expect(sink.deliver([sinkEvent('a')], '1')).rejects.toThrow('is no OpenSearch or Elasticsearch')
    server.reply = () => ({ status: 401, body: 'Unauthorized' })
    await expect(sink.deliver([sinkEvent('a')], '1')).rejects.toThrow('answered 401: Unauthorized')
  })

  test('is not made for no events', async () => {
    await (await open()).deliver([], '1')
    expect(server.seen).toEqual([])
  })
})
