import { afterEach, beforeEach, expect, test } from 'vitest'
import { HandTimers, HttpLab, sinkDeps, sinkEvent } from '../../../test/support/sink-lab.ts'
import type { Sink, SinkEvent } from '../sink.ts'
import { slackSettings } from './settings.ts'
import { slackKind } from './slack-sink.ts'

let server: HttpLab
let sink: Sink | undefined
let timers: HandTimers

beforeEach(async () => {
  server = await HttpLab.start()
  timers = new HandTimers()
})

afterEach(async () => {
  await sink?.close()
  await server.stop()
})

async function open(words: object): Promise<Sink> {
  sink = await slackKind.open(
    sinkDeps('slack', slackSettings, { url: `${server.url}/services/T0/B0/x`, ...words }, { timers }),
  )
  return sink
}

const orders = (count: number): SinkEvent[] =>
  Array.from({ length: count }, (_, index) => sinkEvent(`o${index}`, { order_id: index }))

const messages = (): unknown[] => server.seen.map(({ body }) => (JSON.parse(body.toString()) as { text: string }).text)

test('a text has the values of the event, escaped as Slack asks', async () => {
  const event = sinkEvent('a', { order_id: 7, customer: { name: '<Fish & Chips>' }, note: null })
  await (await open({ text: '*Order {order_id}* of {customer.name}{note} {{ok}}' })).deliver([event], '1')
  expect(messages()).toEqual(['*Order 7* of &lt;Fish &amp; Chips&gt; {ok}'])
})

test('a large number in a text keeps its digits', async () => {
  const event = { ...sinkEvent('a'), text: '{"_event_id":"a","n":12345678901234567890}' }
  await (await open({ text: '{n}' })).deliver([event], '1')
  expect(messages()).toEqual(['12345678901234567890'])
})

test('a function makes the text, or none', async () => {
  const text = ({ order_id }: { order_id: number }): string | null => (order_id === 1 ? null : `<!here> ${order_id}`)
  await (await open({ text })).deliver(orders(3), '1')
  expect(messages()).toEqual(['<!here> 0\n<!here> 2'])
})

test('several events that wait become one message, and messages keep their pace', async () => {
  await (await open({ text: '{order_id}', fold: 2, pace: '3 s' })).deliver(orders(5), '1')
  expect(messages()).toEqual(['0\n1', '2\n3', '4'])
  expect(timers.slept).toEqual([3000, 3000])
})

test('a message stays below the length that Slack shows whole', async () => {
  const events = [sinkEvent('a', { t: 'x'.repeat(2500) }), sinkEvent('b', { t: 'y'.repeat(2500) })]
  await (await open({ text: '{t}', pace: 0 })).deliver(events, '1')
  expect(messages()).toEqual(['x'.repeat(2500), 'y'.repeat(2500)])
})

test('what was sent before a failure is not sent again', async () => {
  const slack = await open({ text: '{order_id}', fold: 1, pace: 0 })
  server.reply = () => ({ status: server.seen.length === 2 ? 503 : 200 })
  await expect(slack.deliver(orders(3), '1')).rejects.toThrow('answered 503')
  await slack.deliver(orders(3), '1')
  expect(messages()).toEqual(['0', '1', '1', '2'])
})

test('a payload that Slack cannot read is refused, an archived channel waits to be mended', async () => {
  const slack = await open({ text: '{order_id}', pace: 0 })
  server.reply = () => ({ status: 400, body: 'invalid_payload' })
  await expect(slack.deliver(orders(1), '1')).rejects.toMatchObject({
    refused: new Map([[0, `${server.url} answered 400: invalid_payload`]]),
  })
  server.reply = () => ({ status: 410, body: 'channel_is_archived' })
  await expect(slack.deliver(orders(1), '1')).rejects.toThrow('channel_is_archived')
  server.reply = () => ({ status: 200 })
  await slack.deliver(orders(1), '1')
  expect(server.seen).toHaveLength(3)
})

test('a rate limit is kept to', async () => {
  const slack = await open({ text: '{order_id}', pace: 0 })
  server.reply = () => ({ status: 429, headers: { 'retry-after': '30' } })
  await expect(slack.deliver(orders(1), '1')).rejects.toThrow('answered 429')
  timers.pass(29_999)
  await expect(slack.deliver(orders(1), '1')).rejects.toThrow('is left alone')
  timers.pass(1)
  server.reply = () => ({ status: 200 })
  await slack.deliver(orders(1), '1')
  expect(server.seen).toHaveLength(2)
})
