import { createHmac } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { HandTimers, HttpLab, sinkDeps, sinkEvent } from '../../../test/support/sink-lab.ts'
import { messageOf } from '../../runtime/errors.ts'
import { EventsRefused, type Sink, type SinkDeps } from '../sink.ts'
import { webhookSettings } from './settings.ts'
import { webhookKind } from './webhook-sink.ts'

const secretBytes = Buffer.alloc(32, 7)
const secret = `whsec_${secretBytes.toString('base64')}`

let server: HttpLab
let sinks: Sink[]

beforeEach(async () => {
  server = await HttpLab.start()
  sinks = []
})

afterEach(async () => {
  await Promise.all(sinks.map((sink) => sink.close()))
  await server.stop()
})

async function open(words: object = {}, more: Partial<SinkDeps> = {}): Promise<Sink> {
  const sink = await webhookKind.open(
    sinkDeps('webhook', webhookSettings, { url: `${server.url}/hook?a=1`, ...words }, more),
  )
  sinks.push(sink)
  return sink
}

const bodies = (): string[] => server.seen.map(({ body }) => body.toString())
const ids = (): unknown[] => server.seen.map(({ headers }) => headers['webhook-id'])

async function refusalOf(delivery: Promise<void>): Promise<EventsRefused> {
  const error = await delivery.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof EventsRefused) return error
  throw new Error('nothing was refused', { cause: error })
}

const three = [sinkEvent('a', { n: 1 }), sinkEvent('b', { n: 2 }), sinkEvent('c', { n: 3 })]

describe('a request', () => {
  test('has the event as it is stored, with every digit, and goes to the whole address', async () => {
    const event = { ...sinkEvent('a'), text: '{"_event_id":"a","n":12345678901234567890,"d":1.10}' }
    await (await open()).deliver([event], '1')
    expect(server.seen).toMatchObject([{ method: 'POST', path: '/hook?a=1' }])
    expect(bodies()).toEqual([event.text])
    expect(server.seen[0]!.headers).toMatchObject({ 'content-type': 'application/json', 'idempotency-key': 'a' })
  })

  test('is signed by each secret, as Standard Webhooks says', async () => {
    const next = Buffer.alloc(24, 9)
    const sink = await open({ secret: [secret, `whsec_${next.toString('base64')}`] })
    await sink.deliver([sinkEvent('msg_1', { n: 1 })], '1')
    const { headers, body } = server.seen[0]!
    const signed = `msg_1.${Date.UTC(2026, 10, 20, 20, 29) / 1000}.${body.toString()}`
    const signature = (key: Buffer): string => `v1,${createHmac('sha256', key).update(signed).digest('base64')}`
    expect(headers).toMatchObject({
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(Date.UTC(2026, 10, 20, 20, 29) / 1000),
      'webhook-signature': `${signature(secretBytes)} ${signature(next)}`,
    })
  })

  test('has the example of the specification', async () => {
    const { messageHeaders, signingKeys } = await import('./signature.ts')
    const keys = signingKeys(['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'])
    const message = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestampS: 1_614_265_330, body: '{"test": 2432232314}' }
    expect(messageHeaders(message, keys)['webhook-signature']).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=')
  })

  test('has a hash as its id where an event has one that no header can have', async () => {
    const sink = await open()
    const awkward = ['line\r\nx-evil: 1', 'né', 'a.b', '', 'x'.repeat(300)]
    await sink.deliver(
      awkward.map((id) => sinkEvent(id)),
      '1',
    )
    expect(ids()).toHaveLength(awkward.length)
    for (const id of ids()) expect(id).toMatch(/^event_[0-9a-f]{64}$/)
    expect(new Set(ids()).size).toBe(awkward.length)
  })

  test('has what `body` makes of the event, and there is none for nothing', async () => {
    const body = ({ n, _event_id }: { n: number; _event_id: string }): unknown =>
      n === 2 ? null : { id: _event_id, twice: n * 2 }
    await (await open({ body })).deliver(three, '1')
    expect(bodies()).toEqual(['{"id":"a","twice":2}', '{"id":"c","twice":6}'])
  })

  test('has several events when it may: as a list, or one a line', async () => {
    await (await open({ batch: 2 })).deliver(three, '1')
    await (await open({ batch: 2, format: 'ndjson' })).deliver(three, '1')
    const [a, b, c] = three.map(({ text }) => text)
    expect(bodies()).toEqual([`[${a},${b}]`, `[${c}]`, `${a}\n${b}\n`, `${c}\n`])
    expect(ids()[0]).toBe(ids()[2])
    expect(ids()[0]).toMatch(/^batch_[0-9a-f]{64}$/)
    expect(server.seen[2]!.headers['content-type']).toBe('application/x-ndjson')
  })

  test('is signed in by the name and password of the address', async () => {
    const url = server.url.replace('http://', 'http://m%40x:p%3Aw@')
    await (await open({ url })).deliver([three[0]!], '1')
    const basic = Buffer.from('m@x:p:w').toString('base64')
    expect(server.seen[0]!.headers.authorization).toBe(`Basic ${basic}`)
  })

  test('has the headers that are asked for', async () => {
    await (await open({ headers: { 'X-Api-Key': 'k' } })).deliver([three[0]!], '1')
    expect(server.seen[0]!.headers['x-api-key']).toBe('k')
  })
})

describe('an answer', () => {
  test('of 4xx refuses the event, and the others go on', async () => {
    server.reply = ({ body }) => (body.includes('"n":2') ? { status: 422, body: 'n is  wrong\n' } : { status: 204 })
    const sink = await open()
    const refusal = await refusalOf(sink.deliver(three, '1'))
    expect([...refusal.refused]).toEqual([[1, `${server.url} answered 422: n is wrong`]])
    await sink.deliver([three[0]!, three[2]!], '1')
    expect(ids()).toEqual(['a', 'b', 'c'])
  })

  test.each([401, 403, 404, 408, 409, 410, 425, 429, 500, 503])('of %i leaves it for later', async (status) => {
    server.reply = () => ({ status })
    await expect((await open()).deliver(three, '1')).rejects.toThrow(`answered ${status}`)
    expect(ids()).toEqual(['a'])
  })

  test('refuses by the statuses that are named, and no others', async () => {
    const sink = await open({ refuse: [404] })
    server.reply = () => ({ status: 404 })
    expect((await refusalOf(sink.deliver([three[0]!], '1'))).refused.size).toBe(1)
    server.reply = () => ({ status: 422 })
    await expect(sink.deliver([three[0]!], '1')).rejects.not.toBeInstanceOf(EventsRefused)
  })

  test('to several events refuses them without saying which', async () => {
    server.reply = () => ({ status: 400 })
    const refusal = await refusalOf((await open({ batch: 2 })).deliver(three, '1'))
    expect(refusal.refused.size).toBe(0)
  })

  test('that redirects is not followed', async () => {
    server.reply = ({ path }) => ({ status: path === '/else' ? 200 : 307, headers: { location: '/else' } })
    await expect((await open()).deliver([three[0]!], '1')).rejects.toThrow('redirects are not followed')
    expect(server.seen.map(({ path }) => path)).toEqual(['/hook?a=1'])
  })

  test('without end is read up to a limit', async () => {
    server.reply = () => ({ status: 200, body: 'x'.repeat(3_000_000) })
    await (await open()).deliver(three, '1')
    expect(ids()).toEqual(['a', 'b', 'c'])
  })

  test('that does not come is waited for so long', async () => {
    server.reply = () => new Promise(() => undefined)
    await expect((await open({ timeout: 50 })).deliver([three[0]!], '1')).rejects.toThrow('no answer within 50 ms')
  })

  test('never shows a secret address', async () => {
    const sink = await open({ url: `${server.url}/T000/secret-path` })
    server.reply = () => ({ status: 500 })
    await expect(sink.deliver([three[0]!], '1')).rejects.not.toThrow('secret-path')
    server.reply = () => ({ status: 200, hangUp: true })
    await expect(sink.deliver([three[0]!], '1')).rejects.not.toThrow('secret-path')
  })
})

describe('a failure', () => {
  test('half way: what was answered is not sent again', async () => {
    const sink = await open()
    server.reply = ({ body }) => ({ status: body.includes('"n":3') && server.seen.length < 4 ? 503 : 200 })
    await expect(sink.deliver(three, '1')).rejects.toThrow('503')
    await sink.deliver(three, '1')
    expect(ids()).toEqual(['a', 'b', 'c', 'c'])
    await sink.deliver(three, '2')
    expect(ids()).toHaveLength(7)
  })

  test('of one among several: when the halves are delivered, what was taken of either is not sent again', async () => {
    const sink = await open({ batch: 1, refuse: [] })
    const events = Array.from({ length: 8 }, (_, n) => sinkEvent(`e${n}`, { n }))
    server.reply = ({ body }) => ({ status: body.includes('"n":6') && server.seen.length < 9 ? 503 : 200 })
    await expect(sink.deliver(events, '8')).rejects.toThrow('503')
    await sink.deliver(events.slice(0, 4), '4')
    await expect(sink.deliver(events.slice(4), '8')).rejects.toThrow('503')
    await sink.deliver(events.slice(4), '8')
    expect(ids()).toEqual(['e0', 'e1', 'e2', 'e3', 'e4', 'e5', 'e6', 'e6', 'e6', 'e7'])
  })

  test('of a function is held against the event', async () => {
    const body = ({ n }: { n: number }): unknown => {
      if (n === 2) throw new Error('no twos')
      return n
    }
    const refusal = await refusalOf((await open({ body })).deliver(three, '1'))
    expect([...refusal.refused]).toEqual([[1, 'no twos']])
    expect(bodies()).toEqual(['1', '3'])
  })

  test('again and again: the target is left alone, then tried once, and used when it is well', async () => {
    const timers = new HandTimers()
    const sink = await open({ breaker: { failures: 2, wait: '8 s', waitMax: '20 s' } }, { timers })
    server.reply = () => ({ status: 500 })
    const deliver = (): Promise<void> => sink.deliver([three[0]!], '1')
    await expect(deliver()).rejects.toThrow('answered 500')
    await expect(deliver()).rejects.toThrow('answered 500')
    await expect(deliver()).rejects.toThrow(/is left alone until 2026-11-20T20:29:0\d.*answered 500/)
    expect(server.seen).toHaveLength(2)
    timers.pass(8000)
    await expect(deliver()).rejects.toThrow('answered 500')
    timers.pass(7999)
    await expect(deliver()).rejects.toThrow('is left alone')
    expect(server.seen).toHaveLength(3)
    timers.pass(20_000)
    server.reply = () => ({ status: 200 })
    await deliver()
    server.reply = () => ({ status: 500 })
    await expect(deliver()).rejects.toThrow('answered 500')
    await expect(deliver()).rejects.toThrow('answered 500')
    expect(server.seen).toHaveLength(6)
  })

  test('with Retry-After: the target is left alone for as long', async () => {
    const timers = new HandTimers()
    const sink = await open({}, { timers })
    server.reply = () => ({ status: 429, headers: { 'retry-after': '7' } })
    await expect(sink.deliver(three, '1')).rejects.toThrow('answered 429')
    timers.pass(6999)
    await expect(sink.deliver(three, '1')).rejects.toThrow('is left alone until')
    timers.pass(1)
    server.reply = () => ({ status: 503, headers: { 'retry-after': 'Fri, 20 Nov 2026 20:29:30 GMT' } })
    await expect(sink.deliver(three, '1')).rejects.toThrow('answered 503')
    timers.pass(29_999)
    await expect(sink.deliver(three, '1')).rejects.toThrow('is left alone until 2026-11-20T20:29:00.001Z')
  })

  test('to connect: nothing is lost, and it goes on when the target is back', async () => {
    const sink = await open()
    const { port } = server
    await server.stop()
    await expect(sink.deliver(three, '1')).rejects.toThrow(`http://127.0.0.1:${port} cannot be reached: ECONNREFUSED`)
    server = await HttpLab.start(port)
    await sink.deliver(three, '1')
    expect(ids()).toEqual(['a', 'b', 'c'])
  })
})

test('closing ends a request that waits', async () => {
  server.reply = () => new Promise(() => undefined)
  const sink = await open()
  const outcome = sink.deliver(three, '1').catch(messageOf)
  await expect.poll(() => server.seen.length).toBe(1)
  await sink.close()
  expect(await outcome).toContain('is being closed')
})
