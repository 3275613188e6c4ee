import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { answerOf, startLab, type Answer, type GatewayLab } from '../../test/support/gateway-lab.ts'

let lab: GatewayLab
let engine: Server | undefined
beforeEach(async () => {
  lab = await startLab()
})
afterEach(async () => {
  await lab.close()
  engine?.closeAllConnections()
  engine?.close()
  engine = undefined
})

async function startEngine(handle: (message: IncomingMessage, response: ServerResponse) => void): Promise<void> {
  engine = createServer(handle)
  await new Promise<void>((resolve) => engine!.listen(lab.engineSocket, resolve))
}

const post = async (body: string, headers: Record<string, string> = {}): Promise<Answer> =>
  answerOf(
    await fetch(`${lab.url}/v1/maintenance`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...headers },
    }),
  )

test('a request goes to the engine, and its answer comes back as it is', async () => {
  await startEngine((message, response) => {
    let body = ''
    message.on('data', (chunk: Buffer) => (body += chunk.toString()))
    message.on('end', () => {
      response.writeHead(message.method === 'POST' ? 202 : 404, { 'content-type': 'application/problem+json' })
      response.end(JSON.stringify({ asked: `${message.method} ${message.url}`, body }))
    })
  })
  const answer = await post('{"table": "trades", "dryRun": false}')
  expect([answer.status, answer.body]).toEqual([
    202,
    { asked: 'POST /v1/maintenance', body: '{"table":"trades","dryRun":false}' },
  ])
  const found = await answerOf(await fetch(`${lab.url}/v1/maintenance/12`))
  expect([found.status, found.headers.get('content-type'), found.body]).toEqual([
    404,
    'application/problem+json',
    { asked: 'GET /v1/maintenance/12', body: '' },
  ])
})

test.each([
  ['[]', {}, 400, 'invalid_request'],
  ['{"tables": "trades"}', {}, 400, 'invalid_request'],
  ['{"table"', {}, 400, 'invalid_json'],
  ['', {}, 400, 'invalid_json'],
  ['{}', { 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
  ['{}', { origin: 'https://elsewhere.example' }, 403, 'forbidden_host'],
])('%s with %j never reaches the engine', async (body, headers, status, code) => {
  let reached = false
  await startEngine((_, response) => {
    reached = true
    response.end('{}')
  })
  const answer = await post(body, headers)
  expect([answer.status, answer.body['code'], reached]).toEqual([status, code, false])
})

test('a body that is too large is refused', async () => {
  const answer = await post(`{"table": "${'x'.repeat(70_000)}"}`)
  expect([answer.status, answer.body['code']]).toEqual([413, 'body_too_large'])
})

test('what is no number of a run is not asked for', async () => {
  const answer = await answerOf(await fetch(`${lab.url}/v1/maintenance/..%2Fsql`))
  expect([answer.status, answer.body['code']]).toEqual([404, 'not_found'])
})

test('without the engine it is refused, and the gateway goes on', async () => {
  const answer = await post('{}')
  expect([answer.status, answer.body['code']]).toEqual([503, 'engine_unavailable'])
})
