import { createServer, request, type Server } from 'node:http'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { answerOf, startLab, type Answer, type GatewayLab } from '../../test/support/gateway-lab.ts'

let lab: GatewayLab
let engine: Server | undefined
/** What reached the engine. */
let seen: { asked: string; body: Record<string, unknown> | null }[]

beforeEach(async () => {
  lab = await startLab()
  seen = []
  engine = createServer((message, response) => {
    let text = ''
    message.on('data', (chunk: Buffer) => (text += chunk.toString()))
    message.on('end', () => {
      const body = text === '' ? null : (JSON.parse(text) as Record<string, unknown>)
      seen.push({ asked: `${message.method} ${message.url}`, body })
      response.writeHead(202, { 'content-type': 'application/json' }).end('{"id":"r1","state":"applying"}')
    })
  })
  await new Promise<void>((resolve) => engine!.listen(lab.engineSocket, resolve))
})

afterEach(async () => {
  await lab.close()
  engine?.closeAllConnections()
  engine?.close()
})

async function ask(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Answer> {
  const content = body === undefined ? {} : { body, headers: { 'content-type': 'application/json', ...headers } }
  return answerOf(await fetch(lab.url + path, { method, ...content }))
}

test('requests go to the engine with who asked, and its answer comes back as it is', async () => {
  const range = '{"from":"2026-11-20","to":"2026-11-21","dryRun":true,"keepMs":1000}'
  expect(await ask('POST', '/v1/streams/clean/replays', range)).toMatchObject({
    status: 202,
    body: { id: 'r1', state: 'applying' },
  })
  await ask('GET', '/v1/replays')
  await ask('GET', '/v1/replays/r1')
  await ask('POST', '/v1/replays/r1/apply', '{}', { 'user-agent': 'someone' })
  await ask('POST', '/v1/replays/r1/undo', '{}')
  const requestedBy = expect.stringMatching(/^127\.0\.0\.1 /)
  expect(seen).toEqual([
    { asked: 'POST /v1/streams/clean/replays', body: { ...(JSON.parse(range) as object), requestedBy } },
    { asked: 'GET /v1/replays', body: null },
    { asked: 'GET /v1/replays/r1', body: null },
    { asked: 'POST /v1/replays/r1/apply', body: { requestedBy: '127.0.0.1 someone' } },
    { asked: 'POST /v1/replays/r1/undo', body: { requestedBy } },
  ])
})

test('an id stays one part of the address', async () => {
  await ask('GET', '/v1/replays/..%2Ferasures')
  await ask('POST', '/v1/replays/r1%2Fundo%3F/apply', '{}')
  expect(seen.map(({ asked }) => asked)).toEqual([
    'GET /v1/replays/..%2Ferasures',
    'POST /v1/replays/r1%2Fundo%3F/apply',
  ])
})

test.each([
  ['a body that is no object', '/v1/streams/clean/replays', '[]', {}, 'invalid_request'],
  ['a body that is no JSON', '/v1/streams/clean/replays', '{', {}, 'invalid_json'],
  ['a member that is mistyped', '/v1/streams/clean/replays', '{"form":"2026-11-20"}', {}, 'invalid_request'],
  ['a name that was made up', '/v1/streams/clean/replays', '{"requestedBy":"me"}', {}, 'invalid_request'],
  ['an apply under a name that was made up', '/v1/replays/r1/apply', '{"requestedBy":"me"}', {}, 'invalid_request'],
  ['an undo that would be narrower', '/v1/replays/r1/undo', '{"from":"2026-11-20"}', {}, 'invalid_request'],
  ['a name that is none', '/v1/streams/Clean/replays', '{}', {}, 'unknown_stream'],
  ['a name that leads elsewhere', '/v1/streams/..%2Ferasures%2Fe1/replays', '{}', {}, 'unknown_stream'],
  ['a form of a page', '/v1/replays/r1/apply', 'a=b', { 'content-type': 'text/plain' }, 'unsupported_media_type'],
  ['a page of another site', '/v1/replays/r1/apply', '{}', { origin: 'https://elsewhere.example' }, 'forbidden_host'],
  ['an undo by another site', '/v1/replays/r1/undo', '{}', { origin: 'https://elsewhere.example' }, 'forbidden_host'],
  ['a replay by another site', '/v1/streams/clean/replays', '{}', { origin: 'null' }, 'forbidden_host'],
  ['a body that is too large', '/v1/replays/r1/undo', `{"a":"${'x'.repeat(70_000)}"}`, {}, 'body_too_large'],
])('%s never reaches the engine', async (_, path, body, headers, code) => {
  expect((await ask('POST', path, body, headers)).body['code']).toBe(code)
  expect(seen).toEqual([])
})

test('nor does a step without a body, or a request that names another host', async () => {
  expect((await ask('POST', '/v1/replays/r1/apply')).body['code']).toBe('unsupported_media_type')
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const options = { headers: { host: 'rebound.example' } }
    request(`${lab.url}/v1/replays`, options, (answer) => resolve(answer.resume().statusCode))
      .on('error', reject)
      .end()
  })
  expect(status).toBe(403)
  expect(seen).toEqual([])
})

test('without an engine all of it may be asked for again', async () => {
  engine?.close()
  engine?.closeAllConnections()
  for (const [method, path] of [
    ['GET', '/v1/replays'],
    ['POST', '/v1/streams/clean/replays'],
    ['POST', '/v1/replays/r1/undo'],
  ] as const) {
    const answer = await ask(method, path, method === 'POST' ? '{}' : undefined)
    expect(answer).toMatchObject({ status: 503, body: { code: 'engine_unavailable' } })
  }
})
