import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { afterEach, expect, test } from 'vitest'
import { answerOf, startLab, trade, type GatewayLab } from '../../test/support/gateway-lab.ts'

let lab: GatewayLab
let engine: Server | undefined
afterEach(async () => {
  await lab.close()
  engine?.closeAllConnections()
  engine?.close()
})

async function start(handle: (message: IncomingMessage, response: ServerResponse) => void): Promise<void> {
  lab = await startLab()
  engine = createServer(handle)
  await new Promise<void>((resolve) => engine!.listen(lab.engineSocket, resolve))
}

const query = (init: RequestInit = {}): Promise<Response> =>
  fetch(`${lab.url}/v1/sql?format=csv&p.a=1`, {
    method: 'POST',
    body: 'select 1',
    headers: { 'content-type': 'application/sql', accept: 'text/csv' },
    ...init,
  })

const text = ({ value }: { value?: Uint8Array | undefined }): string => Buffer.from(value ?? []).toString()

test('a query reaches the engine as it was sent, and its answer comes back as it is', async () => {
  await start((message, response) => {
    let body = ''
    message.on('data', (chunk: Buffer) => (body += chunk.toString()))
    message.on('end', () => {
      response.writeHead(400, { 'content-type': 'application/problem+json' })
      const { 'content-type': type, accept } = message.headers
      response.end(JSON.stringify({ url: message.url, body, type, accept }))
    })
  })
  const answer = await answerOf(await query())
  expect(answer.status).toBe(400)
  expect(answer.headers.get('content-type')).toBe('application/problem+json')
  expect(answer.body).toEqual({
    url: '/v1/sql?format=csv&p.a=1',
    body: 'select 1',
    type: 'application/sql',
    accept: 'text/csv',
  })
})

test('an answer is streamed: its start arrives before its end exists', async () => {
  let finish = (): void => {}
  await start((_, response) => {
    response.write('first\n')
    finish = () => response.end('last\n')
  })
  const reader = (await query()).body!.getReader()
  expect(text(await reader.read())).toBe('first\n')
  finish()
  expect(text(await reader.read())).toBe('last\n')
})

test.each(['before', 'after'])('a client that leaves %s the answer has begun cancels the query', async (moment) => {
  let cancelled = false
  let reached = false
  await start((_, response) => {
    reached = true
    response.on('close', () => (cancelled = !response.writableFinished))
    if (moment === 'after') response.write('first\n')
  })
  const leave = new AbortController()
  const failure = query({ signal: leave.signal }).then(
    (response) => response.text().catch((error: unknown) => error),
    (error: unknown) => error,
  )
  await expect.poll(() => reached).toBe(true)
  leave.abort()
  expect(await failure).toBeInstanceOf(Error)
  await expect.poll(() => cancelled).toBe(true)
})

test('without the engine queries are refused and ingest goes on', async () => {
  lab = await startLab()
  const answer = await answerOf(await query())
  expect([answer.status, answer.body['code'], answer.headers.get('retry-after')]).toEqual([
    503,
    'engine_unavailable',
    '1',
  ])
  expect((await lab.post(JSON.stringify(trade()))).status).toBe(202)
})

test('an engine that dies within an answer breaks the connection, so that nobody takes a part for the whole', async () => {
  await start((_, response) => {
    response.write('first\n')
    setImmediate(() => response.destroy())
  })
  await expect(query().then((response) => response.text())).rejects.toThrow('terminated')
})
