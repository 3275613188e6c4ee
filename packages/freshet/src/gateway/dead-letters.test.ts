import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ndjson, plainPlan, startLab, trade, tradesPlan, type GatewayLab } from '../../test/support/gateway-lab.ts'
import { FreshetError } from '../runtime/errors.ts'

let lab: GatewayLab
beforeAll(async () => {
  const kept = { invalid: 'dead-letter' } as const
  const named = { ...tradesPlan, ...kept }
  const nameless = { ...tradesPlan, ...kept, name: 'nameless', id: null, time: null }
  lab = await startLab({ streams: [named, nameless, plainPlan, { ...tradesPlan, name: 'strict' }] })
})
afterAll(() => lab.close())
afterEach(() => {
  lab.log.batches.length = 0
  lab.log.failure = undefined
})

const nd = { type: 'application/x-ndjson' }
const bad = trade({ id: 'bad', price: 'x' })

async function got(path: string): Promise<string> {
  return (await fetch(lab.url + path)).text()
}

/** What was appended, by stream. */
function stored(stream: string): Record<string, unknown>[] {
  const own = lab.log.batches.filter((batch) => batch.stream === stream)
  return own.flatMap(({ lines }) => lines.map((line) => JSON.parse(line) as Record<string, unknown>))
}

describe('events that do not fit, where the stream keeps them', () => {
  test('are letters before the batch is answered, beside those that do', async () => {
    const body = `${JSON.stringify(trade({ id: 'a' }))}\n{"id":"torn\n${JSON.stringify(bad)}\n`
    const answer = await lab.post(body, { ...nd, headers: { 'freshet-source': 'site-1' } })
    expect(answer.status).toBe(202)
    expect(answer.body).toMatchObject({ accepted: 1, rejected: 0, deadLettered: 2 })
    expect(answer.body['errors']).toMatchObject([
      { index: 1, code: 'invalid_json', deadLettered: true },
      { index: 2, code: 'schema_violation', path: '/price', deadLettered: true },
    ])
    // The letters first: what is acknowledged is somewhere, whenever the gateway dies.
    expect(lab.log.batches.map(({ stream }) => stream)).toEqual(['trades_dead_letters', 'trades'])
    expect(stored('trades_dead_letters')).toMatchObject([
      { stage: 'door', code: 'invalid_json', event: '{"id":"torn', _source: 'site-1' },
      { stage: 'door', code: 'schema_violation', path: '/price', event: JSON.stringify(bad), _source: 'site-1' },
    ])
    const [letter] = stored('trades_dead_letters')
    expect(letter!['_event_time']).toBe(letter!['_received_at'])
    expect(lab.log.batches[0]!.batch).toMatchObject({ source: 'site-1', count: 2 })
  })

  test('a batch of nothing else is taken, and leaves no hole in its producer’s sequence', async () => {
    const headers = { 'freshet-producer': 'p', 'freshet-sequence': '4' }
    const answer = await lab.post(JSON.stringify([bad, 'no object']), { headers })
    expect(answer).toMatchObject({ status: 202, body: { accepted: 0, rejected: 0, deadLettered: 2, receipt: null } })
    expect(lab.log.batches.map(({ stream, batch }) => [stream, batch.count, batch.producer?.sequence])).toEqual([
      ['trades_dead_letters', 2, undefined],
      ['trades', 0, 4],
    ])
    expect((await lab.post(JSON.stringify([bad]))).body).toMatchObject({ accepted: 0, deadLettered: 1 })
    expect(lab.log.batches).toHaveLength(3)
  })

  test.each([
    ['a producer and its sequence', { 'freshet-producer': 'p', 'freshet-sequence': '9' }],
    ['an Idempotency-Key', { 'idempotency-key': 'k-1' }],
  ])('a batch that is sent again with %s has the same letters', async (_, headers) => {
    const body = ndjson([trade({ id: 'a' }), bad])
    for (let attempt = 0; attempt < 2; attempt++) await lab.post(body, { ...nd, headers })
    const [first, second] = stored('trades_dead_letters')
    expect(second!['_event_id']).toBe(first!['_event_id'])
    await lab.post(ndjson([trade({ id: 'a' }), { ...bad, symbol: 'other' }]), {
      ...nd,
      headers: { ...headers, ...('freshet-sequence' in headers && { 'freshet-sequence': '10' }) },
    })
    expect(stored('trades_dead_letters').at(-1)!['_event_id']).not.toBe(first!['_event_id'])
  })

  test('without a mark, letters of two batches are two', async () => {
    for (let attempt = 0; attempt < 2; attempt++) await lab.post(JSON.stringify(bad))
    expect(new Set(stored('trades_dead_letters').map(({ _event_id }) => _event_id)).size).toBe(2)
  })

  test('an event without an id of its own has the one it would have had', async () => {
    await lab.post(JSON.stringify([trade(), bad]), { stream: 'nameless' })
    const [letter] = stored('nameless_dead_letters')
    const [event] = stored('nameless')
    expect(String(letter!['event_id']).slice(0, -5)).toBe(String(event!['_event_id']).slice(0, -5))
  })

  test('one that is too large is rejected all the same', async () => {
    const huge = trade({ id: 'x', symbol: 'y'.repeat(70_000) })
    const answer = await lab.post(JSON.stringify([bad, huge]))
    expect(answer.body).toMatchObject({ accepted: 0, rejected: 1, deadLettered: 1 })
    expect((answer.body['errors'] as object[])[1]).toEqual(expect.not.objectContaining({ deadLettered: true }))
    expect((await lab.post(JSON.stringify([huge]))).status).toBe(413)
  })

  test('an atomic batch with one is refused, and nothing of it kept', async () => {
    const answer = await lab.post(JSON.stringify([trade(), bad]), { query: '?atomic=true' })
    expect(answer).toMatchObject({ status: 422, body: { code: 'invalid_event' } })
    expect(lab.log.batches).toEqual([])
  })

  test('nothing is acknowledged when they cannot be written', async () => {
    lab.log.failure = new FreshetError('disk_full', 'The disk is full.')
    const answer = await lab.post(JSON.stringify([trade(), bad]))
    expect(answer).toMatchObject({ status: 503, body: { code: 'disk_full' } })
    lab.log.failure = undefined
    expect(lab.log.batches).toEqual([])
  })

  test('are counted in metrics', async () => {
    const count = async (): Promise<number> => {
      const text = await got('/metrics')
      return Number(
        /freshet_gateway_events_total\{stream="trades",outcome="dead_lettered"\} (\d+)/.exec(text)?.[1] ?? 0,
      )
    }
    const before = await count()
    await lab.post(JSON.stringify([bad, bad]))
    expect(await count()).toBe(before + 2)
  })
})

test('a stream that keeps none rejects them', async () => {
  const answer = await lab.post(JSON.stringify([trade(), bad]), { stream: 'strict' })
  expect(answer.body).toMatchObject({ accepted: 1, rejected: 1, errors: [{ index: 1, code: 'schema_violation' }] })
  expect(answer.body).not.toHaveProperty('deadLettered')
  expect(lab.log.batches.map(({ stream }) => stream)).toEqual(['strict'])
})

test('nobody posts to a stream of letters', async () => {
  const answer = await lab.post(JSON.stringify(trade()), { stream: 'trades_dead_letters' })
  expect(answer).toMatchObject({
    status: 400,
    body: { code: 'invalid_request', detail: expect.stringContaining('of trades') },
  })
})

describe('requests about letters', () => {
  test.each([
    ['a parameter that is none', '/v1/streams/trades/dead-letters?wher=1', 'invalid_request'],
    ['a parameter that is there twice', '/v1/streams/trades/dead-letters?limit=1&limit=2', 'invalid_request'],
    ['a name that is none', '/v1/streams/Trades/dead-letters', 'unknown_stream'],
    ['without an engine', '/v1/streams/trades/dead-letters?limit=5', 'engine_unavailable'],
    ['of all streams without an engine', '/v1/dead-letters', 'engine_unavailable'],
  ])('%s', async (_, path, code) => {
    const text = await got(path)
    expect(JSON.parse(text)).toMatchObject({ code })
  })
})
