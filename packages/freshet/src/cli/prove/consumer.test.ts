/** What readers notice while events come in: each fault here is planted in the answers they get. */
import { expect, test } from 'vitest'
import { FreshetError } from '../../runtime/errors.ts'
import { Consumer, noReadings, type Readings } from './consumer.ts'
import type { Row } from './door.ts'
import { FreshnessProbe, quietSamples } from './freshness.ts'
import { RunRecord } from './record.ts'
import { Seeded } from './seeded.ts'
import { planSites } from './sites.ts'

type Planned = { events: number; ids: number; lag?: string } | 'away'

/** Lets a reader have these answers, one after another. */
async function readings(answers: readonly Planned[]): Promise<Readings> {
  const record = new RunRecord(planSites({ seed: 1, sites: 1, batchEvents: 10, withoutIds: false }), [10])
  for (let n = 0; n < 10; n++) {
    record.sites[0]!.sending(n, 0)
    record.sites[0]!.acknowledged(n)
  }
  const left = [...answers]
  const stop = new AbortController()
  const found = noReadings()
  const eachRow = async (_sql: string, _params: unknown, onRow: (row: Row) => unknown) => {
    const next = left.shift()
    if (next === undefined) {
      stop.abort()
      throw new FreshetError('shutting_down', 'There are no more answers.')
    }
    if (next === 'away') throw new FreshetError('engine_unavailable', 'Away.')
    onRow({ events: next.events, ids: next.ids })
    return next.lag === undefined ? {} : { 'freshet-lag-bytes': next.lag }
  }
  await new Consumer({
    door: { eachRow },
    sites: record.sites,
    streamOf: () => 'prove',
    run: 'r',
    random: new Seeded(1),
    readings: found,
    nowMs: () => performance.now(),
  }).run(stop.signal)
  return found
}

test('answers that only grow are fine, and none while the engine is away', async () => {
  const found = await readings([{ events: 5, ids: 5 }, 'away', { events: 10, ids: 10 }])
  expect(found).toEqual({ queries: 2, unanswered: 1, twice: [], vanished: [], catchingUp: 0 })
})

test('an event that an answer shows twice is noticed', async () => {
  expect((await readings([{ events: 6, ids: 5 }])).twice).toEqual([
    expect.stringMatching(/^s00, .*: 6 rows with 5 ids$/),
  ])
})

test('an event that vanishes is noticed', async () => {
  const found = await readings([
    { events: 9, ids: 9 },
    { events: 8, ids: 8 },
  ])
  expect(found.vanished).toEqual([expect.stringContaining('9 events were shown, and later 8')])
})

test('an answer that says that it lags may lack events, but they have to come back', async () => {
  const lagging = { events: 8, ids: 8, lag: 'other=1, prove=20' }
  const back = await readings([{ events: 9, ids: 9 }, lagging, lagging, { events: 9, ids: 9 }])
  expect(back).toMatchObject({ vanished: [], catchingUp: 2 })
  const lost = await readings([{ events: 9, ids: 9 }, lagging, { events: 8, ids: 8, lag: 'other=1' }])
  expect(lost.vanished).toHaveLength(1)
})

test('a query that is refused ends the run: it would say nothing about any event', async () => {
  const record = new RunRecord(planSites({ seed: 1, sites: 1, batchEvents: 1, withoutIds: false }), [1])
  record.sites[0]!.sending(0, 0)
  record.sites[0]!.acknowledged(0)
  const eachRow = () => Promise.reject(new FreshetError('invalid_sql', 'No such column.'))
  const options = { streamOf: () => 'prove', run: 'r', random: new Seeded(1), readings: noReadings(), nowMs: () => 0 }
  const consumer = new Consumer({ ...options, door: { eachRow }, sites: record.sites })
  await expect(consumer.run(new AbortController().signal)).rejects.toThrow('No such column')
})

test('freshness counts from the acknowledgement, through the time in which nobody answers', async () => {
  let nowMs = 1_000
  const stop = new AbortController()
  const answers = [[], 'away', [{ prove_id: 'a' }]] as const
  let asked = 0
  const rows = async (): Promise<Row[]> => {
    const answer = answers[asked++]!
    nowMs += 500
    if (asked === answers.length) stop.abort()
    if (answer === 'away') throw new FreshetError('engine_unavailable', 'Away.')
    return [...answer]
  }
  const probe = new FreshnessProbe({ door: { rows }, stream: 'prove', nowMs: () => nowMs, clockMarginMs: 0 })
  probe.acknowledged('a', 0)
  probe.acknowledged('b', 0)
  await probe.run(stop.signal)
  expect(probe.samples).toEqual([{ atMs: 1_000, delayMs: 1_500 }])
  expect(probe.waiting).toBe(0)
})

test('samples that overlap with a kill are told apart', () => {
  const samples = [0, 100, 190, 300].map((atMs) => ({ atMs, delayMs: 20 }))
  const quiet = quietSamples(samples, [{ role: 'engine', atMs: 110, backMs: 200 }])
  expect(quiet.map(({ atMs }) => atMs)).toEqual([0, 300])
  expect(quietSamples(samples, [{ role: 'engine', atMs: 110, backMs: null }]).map(({ atMs }) => atMs)).toEqual([0])
})
