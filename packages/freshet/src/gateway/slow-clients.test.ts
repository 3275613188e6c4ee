import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { startLab, trade, type GatewayLab } from '../../test/support/gateway-lab.ts'

let lab: GatewayLab
afterEach(() => lab.close())

const head = (lines: readonly string[]): string =>
  [
    'POST /v1/streams/plain/events HTTP/1.1',
    'host: localhost',
    'content-type: application/json',
    ...lines,
    '',
    '',
  ].join('\r\n')

interface Talk {
  socket: Socket
  /** Everything the server sent, once it has closed the connection. */
  closed: Promise<string>
  received: () => string
}

function talk(port: number): Talk {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const closed = new Promise<string>((resolve) => {
    socket.on('close', () => resolve(text))
    socket.on('error', () => {})
  })
  return { socket, closed, received: () => text }
}

describe('clients that are slow or stall', () => {
  test.each([
    ['within the headers', 'POST /v1/streams/plain/events HTTP/1.1\r\nhost: local'],
    ['within the body', `${head(['content-length: 100'])}{"a":`],
    ['within a chunk', `${head(['transfer-encoding: chunked'])}5\r\n{"a"`],
  ])('%s are answered 408 and cut off', async (_, text) => {
    lab = await startLab({ http: { requestTimeoutMs: 300 } })
    const { socket, closed } = talk(lab.port)
    socket.write(text)
    const answer = await closed
    expect(answer).toMatch(/^HTTP\/1\.1 408 /)
    expect(answer).toContain('"request_timeout"')
    expect(lab.log.begun).toBe(0)
  })

  test('a client that goes away in the middle of a body leaves nothing behind', async () => {
    lab = await startLab({}, { heldBytesMax: 100_000 })
    for (let round = 0; round < 20; round++) {
      const { socket, closed } = talk(lab.port)
      socket.write(`${head(['content-length: 90000'])}${'x'.repeat(50_000)}`)
      await new Promise((resolve) => socket.once('drain', resolve).once('connect', resolve))
      socket.destroy()
      await closed
    }
    await expect.poll(async () => (await fetch(`${lab.url}/metrics`)).text()).toMatch(/freshet_gateway_held_bytes 0/)
    expect((await lab.post(JSON.stringify(trade()))).status).toBe(202)
  })
})

describe('bodies over the limit', () => {
  const limit = 1024 * 1024

  test('a gigabyte that is announced is refused before any of it is read', async () => {
    lab = await startLab({ limits: { bodyBytesMax: limit } })
    const { socket, closed, received } = talk(lab.port)
    socket.write(head([`content-length: ${1024 ** 3}`]))
    await expect.poll(received).toMatch(/^HTTP\/1\.1 413 /)
    socket.end()
    expect(await closed).toContain('"body_too_large"')
  })

  test('a gigabyte that is not announced is cut off early, with an answer, and never held', async () => {
    lab = await startLab({ limits: { bodyBytesMax: limit } })
    const { socket, closed, received } = talk(lab.port)
    const chunk = Buffer.from(`10000\r\n${'x'.repeat(0x10000)}\r\n`)
    socket.write(head(['transfer-encoding: chunked']))
    let sent = 0
    const push = (): void => {
      while (sent < 1024 ** 3 && socket.writable) {
        sent += chunk.length
        if (!socket.write(chunk)) break
      }
    }
    socket.on('drain', push)
    push()
    await expect.poll(received, { timeout: 10_000 }).toMatch(/^HTTP\/1\.1 413 /)
    expect(received()).toMatch(/connection: close/i)
    await closed
    expect(sent).toBeLessThan(1024 ** 3)
    expect((await lab.post(JSON.stringify(trade()))).status).toBe(202)
  })
})

test('beyond the bytes that may wait, batches are answered 503 with Retry-After', async () => {
  lab = await startLab({ limits: { eventBytesMax: 200_000 } }, { heldBytesMax: 300_000 })
  let open = (): void => {}
  lab.log.gate = new Promise((resolve) => (open = resolve))
  const large = JSON.stringify({ text: 'x'.repeat(120_000) })
  const first = lab.post(large, { stream: 'plain' })
  await expect.poll(() => lab.log.begun).toBe(1)
  const second = await lab.post(large, { stream: 'plain' })
  expect([second.status, second.body['code'], second.headers.get('retry-after')]).toEqual([503, 'overloaded', '1'])
  open()
  expect((await first).status).toBe(202)
  expect((await lab.post(large, { stream: 'plain' })).status).toBe(202)
})

test('what is not HTTP is answered as a problem', async () => {
  lab = await startLab()
  const { socket, closed } = talk(lab.port)
  socket.write('hello?\r\n\r\n')
  expect(await closed).toMatch(/^HTTP\/1\.1 400 [^]*application\/problem\+json/)
})
