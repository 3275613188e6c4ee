import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { answerOf, ndjson, startLab, trade, type Answer, type GatewayLab } from '../../test/support/gateway-lab.ts'
import { parseReceipt, receiptText } from '../log/receipt.ts'

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

const ask = async (receipt: string): Promise<Answer> => answerOf(await fetch(`${lab.url}/v1/receipts/${receipt}`))

async function post(headers: Record<string, string> = {}, events = [trade(), trade({ id: 't-2' })]): Promise<string> {
  const { body } = await lab.post(ndjson(events), { type: 'application/x-ndjson', headers })
  return body['receipt'] as string
}

describe('the answer to a batch names it', () => {
  test('by its place, arrival time and count', async () => {
    await post()
    const receipt = parseReceipt(await post())
    expect(receipt).toMatchObject({ stream: 'trades', partition: 0, from: 1n, to: 2n, count: 2 })
    expect(receipt.receivedAtMs).toBe(lab.log.batches[1]!.batch.receivedAtMs)
  })

  test('a repeat names the original, under either mark, also while that is being written', async () => {
    for (const headers of [{ 'freshet-producer': 'a', 'freshet-sequence': '1' }, { 'idempotency-key': 'k' }] as Record<
      string,
      string
    >[]) {
      const first = await post(headers)
      await post()
      expect(await post(headers)).toBe(first)
    }
  })

  test('not at all where nothing was stored', async () => {
    expect(await post({}, [trade({ price: 'x' })])).toBeNull()
  })
})

describe('a question about a batch', () => {
  test('goes to the engine, and its answer comes back as it is', async () => {
    await startEngine((message, response) => {
      response.writeHead(404, { 'content-type': 'application/problem+json' })
      response.end(JSON.stringify({ asked: message.url, method: message.method }))
    })
    const receipt = await post()
    const answer = await ask(receipt)
    expect(answer.status).toBe(404)
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(answer.body).toEqual({ asked: `/v1/receipts/${receipt}`, method: 'GET' })
  })

  test('is answered from the log while the engine is away', async () => {
    const receipt = await post()
    const { status, body } = await ask(receipt)
    expect(status).toBe(200)
    expect(body).toEqual({
      receipt,
      stream: 'trades',
      partition: 0,
      from: '0',
      to: '1',
      count: 2,
      receivedAt: new Date(lab.log.batches[0]!.batch.receivedAtMs).toISOString(),
      state: 'logged',
      inLog: true,
      snapshot: null,
      files: null,
      events: null,
      engine: { available: false },
    })
  })

  test('cannot be answered without the engine once the log has let go of it', async () => {
    const receipt = await post()
    await post()
    lab.log.trimmedBelow = 1n
    expect(await ask(receipt)).toMatchObject({ status: 503, body: { code: 'engine_unavailable' } })
    expect((await ask(receipt)).headers.get('retry-after')).not.toBeNull()
  })

  test('that was never given is unknown, also without the engine', async () => {
    const receipt = parseReceipt(await post())
    await post()
    const others = [
      receiptText('trades', { ...receipt, from: 1n, to: 2n, receivedAtMs: receipt.receivedAtMs - 1 }),
      receiptText('trades', { ...receipt, from: 1n, to: 2n, count: 3 }),
      receiptText('trades', { ...receipt, to: 3n }),
      receiptText('trades', { ...receipt, partition: 1 }),
      receiptText('trades', { ...receipt, from: 2n ** 62n, to: 2n ** 63n - 1n }),
      receiptText('plain', receipt),
      receiptText('dead_letters', receipt),
      receiptText('nowhere', receipt),
    ]
    for (const other of others)
      expect(await ask(other), other).toMatchObject({ status: 404, body: { code: 'unknown_receipt' } })
  })

  test.each([
    ['nothing of the form', 'x'],
    ['a wrong check', 'trades.0.0.1.mi7x3k2a.2.1'],
    ['a negative position', 'trades.0.-1.1.mi7x3k2a.2.1'],
    ['a huge number', `trades.0.0.${'9'.repeat(80)}.mi7x3k2a.2.1`],
    ['other scripts', encodeURIComponent('trädes.0.٠.١.mi7x3k2a.2.1')],
    ['a null byte', 'trades%00.0.0.1.mi7x3k2a.2.1'],
    ['a line break and a header', 'trades%0d%0ax-evil:%201'],
    ['a path upward', '..%2f..%2f_ends%2ftrades.0'],
    ['another request', 'a%20HTTP%2f1.1%0d%0a%0d%0aGET%20%2fv1%2fstatus'],
    ['SQL', encodeURIComponent("'; attach '/etc/passwd' --")],
    ['300 characters', 'a'.repeat(300)],
    ['a query', 'trades.0.0.1.mi7x3k2a.2.1?format=csv'],
  ])('that is %s never reaches the engine', async (_, receipt) => {
    let reached = 0
    await startEngine((_message, response) => {
      reached++
      response.end('{}')
    })
    const { status, body } = await ask(receipt)
    expect(status).toBe(404)
    expect(body).toMatchObject({ code: 'unknown_receipt' })
    expect(reached).toBe(0)
  })

  test('that is too long, or cannot be decoded, is refused', async () => {
    expect((await ask('a'.repeat(5000))).status).toBe(400)
    expect((await ask('%ff%')).status).toBe(400)
    expect((await ask('')).status).toBe(404)
  })

  test('is given up when the one who asked has gone', async () => {
    const closed = Promise.withResolvers<void>()
    const asked = Promise.withResolvers<void>()
    await startEngine((message, _response) => {
      message.socket.once('close', () => closed.resolve())
      asked.resolve()
    })
    const receipt = await post()
    const socket = connect(lab.port, '127.0.0.1')
    socket.write(`GET /v1/receipts/${receipt} HTTP/1.1\r\nhost: localhost\r\n\r\n`)
    await asked.promise
    socket.destroy()
    await expect(closed.promise).resolves.toBeUndefined()
  })
})
