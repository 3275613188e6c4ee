import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ndjson, startLab, trade, type Answer, type GatewayLab } from '../../test/support/gateway-lab.ts'
import { FreshetError } from '../runtime/errors.ts'

let lab: GatewayLab
beforeAll(async () => {
  lab = await startLab()
})
afterAll(() => lab.close())
afterEach(() => {
  lab.log.batches.length = 0
  lab.log.failure = undefined
  lab.log.gate = Promise.resolve()
})

const nd = { type: 'application/x-ndjson' }

describe('bodies that are accepted', () => {
  const three = [trade({ id: 'a' }), trade({ id: 'b' }), trade({ id: 'c' })]
  const lines = ndjson(three)

  test.each<[string, string | Uint8Array<ArrayBuffer>, Record<string, string>]>([
    ['an array', JSON.stringify(three), {}],
    ['a pretty-printed array', JSON.stringify(three, null, 2), {}],
    ['NDJSON', lines, { 'content-type': 'application/x-ndjson' }],
    ['NDJSON under its other names', lines, { 'content-type': 'application/ndjson' }],
    ['JSON lines', lines, { 'content-type': 'application/jsonl; charset=utf-8' }],
    [
      'NDJSON with blank lines and CRLF',
      `\r\n${lines.replaceAll('\n', '\r\n\r\n')}`,
      { 'content-type': 'application/x-ndjson' },
    ],
    ['NDJSON without a last line end', lines.trimEnd(), { 'content-type': 'application/x-ndjson' }],
    ['a byte order mark', Buffer.from(`\uFEFF${JSON.stringify(three)}`), {}],
    ['gzip', new Uint8Array(gzipSync(lines)), { 'content-type': 'application/x-ndjson', 'content-encoding': 'gzip' }],
    [
      'zstd',
      new Uint8Array(zstdCompressSync(lines)),
      { 'content-type': 'application/x-ndjson', 'content-encoding': 'zstd' },
    ],
  ])('%s', async (_, body, headers) => {
    const answer = await lab.post(body, { headers })
    expect(answer.status).toBe(202)
    expect(answer.body).toEqual({
      stream: 'trades',
      accepted: 3,
      duplicates: 0,
      rejected: 0,
      receipt: expect.any(String),
      errors: [],
    })
    expect(lab.log.events().map(({ _event_id }) => _event_id)).toEqual(['a', 'b', 'c'])
  })

  test('a large gzip body takes the way through the thread pool', async () => {
    const many = Array.from({ length: 900 }, (_, index) =>
      trade({ id: `${index}-${Math.random()}`, symbol: String(Math.random()) }),
    )
    const body = new Uint8Array(gzipSync(ndjson(many)))
    expect(body.length).toBeGreaterThan(16 * 1024)
    const answer = await lab.post(body, { ...nd, headers: { 'content-encoding': 'gzip' } })
    expect(answer.body['accepted']).toBe(900)
  })

  test('an empty array stores nothing', async () => {
    expect((await lab.post('[]')).body).toMatchObject({ accepted: 0, rejected: 0 })
    expect(lab.log.batches).toEqual([])
  })

  test('source is Freshet-Source, else the producer, else none', async () => {
    const producer = { 'freshet-producer': 'site-9', 'freshet-sequence': '1' }
    await lab.post(JSON.stringify(trade()), { headers: { ...producer, 'freshet-source': 'a "quoted" site' } })
    await lab.post(JSON.stringify(trade()), { headers: { ...producer, 'freshet-sequence': '2' } })
    await lab.post(JSON.stringify(trade()))
    expect(lab.log.events().map(({ _source }) => _source)).toEqual(['a "quoted" site', 'site-9', undefined])
    expect(lab.log.batches.map(({ batch }) => batch.source)).toEqual(['a "quoted" site', 'site-9', undefined])
  })

  test.each([
    [['2013-10-07T20:00:00Z', '2013-10-07T20:00:01Z', '2013-10-07T19:59:59Z'], '2013-10-07T20:00:01.000Z'],
    [['2013-10-07T20:00:00.5Z', '2013-10-07T20:00:00.55Z', '2013-10-07T20:00:00Z'], '2013-10-07T20:00:00.550Z'],
    [['1969-12-31T23:59:59.1239Z', '1969-12-31T23:59:59.12Z'], '1969-12-31T23:59:59.123Z'],
  ])('the log is told the latest event time of %j', async (times, latest) => {
    await lab.post(JSON.stringify(times.map((at, index) => trade({ id: `t${index}`, at }))))
    expect(new Date(lab.log.batches[0]!.batch.eventTimeMaxMs!).toISOString()).toBe(latest)
  })
})

describe('answers per event', () => {
  const mixed = [trade({ id: 'a' }), trade({ price: '1' }), trade({ id: 'c' }), trade({ _x: 1 })]

  test('bad events do not block good ones', async () => {
    const answer = await lab.post(ndjson(mixed), nd)
    expect(answer.status).toBe(202)
    expect(answer.body).toEqual({
      stream: 'trades',
      accepted: 2,
      duplicates: 0,
      rejected: 2,
      receipt: expect.any(String),
      errors: [
        { index: 1, code: 'schema_violation', path: '/price', reason: 'must be number' },
        { index: 3, code: 'invalid_event', path: '/_x', reason: expect.stringContaining('reserved') },
      ],
    })
    expect(lab.log.lines()).toHaveLength(2)
  })

  test('an atomic batch is all or nothing', async () => {
    const refused = await lab.post(ndjson(mixed), { ...nd, query: '?atomic=true' })
    expect(refused.status).toBe(422)
    expect(refused.headers.get('content-type')).toMatch('application/problem+json')
    expect(refused.body).toMatchObject({ code: 'invalid_event', errors: [{ index: 1 }, { index: 3 }] })
    expect(lab.log.batches).toEqual([])
    expect((await lab.post(ndjson([mixed[0]]), { ...nd, query: '?atomic=true' })).status).toBe(202)
  })

  test('a single event that breaks the schema is an answer, not an error', async () => {
    expect((await lab.post(JSON.stringify(trade({ price: null })))).body).toMatchObject({
      accepted: 0,
      rejected: 1,
      receipt: null,
    })
  })
})

describe('repeats', () => {
  test('of a producer sequence are answered as duplicates', async () => {
    const send = (sequence: number): Promise<Answer> =>
      lab.post(ndjson([trade(), trade({ id: 't-2' }), { bad: 1 }]), {
        ...nd,
        headers: { 'freshet-producer': 'site-1', 'freshet-sequence': String(sequence), 'idempotency-key': 'ignored' },
      })
    expect((await send(7)).body).toMatchObject({ accepted: 2, duplicates: 0, rejected: 1 })
    expect((await send(7)).body).toMatchObject({ accepted: 0, duplicates: 2, rejected: 1 })
    expect((await send(8)).body).toMatchObject({ accepted: 2, duplicates: 0 })
    expect(lab.log.batches[0]!.batch).toMatchObject({ producer: { id: 'site-1', sequence: 7 } })
    expect(lab.log.batches[0]!.batch.idempotency).toBeUndefined()
  })

  test('of an idempotency key carry a checksum of the body, whatever its compression', async () => {
    const body = JSON.stringify(trade())
    const key = { 'idempotency-key': 'order-1' }
    expect((await lab.post(body, { headers: key })).body).toMatchObject({ accepted: 1 })
    const again = await lab.post(new Uint8Array(gzipSync(body)), { headers: { ...key, 'content-encoding': 'gzip' } })
    expect(again.body).toMatchObject({ accepted: 0, duplicates: 1 })
    expect(lab.log.batches[0]!.batch.idempotency).toEqual({ key: 'order-1', checksum: expect.any(Number) })
  })

  test.each<[Record<string, string>]>([
    [{ 'freshet-producer': 'a' }],
    [{ 'freshet-sequence': '1' }],
    [{ 'freshet-producer': 'a', 'freshet-sequence': '-1' }],
    [{ 'freshet-producer': 'a', 'freshet-sequence': '1.5' }],
    [{ 'freshet-producer': 'a', 'freshet-sequence': '9007199254740992' }],
    [{ 'freshet-producer': 'x'.repeat(129), 'freshet-sequence': '1' }],
    [{ 'freshet-producer': 'caf\u00e9', 'freshet-sequence': '1' }],
    [{ 'idempotency-key': 'k'.repeat(256) }],
    [{ 'freshet-source': '' }],
  ])('%j is an invalid header', async (headers) => {
    const answer = await lab.post(JSON.stringify(trade()), { headers })
    expect([answer.status, answer.body['code']]).toEqual([400, 'invalid_header'])
  })
})

describe('durability', () => {
  test('I1: no answer before the append has resolved', async () => {
    let open = (): void => {}
    lab.log.gate = new Promise((resolve) => (open = resolve))
    const begun = lab.log.begun
    let answered = false
    const answer = lab.post(JSON.stringify(trade())).then((result) => {
      answered = true
      return result
    })
    await expect.poll(() => lab.log.begun).toBe(begun + 1)
    // A whole other request goes by in the meantime.
    await fetch(`${lab.url}/healthz`)
    expect(answered).toBe(false)
    open()
    expect((await answer).status).toBe(202)
  })

  test.each(['log_unwritable', 'disk_full'] as const)(
    'I1: %s is a 503 with Retry-After, nothing half-accepted',
    async (code) => {
      lab.log.failure = new FreshetError(code, 'No.')
      const answer = await lab.post(ndjson([trade(), trade({ id: 'x' })]), nd)
      expect([answer.status, answer.body['code']]).toEqual([503, code])
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(answer.body['accepted']).toBeUndefined()
      const ready = await fetch(`${lab.url}/readyz`)
      expect(ready.status).toBe(503)
      lab.log.failure = undefined
      expect((await lab.post(JSON.stringify(trade()))).status).toBe(202)
      expect((await fetch(`${lab.url}/readyz`)).status).toBe(200)
    },
  )

  test('a failure nobody expected is a 500 that keeps its text to itself', async () => {
    lab.log.failure = new Error('secret detail')
    const answer = await lab.post(JSON.stringify(trade()))
    expect([answer.status, answer.body['code']]).toEqual([500, 'internal'])
    expect(JSON.stringify(answer.body)).not.toContain('secret')
  })
})

describe('streams', () => {
  test('an unknown stream names those there are and the nearest', async () => {
    const answer = await lab.post('{}', { stream: 'trade' })
    expect(answer.status).toBe(404)
    expect(answer.body).toMatchObject({
      code: 'unknown_stream',
      streams: ['plain', 'trades'],
      hint: expect.stringContaining('"trades"'),
    })
  })

  test.each(['Trades', '1x', 'a-b', '_x', 'x'.repeat(64), 'freshet', '%00', '..%2f..%2fetc'])(
    '%s cannot be a name',
    async (stream) => {
      const answer = await lab.post('{}', { stream })
      expect([answer.status, answer.body['code']]).toEqual([400, 'invalid_request'])
    },
  )

  test('in dev a stream is created by its first event, and listed from then on', async () => {
    const dev = await startLab({ mode: 'dev', streams: [] }, { existingStreams: ['older'] })
    try {
      const list = async (): Promise<unknown> =>
        ((await (await fetch(`${dev.url}/v1/streams`)).json()) as { streams: unknown }).streams
      await dev.post('not json', { stream: 'fresh' })
      expect(await list()).toEqual([{ name: 'older', declared: false }])
      expect((await dev.post('{"a":1}', { stream: 'fresh' })).status).toBe(202)
      expect(await list()).toEqual([
        { name: 'fresh', declared: false },
        { name: 'older', declared: false },
      ])
      expect((await dev.post('{}', { stream: 'No' })).status).toBe(400)
    } finally {
      await dev.close()
    }
  })
})
