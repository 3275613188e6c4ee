import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { entityOf } from './entities.ts'
import { changesOf } from './erp.ts'
import { feed } from './feed.ts'
import { readNorthwind } from './northwind.ts'
import { planDeliveries } from './webhooks.ts'

const deliveries = planDeliveries(changesOf(readNorthwind(20)))
const taken = { status: 202, body: { accepted: 1, duplicates: 0, rejected: 0 } }

interface Received {
  path: string
  body: { change_id: string }
}

let server: Server | undefined
afterEach(() => server?.close())

/** A server that keeps what it is sent and answers as it is told. */
async function listen(
  answer: (received: readonly Received[]) => { status: number; body: object },
): Promise<{ url: string; received: Received[] }> {
  const received: Received[] = []
  server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => (text += chunk.toString()))
    request.on('end', () => {
      received.push({ path: request.url ?? '', body: JSON.parse(text) as Received['body'] })
      const { status, body } = answer(received)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  })
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received }
}

test('each delivery is one webhook at the URL of its stream, in order for each entity', async () => {
  const { url, received } = await listen(() => taken)
  const counts: number[] = []
  const tally = await feed(url, deliveries, (sent) => counts.push(sent))
  const repeats = deliveries.filter(({ repeat }) => repeat).length
  expect(tally).toEqual({ webhooks: deliveries.length, repeats, retries: 0 })
  expect(counts).toEqual(deliveries.map((_, index) => index + 1))
  for (const [entity, own] of Map.groupBy(deliveries, ({ change }) => entityOf(change))) {
    const ids = own.map(({ change }) => change.event.change_id)
    const posts = received.filter(({ body }) => ids.includes(body.change_id))
    expect(posts.map(({ body }) => body.change_id)).toEqual(ids)
    expect(new Set(posts.map(({ path }) => path)), entity).toEqual(
      new Set([`/v1/streams/${entity.split(' ')[0]}/events`]),
    )
  }
})

test('a webhook that is answered 503 is sent again', async () => {
  const busy = { status: 503, body: {} }
  const { url, received } = await listen((all) => (all.length === 1 ? busy : taken))
  expect(await feed(url, deliveries.slice(0, 3))).toMatchObject({ webhooks: 3, retries: 1 })
  expect(received).toHaveLength(4)
})

test.each([
  ['refused', { status: 404, body: { code: 'unknown_stream' } }, /was answered 404/],
  ['rejected', { status: 202, body: { accepted: 0, duplicates: 0, rejected: 1 } }, /was rejected/],
])('a webhook that is %s ends the feed', async (_, answer, message) => {
  const { url } = await listen(() => answer)
  await expect(feed(url, deliveries.slice(0, 1))).rejects.toThrow(message)
})
