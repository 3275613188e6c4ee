import { createServer, type Server } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import { answerOf, startLab, trade, type Answer, type GatewayLab } from '../../test/support/gateway-lab.ts'

let lab: GatewayLab
let engine: Server | undefined
afterEach(async () => {
  await lab.close()
  engine?.closeAllConnections()
  engine?.close()
  engine = undefined
})

interface Seen {
  method: string
  url: string
  body: Record<string, unknown> | null
}

/** An engine that admits everything, or answers `refusal` instead; what it was asked, and when the log was told to begin a segment. */
async function start(
  refusal?: object,
): Promise<{ seen: Seen[]; rolled: { stream: string; asked: number; atMs: number }[] }> {
  const seen: Seen[] = []
  const rolled: { stream: string; asked: number; atMs: number }[] = []
  lab = await startLab(
    {},
    {
      rollLog: (stream) => {
        rolled.push({ stream, asked: seen.length, atMs: Date.now() })
        return Promise.resolve(new Map([[0, 1234n]]))
      },
    },
  )
  engine = createServer((message, response) => {
    let text = ''
    message.on('data', (chunk: Buffer) => (text += chunk.toString()))
    message.on('end', () => {
      const { method = '', url = '' } = message
      seen.push({ method, url, body: text === '' ? null : (JSON.parse(text) as Record<string, unknown>) })
      if (refusal !== undefined) {
        response.writeHead(403, { 'content-type': 'application/problem+json' }).end(JSON.stringify(refusal))
      } else if (url.endsWith('/admit') || method === 'DELETE') response.writeHead(204).end()
      else response.writeHead(202, { 'content-type': 'application/json' }).end('{"id":"e1"}')
    })
  })
  await new Promise<void>((resolve) => engine!.listen(lab.engineSocket, resolve))
  return { seen, rolled }
}

async function ask(method: string, path: string, body?: unknown, type = 'application/json'): Promise<Answer> {
  const response = await fetch(lab.url + path, {
    method,
    ...(body !== undefined && {
      body: typeof body === 'string' ? body : JSON.stringify(body),
      headers: { 'content-type': type },
    }),
  })
  if (response.status === 204) return { status: 204, headers: response.headers, body: {} }
  return answerOf(response)
}

const where = "symbol = 'SPY'"

describe('erasures', () => {
  test('the condition is admitted, then a segment is begun behind what came until then, then the engine is asked', async () => {
    const { seen, rolled } = await start()
    const beforeMs = Date.now()
    expect(await ask('POST', '/v1/streams/trades/erasures', { where })).toMatchObject({
      status: 202,
      body: { id: 'e1' },
    })
    expect(seen.map(({ url }) => url)).toEqual(['/v1/streams/trades/erasures/admit', '/v1/streams/trades/erasures'])
    expect(seen[0]!.body).toEqual({ where, all: false })
    expect(seen[1]!.body).toMatchObject({
      where,
      all: false,
      position: '1234',
      requestedBy: expect.stringContaining('127.0.0.1'),
    })
    const untilMs = Number(seen[1]!.body!['untilMs'])
    expect(untilMs).toBeGreaterThanOrEqual(beforeMs)
    expect(rolled).toEqual([{ stream: 'trades', asked: 1, atMs: expect.any(Number) }])
    // Events that are stamped from here on are later ones.
    expect(rolled[0]!.atMs).toBeGreaterThan(untilMs)
    await lab.post(JSON.stringify(trade()))
    expect(lab.log.batches[0]!.batch.receivedAtMs).toBeGreaterThan(untilMs)
  })

  test('what the engine refuses is passed on, and no segment is begun', async () => {
    const { rolled } = await start({ code: 'forbidden_sql', detail: 'no' })
    const answer = await ask('POST', '/v1/streams/trades/erasures', { where: '(select 1)' })
    expect(answer).toMatchObject({ status: 403, body: { code: 'forbidden_sql' } })
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(rolled).toEqual([])
  })

  test('a dry run begins no segment', async () => {
    const { seen, rolled } = await start()
    await ask('POST', '/v1/streams/trades/erasures', { where, dryRun: true })
    expect(seen).toMatchObject([{ body: { where, dryRun: true, untilMs: expect.any(Number) } }])
    expect(rolled).toEqual([])
  })

  test('are shown and listed', async () => {
    const { seen } = await start()
    await ask('GET', '/v1/erasures')
    await ask('GET', '/v1/erasures/a%2Fb')
    expect(seen.map(({ method, url }) => `${method} ${url}`)).toEqual(['GET /v1/erasures', 'GET /v1/erasures/a%2Fb'])
  })

  test.each([
    ['a body that is no object', '[]', 'application/json', 'invalid_request'],
    ['a body that is no JSON', '{', 'application/json', 'invalid_json'],
    ['no condition', '{}', 'application/json', 'invalid_request'],
    ['a member that is mistyped', `{"were": "x"}`, 'application/json', 'invalid_request'],
    ['another type', 'x', 'text/plain', 'unsupported_media_type'],
    ['a body that is too large', JSON.stringify({ where: 'x'.repeat(70_000) }), 'application/json', 'body_too_large'],
  ])('%s is refused without the engine', async (_, body, type, code) => {
    const { seen } = await start()
    expect((await ask('POST', '/v1/streams/trades/erasures', body, type)).body['code']).toBe(code)
    expect(seen).toEqual([])
  })

  test('without an engine are refused, and may be asked for again', async () => {
    lab = await startLab()
    const answer = await ask('POST', '/v1/streams/trades/erasures', { where })
    expect(answer).toMatchObject({ status: 503, body: { code: 'engine_unavailable' } })
    expect(answer.headers.get('retry-after')).toBe('1')
  })
})

describe('tables', () => {
  test('tags and rollbacks are forwarded', async () => {
    const { seen } = await start()
    await ask('GET', '/v1/tables/trades/tags')
    await ask('POST', '/v1/tables/trades/tags', { name: 'a', snapshot: '1' })
    expect((await ask('DELETE', '/v1/tables/trades/tags/a%20b')).status).toBe(204)
    await ask('POST', '/v1/tables/trades/rollback', { to: 'a', dryRun: true })
    expect(seen).toEqual([
      { method: 'GET', url: '/v1/tables/trades/tags', body: null },
      { method: 'POST', url: '/v1/tables/trades/tags', body: { name: 'a', snapshot: '1' } },
      { method: 'DELETE', url: '/v1/tables/trades/tags/a%20b', body: null },
      { method: 'POST', url: '/v1/tables/trades/rollback', body: { to: 'a', dryRun: true } },
    ])
  })

  test('a member that is mistyped is refused', async () => {
    await start()
    expect((await ask('POST', '/v1/tables/trades/rollback', { too: 'a' })).body).toMatchObject({
      code: 'invalid_request',
      hint: 'Did you mean "to"?',
    })
  })
})
