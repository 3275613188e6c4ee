import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSearchKind } from '../../../src/sinks/opensearch/opensearch-sink.ts'
import { openSearchSettings } from '../../../src/sinks/opensearch/settings.ts'
import { EventsRefused, type Sink, type SinkEvent } from '../../../src/sinks/sink.ts'
import { sinkDeps, sinkEvent } from '../../support/sink-lab.ts'
import { OpenSearchServer } from './opensearch-server.ts'

/** A busy machine takes its time to start a server again. */
const patienceMs = 300_000

/** What the sink relies on, at a real server. */
describe('OpenSearch', () => {
  let server: OpenSearchServer
  const sinks: Sink[] = []

  beforeAll(async () => {
    server = await OpenSearchServer.create()
  }, 600_000)

  afterAll(async () => {
    await Promise.all(sinks.map((sink) => sink.close()))
    await server?.remove()
  })

  async function open(words: object): Promise<Sink> {
    const settings = { url: server.url, timeout: '60 s', ...words }
    const sink = await openSearchKind.open(sinkDeps('opensearch', openSearchSettings, settings))
    sinks.push(sink)
    return sink
  }

  /** Delivers as the runner does: what is refused is left out, and what fails is tried again. */
  async function deliver(sink: Sink, batch: readonly SinkEvent[]): Promise<SinkEvent[]> {
    let rest = [...batch]
    const refused: SinkEvent[] = []
    const deadline = performance.now() + patienceMs
    while (performance.now() < deadline) {
      try {
        await sink.deliver(rest, '')
        return refused
      } catch (error) {
        if (error instanceof EventsRefused) {
          refused.push(...[...error.refused.keys()].map((at) => rest[at]!))
          rest = rest.filter((event) => !refused.includes(event))
        } else {
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
      }
    }
    throw new Error('was never delivered')
  }

  test('has each event once, however often it is delivered, and not what was removed', async () => {
    const sink = await open({ index: 'orders', id: 'k', delete: 'gone' })
    const batch = [
      sinkEvent('a', { k: 1, n: 1 }),
      sinkEvent('b', { k: 2, n: 1 }),
      sinkEvent('c', { k: 1, n: 2 }),
      sinkEvent('d', { k: 2, gone: true }),
      sinkEvent('e', { k: 3, gone: true }),
    ]
    for (let times = 0; times < 2; times++) expect(await deliver(sink, batch)).toEqual([])
    expect(await server.documents('orders')).toEqual({ 1: { '@timestamp': '2026-11-20T20:29:00.123Z', k: 1, n: 2 } })
  })

  test('a removal from an index that is not there is done', async () => {
    const sink = await open({ index: 'nowhere', id: 'k', delete: 'gone' })
    expect(await deliver(sink, [sinkEvent('a', { k: 1, gone: true })])).toEqual([])
    expect(await server.get('/nowhere')).toBeUndefined()
  })

  test('refuses what does not fit the mapping, and takes the rest', async () => {
    const sink = await open({ index: 'mapped' })
    await server.put('/mapped', { mappings: { properties: { n: { type: 'long' } } } })
    const batch = [sinkEvent('a', { n: 1 }), sinkEvent('b', { n: 'x' }), sinkEvent('c', { n: 3 })]
    expect(await deliver(sink, batch)).toEqual([batch[1]])
    expect(Object.keys(await server.documents('mapped')).toSorted()).toEqual(['a', 'c'])
  })

  test('keeps the newer version, whatever comes later', async () => {
    const sink = await open({ index: 'versions', id: 'k', version: '_event_time', delete: 'gone' })
    const at = (id: string, k: number, second: string, more = {}): SinkEvent =>
      sinkEvent(id, { k, second, _event_time: `2026-11-20T20:29:${second}Z`, ...more })
    const batch = [
      at('a', 1, '30.000002'),
      at('b', 1, '30.000001'),
      at('c', 2, '10'),
      at('d', 2, '20', { gone: true }),
      at('e', 2, '15'),
    ]
    expect(await deliver(sink, batch)).toEqual([])
    expect(await deliver(sink, batch)).toEqual([])
    expect(await server.documents('versions')).toMatchObject({ 1: { second: '30.000002' } })
    expect(Object.keys(await server.documents('versions'))).toEqual(['1'])
  })

  test('an index that is blocked is waited for, and loses nothing', async () => {
    const sink = await open({ index: 'blocked', breaker: { failures: 1000 } })
    await server.put('/blocked', { settings: { 'index.blocks.write': true } })
    await expect(sink.deliver([sinkEvent('a')], '')).rejects.toThrow('cluster_block_exception')
    await server.put('/blocked/_settings', { 'index.blocks.write': false })
    expect(await deliver(sink, [sinkEvent('a')])).toEqual([])
    expect(Object.keys(await server.documents('blocked'))).toEqual(['a'])
  })

  test('a large number keeps its digits', async () => {
    const sink = await open({ index: 'digits' })
    const event = sinkEvent('a')
    const text = `${event.text.slice(0, -1)},"n":9007199254740993}`
    expect(await deliver(sink, [{ ...event, text }])).toEqual([])
    const query = encodeURIComponent('n:9007199254740993')
    await server.documents('digits')
    expect(await server.get(`/digits/_search?q=${query}`)).toMatchObject({ hits: { total: { value: 1 } } })
  })

  test('killed under load and started again, it has every event once', async () => {
    const sink = await open({ index: 'load', breaker: { failures: 1000 } })
    const batches = Array.from({ length: 40 }, (_, batch) =>
      Array.from({ length: 100 }, (_event, at) => sinkEvent(`e${batch * 100 + at}`, { n: batch * 100 + at })),
    )
    let delivered = 0
    const deliverAll = async (): Promise<void> => {
      for (const batch of batches) {
        await deliver(sink, batch)
        delivered++
      }
    }
    const restart = async (): Promise<void> => {
      await expect.poll(() => delivered, { timeout: 60_000 }).toBeGreaterThan(5)
      expect(delivered).toBeLessThan(batches.length)
      await server.kill()
      await server.start()
    }
    await Promise.all([deliverAll(), restart()])
    const documents = await server.documents('load')
    expect(Object.keys(documents)).toHaveLength(4000)
    expect(documents['e3999']).toMatchObject({ n: 3999 })
  })
})
