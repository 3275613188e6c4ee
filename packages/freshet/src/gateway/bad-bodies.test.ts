import { request } from 'node:http'
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ndjson, startLab, trade, type GatewayLab, type PostOptions } from '../../test/support/gateway-lab.ts'

let lab: GatewayLab
beforeAll(async () => {
  lab = await startLab({ limits: { batchEventsMax: 50, bodyBytesMax: 256 * 1024 } })
})
afterAll(() => lab.close())

const nd: PostOptions = { type: 'application/x-ndjson' }
const gzip: PostOptions = { headers: { 'content-encoding': 'gzip' } }
const zstd: PostOptions = { headers: { 'content-encoding': 'zstd' } }
const bytes = (buffer: Buffer): Uint8Array<ArrayBuffer> => new Uint8Array(buffer)
const deep = (levels: number): string => `{"id":"d","a":${'['.repeat(levels)}${']'.repeat(levels)}}`

describe('each malformed body is answered with what is wrong', () => {
  test.each<[string, string | Uint8Array<ArrayBuffer>, PostOptions, number, string, Record<string, unknown>]>([
    ['an empty body', '', {}, 400, 'invalid_body', {}],
    ['white space', ' \n\t', nd, 400, 'invalid_body', {}],
    ['a truncated object', '{\n "id": "x",\n "price"', {}, 400, 'invalid_json', { line: 3, column: 9 }],
    ['a broken array', '[{"id":"a"},\n{"id":}]', {}, 400, 'invalid_json', { line: 2, column: 7 }],
    ['an array that does not end', '[{"id":"a"},', {}, 400, 'invalid_json', { line: 1, column: 13 }],
    ['an array with a comma too many', '[{"id":"a"},]', {}, 400, 'invalid_json', { line: 1, column: 13 }],
    ['something behind an array', '[]x', {}, 400, 'invalid_json', { line: 1, column: 3 }],
    ['two objects that are no NDJSON', '{"id":"a"}\n{"id":"b"}', {}, 400, 'invalid_json', { line: 2, column: 1 }],
    ['a number', '42', {}, 400, 'invalid_json', {}],
    ['NDJSON of which every line is broken', 'a\nb\n', nd, 400, 'invalid_json', { line: 1, column: 1 }],
    [
      'bytes that are not UTF-8',
      bytes(Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x7d])),
      {},
      400,
      'invalid_body',
      { offset: 2 },
    ],
    ['UTF-16', bytes(Buffer.from('\uFEFF{}', 'utf16le')), {}, 400, 'invalid_body', { offset: 0 }],
    [
      'a character cut short at the end',
      bytes(Buffer.from([0x7b, 0x22, 0xe2, 0x82])),
      {},
      400,
      'invalid_body',
      { offset: 2 },
    ],
    ['gzip that is none', '{}', gzip, 400, 'invalid_body', {}],
    ['gzip cut short', bytes(gzipSync('{"id":"x"}').subarray(0, 15)), gzip, 400, 'invalid_body', {}],
    ['zlib called gzip', bytes(deflateSync('{}')), gzip, 400, 'invalid_body', {}],
    ['zstd cut short', bytes(zstdCompressSync('{"id":"x"}').subarray(0, 12)), zstd, 400, 'invalid_body', {}],
    ['a gzip bomb', bytes(gzipSync(Buffer.alloc(20_000_000, 32))), gzip, 413, 'body_too_large', {}],
    ['a zstd bomb', bytes(zstdCompressSync(Buffer.alloc(20_000_000, 32))), zstd, 413, 'body_too_large', {}],
    ['a body over the limit', ' '.repeat(256 * 1024 + 1), {}, 413, 'body_too_large', {}],
    ['too many events', '{}\n'.repeat(51), nd, 413, 'batch_too_large', {}],
    ['an event over the limit', JSON.stringify(trade({ symbol: 'x'.repeat(70_000) })), {}, 413, 'event_too_large', {}],
    ['an event with too many levels', deep(9), { stream: 'plain' }, 413, 'event_too_deep', {}],
    ['fifty thousand levels', deep(25_000), { stream: 'plain' }, 413, 'event_too_deep', {}],
    ['a hundred thousand open brackets', '['.repeat(100_000), {}, 400, 'invalid_json', {}],
    ['a form', 'a=b', { type: 'application/x-www-form-urlencoded' }, 415, 'unsupported_media_type', {}],
    ['XML', '<a/>', { type: 'text/xml' }, 415, 'unsupported_media_type', {}],
    ['another character set', '{}', { type: 'application/json; charset=latin1' }, 415, 'unsupported_media_type', {}],
    ['a content type that is none', '{}', { type: ';;' }, 415, 'unsupported_media_type', {}],
    ['brotli', '{}', { headers: { 'content-encoding': 'br' } }, 415, 'unsupported_encoding', {}],
    ['two encodings', '{}', { headers: { 'content-encoding': 'gzip, gzip' } }, 415, 'unsupported_encoding', {}],
    ['an unknown parameter', '{}', { query: '?atomc=true' }, 400, 'invalid_request', {}],
    ['a parameter that is no boolean', '{}', { query: '?atomic=maybe' }, 400, 'invalid_request', {}],
  ])('%s', async (_, body, options, status, code, members) => {
    const stored = lab.log.batches.length
    const answer = await lab.post(body, options)
    expect(answer.body).toMatchObject({ status, code, ...members })
    expect(answer.status).toBe(status)
    expect(answer.headers.get('content-type')).toMatch('application/problem+json')
    expect(answer.body['detail']).toEqual(expect.any(String))
    expect(lab.log.batches.length).toBe(stored)
  })

  test('an event too large or too deep among others is an entry in the list', async () => {
    const answer = await lab.post(`${deep(9)}\n{"ok":1}\n{"a":"${'x'.repeat(70_000)}"}\nbroken\n`, {
      ...nd,
      stream: 'plain',
    })
    expect(answer.status).toBe(202)
    expect((answer.body['errors'] as { code: string }[]).map(({ code }) => code)).toEqual([
      'event_too_deep',
      'event_too_large',
      'invalid_json',
    ])
  })
})

interface Sent {
  status: number
  type: string
}

/** Sends bytes and headers as they are. */
function send(body: Uint8Array, headers: Record<string, string>): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: '127.0.0.1', port: lab.port, method: 'POST', path: '/v1/streams/plain/events', headers, agent: false },
      (response) => {
        response.resume()
        response.on('end', () =>
          resolve({ status: response.statusCode!, type: String(response.headers['content-type']) }),
        )
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}

/** 10,000 generated events, in bodies of ten. */
test('ten thousand generated bad events: never a 500, never a crash', { timeout: 120_000 }, async () => {
  const json = fc.json({ maxDepth: 12, noUnicodeString: false })
  const cut = fc.tuple(json, fc.nat()).map(([text, at]) => text.slice(0, at % (text.length + 1)))
  const number = fc.constantFrom(
    '1e999',
    '-1e999',
    '0.1e-999',
    `1${'0'.repeat(400)}`,
    '9007199254740993',
    '-0',
    '01',
    'NaN',
  )
  const nested = fc.integer({ min: 1, max: 3000 }).map((levels) => `{"a":${'['.repeat(levels)}${']'.repeat(levels)}}`)
  const strange = fc.constantFrom(
    String.raw`{"a":"\ud800"}`,
    String.raw`{"\udfff\ud800":1}`,
    '{"_event_id":1}',
    '{"__proto__":{"x":1}}',
    '{"a":1,"a":2}',
    '{"a":"\u0000"}',
    '{"a":"\r"}',
    '\uFEFF{}',
    '{"constructor":{"prototype":1}}',
    '{"a":1}}',
    '{"a":1}{"b":2}',
    '\u2028',
    '{"":{"":1}}',
  )
  const event = fc.oneof(
    json,
    cut,
    number.map((text) => `{"n":${text}}`),
    number,
    nested,
    strange,
    fc.string({ unit: 'binary' }),
  )
  const text = fc
    .array(event, { minLength: 10, maxLength: 10 })
    .chain((events) =>
      fc.constantFrom(events.join('\n'), `[${events.join(',')}]`, events.join(''), events.join('\r\n')),
    )
  const body = fc.oneof(
    { weight: 4, arbitrary: text.map((value) => Buffer.from(value)) },
    { weight: 1, arbitrary: text.map((value) => gzipSync(value)) },
    { weight: 1, arbitrary: fc.tuple(text, fc.nat()).map(([value, at]) => zstdCompressSync(value).subarray(0, at)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  )
  const odd = fc.constantFrom('', 'x', '-1', '1e3', '18446744073709551616', '"', 'a,b', ' ', '\u00ff', 'true')
  const headers = fc.record(
    {
      'content-type': fc.constantFrom(
        'application/json',
        'application/x-ndjson',
        'application/x-ndjson',
        'text/plain',
        'a/b;;=',
        '',
      ),
      'content-encoding': fc.constantFrom('identity', 'gzip', 'zstd', 'br', ''),
      'freshet-producer': odd,
      'freshet-sequence': odd,
      'idempotency-key': odd,
      'freshet-source': odd,
    },
    { requiredKeys: ['content-type'] },
  )
  await fc.assert(
    fc.asyncProperty(
      body,
      fc.oneof(
        { weight: 3, arbitrary: headers.map((all) => ({ 'content-type': all['content-type'] })) },
        { weight: 1, arbitrary: headers },
      ),
      async (sent, head) => {
        const { status, type } = await send(sent, head)
        expect(status === 202 || (status >= 400 && status < 500)).toBe(true)
        expect(type).toMatch(status === 202 ? 'application/json' : 'application/problem+json')
      },
    ),
    { numRuns: 1000 },
  )
  for (const line of lab.log.lines()) expect(() => JSON.parse(line) as unknown).not.toThrow()
  expect((await lab.post(ndjson([trade()]), nd)).status).toBe(202)
})
