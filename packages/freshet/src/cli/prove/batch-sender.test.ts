import type { ServerResponse } from 'node:http'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { answerJson, fakeServer, type FakeServer } from '../../../test/support/cli.ts'
import { BatchSender, type Batch } from './batch-sender.ts'
import { Door } from './door.ts'
import { eventStates, RunRecord } from './record.ts'
import { Seeded } from './seeded.ts'
import { planSites, type SiteKind } from './sites.ts'

let server: FakeServer
let door: Door
let answers: ((response: ServerResponse) => void)[]

beforeEach(async () => {
  answers = []
  server = await fakeServer((_request, response) => answers.shift()!(response))
  door = new Door(server.url, 2)
})

afterEach(async () => {
  await door.close()
  await server.close()
})

const events = [0, 1, 2].map((n) => ({ n, id: `r-s00-${n}`, line: `{"n":${n}}`, checksum: n }))
const batch: Batch = { events, isNew: true, body: Buffer.from('{}\n'), headers: {} }
const taken =
  (accepted: number, duplicates: number, errors: unknown[] = []) =>
  (response: ServerResponse) =>
    answerJson(response, 202, { accepted, duplicates, rejected: errors.length, errors })
const busy = (response: ServerResponse) => answerJson(response, 503, { code: 'overloaded', title: 'Busy' })
const silence = (response: ServerResponse) => void response.destroy()

function sender(kind: SiteKind, lostAnswers = 0): { record: RunRecord; sender: BatchSender; told: string[] } {
  const [site] = planSites({ seed: 1, sites: 1, batchEvents: 3, withoutIds: false })
  const record = new RunRecord([{ ...site!, kind }], [3])
  const told: string[] = []
  const options = {
    door,
    stream: 'prove',
    record,
    site: record.sites[0]!,
    random: new Seeded(1),
    lostAnswers,
    stop: new AbortController().signal,
    onAcknowledged: (id: string) => void told.push(id),
    onReceipt: () => {},
  }
  return { record, sender: new BatchSender(options), told }
}

test('a batch is sent again until it is answered, with the same bytes, and counted once', async () => {
  answers = [busy, silence, taken(0, 3)]
  const { record, sender: one, told } = sender('sequence')
  await one.deliver(batch)
  expect(new Set(server.requests.map(({ body }) => body.toString()))).toEqual(new Set(['{}\n']))
  expect(record.counts).toMatchObject({ retries: 2, requests: 1, contradictions: [] })
  expect(record.sites[0]).toMatchObject({ accepted: 3, acceptedUnsaid: 0, settledTo: 3 })
  expect(told).toEqual(['r-s00-2'])
})

test('without a name for the batch, what an unanswered attempt has stored stays open', async () => {
  answers = [silence, taken(3, 0)]
  const { record, sender: one } = sender('ids')
  await one.deliver(batch)
  expect(record.sites[0]).toMatchObject({ accepted: 3, acceptedUnsaid: 3 })
})

test('events that are refused are known one by one', async () => {
  answers = [taken(2, 0, [{ index: 1, code: 'schema_violation', reason: 'must be text' }])]
  const { record, sender: one } = sender('key')
  await one.deliver(batch)
  expect([0, 1, 2].map((n) => record.sites[0]!.stateOf(n))).toEqual([
    eventStates.acknowledged,
    eventStates.refused,
    eventStates.acknowledged,
  ])
  expect(record.counts.reasons).toEqual(['schema_violation: must be text'])
  expect(record.settled).toBe(3)
})

test.each([
  ['forgets an event', taken(2, 0), false],
  ['takes a batch that it acknowledged before', taken(3, 0), true],
  ['calls a new batch repeated', taken(0, 3), false],
])('an answer that %s is a contradiction', async (_what, answer, isRepeat) => {
  answers = [answer]
  const { record, sender: one } = sender('sequence')
  await one.deliver(batch, isRepeat)
  expect(record.counts.contradictions).toHaveLength(1)
})

test('a request that the server refuses as such ends the run', async () => {
  answers = [
    (response) => answerJson(response, 404, { code: 'unknown_stream', title: 'Unknown', detail: 'No such stream.' }),
  ]
  await expect(sender('ids').sender.deliver(batch)).rejects.toMatchObject({ code: 'unknown_stream' })
})

test('an answer that is not waited for is asked for again', async () => {
  const { record, sender: one } = sender('sequence', 0.5)
  answers = Array.from({ length: 50 }, () => (response: ServerResponse) => {
    // Late enough that the wait for it is over, where it is cut short.
    setTimeout(() => taken(0, 3)(response), 200)
  })
  for (let times = 0; times < 4; times++) await one.deliver(batch, true)
  expect(record.counts.lostAnswers).toBeGreaterThan(0)
  expect(record.counts.retries).toBe(record.counts.lostAnswers)
})
