/** Receipts: where an acknowledged batch is, at every stage of its way (I1, I4, I5, I6). */
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { Log } from '../../src/log/log.ts'
import { receiptText } from '../../src/log/receipt.ts'
import {
  Lab,
  streamPlan,
  trade,
  tradeColumns,
  tradeEvents,
  trades,
  type LabEngine,
  type LabEvent,
} from './engine-harness.ts'

let lab: Lab
afterEach(() => lab.close())

const day = '2013-10-07'
const counts = { visible: 0, deduplicated: 0, deadLettered: 0, waiting: 0, removed: 0, missing: 0 }
let arrivals = 1_700_000_000_000

/** Posts a batch at an arrival time of its own, or the one given; gives its receipt. */
async function post(stream: string, events: readonly LabEvent[], receivedAtMs = (arrivals += 10)): Promise<string> {
  const { place } = await lab.post(stream, events, { receivedAtMs })
  return receiptText(stream, place!)
}

async function ask(engine: LabEngine, receipt: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const { status, text } = await engine.send('GET', `/v1/receipts/${receipt}`)
  return { status, body: JSON.parse(text) as Record<string, unknown> }
}

async function find(engine: LabEngine, receipt: string): Promise<Record<string, unknown>> {
  const { status, body } = await ask(engine, receipt)
  expect(status, JSON.stringify(body)).toBe(200)
  return body
}

/** A log that hides what was appended, until it is opened. */
class Curtain {
  closed = true
  wrap = (log: Log): Log => ({
    append: (stream, batch) => log.append(stream, batch),
    read: async (stream, partition, from, maxBytes) => {
      // The loader reads in large chunks, a receipt only its batch.
      if (!this.closed || maxBytes < 64 * 1024) return log.read(stream, partition, from, maxBytes)
      return { bytes: Buffer.alloc(0), next: from, count: 0, batches: [], receivedAtMs: 0 }
    },
    ends: (stream) => log.ends(stream),
    trim: (stream, below) => log.trim(stream, below),
    subscribe: (onGrowth) => log.subscribe(onGrowth),
  })
}

describe('a batch', () => {
  test('is logged, then loaded, then committed, and known as such after a restart', async () => {
    lab = await Lab.open()
    const receipt = await post('trades', tradeEvents(3))
    const curtain = new Curtain()
    let engine = await lab.start({ wrapLog: curtain.wrap })
    const [stream, partition, from, to] = receipt.split('.')
    expect(await find(engine, receipt)).toEqual({
      receipt,
      stream,
      partition: Number(partition),
      from,
      to,
      count: 3,
      receivedAt: new Date(arrivals).toISOString(),
      state: 'logged',
      inLog: true,
      snapshot: null,
      files: [],
      events: { ...counts, waiting: 3 },
      engine: { available: true },
    })
    curtain.closed = false
    const second = await post('trades', tradeEvents(2, { from: 3 }))
    await engine.caughtUp('trades')
    for (const [one, visible] of [
      [receipt, 3],
      [second, 2],
    ] as const) {
      expect(await find(engine, one)).toMatchObject({
        state: 'loaded',
        snapshot: null,
        files: [],
        events: { ...counts, visible },
      })
    }
    await engine.stop()
    engine = await lab.start()
    const [snapshot] = await engine.sql("select * from freshet.snapshots where stream = 'trades'")
    const files = await engine.sql("select path from freshet.files where stream = 'trades'")
    const committed = await find(engine, receipt)
    expect(committed).toMatchObject({
      state: 'committed',
      inLog: true,
      files: files.map(({ path }) => path),
      events: { ...counts, visible: 3 },
    })
    const { id, committedAt } = committed['snapshot'] as { id: string; committedAt: string }
    expect(id).toBe(String(snapshot!['snapshot_id']))
    expect(Date.parse(committedAt)).toBe(Date.parse(String(snapshot!['committed_at'])))
  })

  test('is in the files and in the snapshot that took it in, and in no others', async () => {
    lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1 } } })
    const engine = await lab.start()
    const receipts: string[] = []
    for (let index = 0; index < 4; index++) {
      const late = trade(`late${index}`, '2013-09-01T00:00:00Z')
      receipts.push(await post('trades', [...tradeEvents(2, { from: index * 2 }), late]))
      await engine.committed('trades')
    }
    const seen = new Set<string>()
    for (const receipt of receipts) {
      const { snapshot, files, events } = await find(engine, receipt)
      expect(events).toEqual({ ...counts, visible: 3 })
      expect(files).toHaveLength(2)
      for (const path of files as string[]) {
        const where = 'select snapshot_id from freshet.files where path = $path'
        expect(String(await engine.value(where, { path }))).toBe((snapshot as { id: string }).id)
      }
      seen.add((snapshot as { id: string }).id)
    }
    expect(seen.size).toBe(4)
  })

  test('of 100,000 events is told within bounded memory, committed and not', async () => {
    lab = await Lab.open({ segmentBytes: 64 << 20, plan: { engine: { memoryBytes: 256 << 20 } } })
    const engine = await lab.start()
    const receipt = await post('trades', tradeEvents(100_000))
    const again = await post('trades', tradeEvents(100_000, { from: 50_000 }))
    await engine.caughtUp('trades')
    for (let round = 0; round < 2; round++) {
      expect((await find(engine, receipt))['events']).toEqual({ ...counts, visible: 100_000 })
      const { events } = await find(engine, again)
      expect(events).toEqual({ ...counts, visible: 50_000, deduplicated: 50_000 })
      if (round === 0) await engine.stop().then(async () => Object.assign(engine, await lab.start()))
    }
  })
})

describe('events that were there before (I5)', () => {
  const both = tradeEvents(4)

  test('are told as such, in the same batch, in a later one and in one of the same millisecond', async () => {
    lab = await Lab.open()
    let engine = await lab.start()
    const first = await post('trades', [...both, both[0]!])
    const sameTime = await post('trades', [...both.slice(2), trade('new', `${day}T01:00:00Z`)], arrivals)
    const later = await post('trades', both)
    // The id of another day is another event.
    const otherDay = await post('trades', tradeEvents(4, { day: '2013-10-08' }))
    await engine.caughtUp('trades')
    for (let round = 0; round < 2; round++) {
      expect((await find(engine, first))['events']).toEqual({ ...counts, visible: 4, deduplicated: 1 })
      expect((await find(engine, sameTime))['events']).toEqual({ ...counts, visible: 1, deduplicated: 2 })
      const { events, files } = await find(engine, later)
      expect(events).toEqual({ ...counts, deduplicated: 4 })
      expect(files).toEqual([])
      expect((await find(engine, otherDay))['events']).toEqual({ ...counts, visible: 4 })
      await engine.stop()
      engine = await lab.start()
    }
  })

  test('are told by ids that need escapes, and in any script', async () => {
    lab = await Lab.open()
    const engine = await lab.start()
    const ids = ['a"b', 'a\\b', "a'b; drop table trades --", 'žluť 🦊', '{"_event_id":"x"}', '0 0', '%', 'é']
    const events = ids.map((id) => trade(id, `${day}T00:00:00Z`))
    const first = await post('trades', events)
    const again = await post('trades', [...events, trade('e\u0301', `${day}T00:00:00Z`)])
    await engine.caughtUp('trades')
    expect((await find(engine, first))['events']).toEqual({ ...counts, visible: 8 })
    expect((await find(engine, again))['events']).toEqual({ ...counts, visible: 1, deduplicated: 8 })
  })

  test('are told in a stream whose ids are apart by nothing, and never in one whose ids the gateway gives', async () => {
    const timeless = streamPlan('timeless', { time: null, columns: tradeColumns })
    const plain = streamPlan('plain', { id: null, time: null, columns: tradeColumns })
    lab = await Lab.open({ streams: { timeless, plain } })
    const engine = await lab.start()
    const id = (name: string, time: string): LabEvent => ({ id: name, time, fields: { id: name } })
    await post('timeless', [id('a', `${day}T00:00:00Z`)])
    const repeat = await post('timeless', [id('a', '2013-10-08T00:00:00Z'), id('b', '2013-10-08T00:00:00Z')])
    const given = await post('plain', [id('018f-1', `${day}T00:00:00Z`), id('018f-2', `${day}T00:00:00Z`)])
    await Promise.all([engine.caughtUp('timeless'), engine.caughtUp('plain')])
    expect((await find(engine, repeat))['events']).toEqual({ ...counts, visible: 1, deduplicated: 1 })
    expect((await find(engine, given))['events']).toEqual({ ...counts, visible: 2 })
  })
})

test('dead letters are told, beside those that could be loaded', async () => {
  const open = streamPlan('open')
  lab = await Lab.open({ streams: { open } })
  let engine = await lab.start()
  const event = (id: string, rest: string): LabEvent => ({
    id,
    time: `${day}T00:00:00Z`,
    raw: `{"id":"${id}",${rest}}`,
  })
  const receipt = await post('open', [event('a', '"n":1'), event('b', '"n":2,"N":3'), event('c', '"n":4')])
  const repeat = await post('open', [event('b', '"n":5'), event('c', '"n":6')])
  await engine.caughtUp('open')
  for (let round = 0; round < 2; round++) {
    const dead = await engine.letters('open', 'position', 'order by position')
    const [, , from, to] = receipt.split('.')
    const own = dead.filter(({ position }) => Number(position) >= Number(from) && Number(position) < Number(to))
    expect(own.length).toBeGreaterThan(0)
    expect((await find(engine, receipt))['events']).toEqual({
      ...counts,
      visible: 3 - own.length,
      deadLettered: own.length,
    })
    // What went to the dead letters was not in the stream: its id is still free.
    expect((await find(engine, repeat))['events']).toEqual({ ...counts, visible: 1, deduplicated: 1 })
    await engine.stop()
    engine = await lab.start()
  }
})

describe('a batch that the log has let go of', () => {
  const trimmed = async (streams = { trades }): Promise<LabEngine> => {
    lab = await Lab.open({ streams, segmentBytes: 1, plan: { lake: { flushIntervalMs: 1 } } })
    return lab.start()
  }

  test('is committed, in its snapshot and files; repeats are not guessed at', async () => {
    const engine = await trimmed()
    const whole = await post('trades', tradeEvents(3))
    const part = await post('trades', tradeEvents(4))
    const shared = await post('trades', tradeEvents(2, { from: 10 }))
    const sharer = await post('trades', tradeEvents(2, { from: 20 }), arrivals)
    // Segments that are replaced go, the last one stays.
    await post('trades', tradeEvents(1, { from: 30 }))
    await post('trades', tradeEvents(1, { from: 31 }))
    await engine.committed('trades')
    await expect.poll(async () => (await find(engine, sharer))['inLog'], { timeout: 20_000 }).toBe(false)
    const gone = { state: 'committed', inLog: false, snapshot: { id: expect.any(String) } }
    expect(await find(engine, whole)).toMatchObject({
      ...gone,
      files: [expect.stringContaining('.parquet')],
      events: { ...counts, visible: 3 },
    })
    expect((await find(engine, part))['events']).toEqual({
      ...counts,
      visible: 1,
      deduplicated: null,
      missing: null,
    })
    // Two batches of one time: whose rows they are is not known any more, except that of the first nobody knew of the second.
    expect(await find(engine, sharer)).toMatchObject({ ...gone, files: null, events: { visible: null } })
    expect((await ask(engine, shared)).status).toBe(200)
  })

  test('has its dead letters still', async () => {
    const engine = await trimmed({ trades: { ...streamPlan('trades'), name: 'trades' } })
    const event = (id: string, rest: string): LabEvent => ({
      id,
      time: `${day}T00:00:00Z`,
      raw: `{"id":"${id}",${rest}}`,
    })
    const receipt = await post('trades', [event('a', '"n":1'), event('b', '"n":2,"N":3'), event('c', '"n":4')])
    for (let index = 0; index < 3; index++) await post('trades', [event(`x${index}`, '"n":1')])
    await engine.committed('trades')
    await expect.poll(async () => (await find(engine, receipt))['inLog'], { timeout: 20_000 }).toBe(false)
    const dead = (await engine.letters('trades')).length
    expect(dead).toBeGreaterThan(0)
    expect((await find(engine, receipt))['events']).toEqual({ ...counts, visible: 3 - dead, deadLettered: dead })
  })
})

describe('what names no batch here is unknown, whatever it says', () => {
  test('other places, other streams, other folders', async () => {
    lab = await Lab.open()
    const engine = await lab.start()
    const { place } = await lab.post('trades', tradeEvents(3), { receivedAtMs: (arrivals += 10) })
    await lab.post('trades', tradeEvents(3, { from: 3 }), { receivedAtMs: (arrivals += 10) })
    await engine.caughtUp('trades')
    const real = place!
    const end = (await lab.log.ends('trades')).get(0)!
    const others = [
      { ...real, from: real.from + 1n },
      { ...real, to: real.to - 1n },
      { ...real, to: end },
      { ...real, count: 2 },
      { ...real, count: 4 },
      { ...real, receivedAtMs: real.receivedAtMs + 1 },
      { ...real, partition: 1 },
      { ...real, from: end - 1n, to: end },
      { ...real, from: end, to: end + 1n },
      { ...real, from: 0n, to: 2n ** 63n - 1n },
      { ...real, from: 2n ** 62n, to: 2n ** 62n + 1n },
    ].map((other) => receiptText('trades', other))
    const streams = ['quotes', 'dead_letters', 'freshet', 'main'].map((name) => receiptText(name, real))
    const text = receiptText('trades', real)
    const broken = [`${text}x`, text.slice(0, -1), text.toUpperCase(), '', '..', '%2e%2e', '%00', "'; select 1 --", 'é']
    for (const one of [...others, ...streams, ...broken]) {
      const answer = await ask(engine, encodeURI(one))
      expect(answer, one).toMatchObject({ status: 404 })
    }
    expect((await find(engine, text))['events']).toEqual({ ...counts, visible: 3 })
  })

  test('a place with the others of its time made up harms nobody', async () => {
    lab = await Lab.open()
    const engine = await lab.start()
    await lab.post('trades', tradeEvents(3))
    const { place } = await lab.post('trades', tradeEvents(3, { from: 3 }), { receivedAtMs: (arrivals += 10) })
    await engine.caughtUp('trades')
    for (const sameArrivalFrom of [0n, 1n, place!.from]) {
      const answer = await ask(engine, receiptText('trades', { ...place!, sameArrivalFrom }))
      expect(answer.status).toBe(200)
    }
  })
})

test('many at once are answered one after the other, beyond a number that may wait not at all', async () => {
  lab = await Lab.open()
  const engine = await lab.start()
  const receipt = await post('trades', tradeEvents(3))
  await engine.caughtUp('trades')
  const answers = await Promise.all(Array.from({ length: 60 }, () => ask(engine, receipt)))
  const statuses = answers.map(({ status }) => status)
  for (const status of statuses) expect(status).toBeOneOf([200, 429])
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(32)
  expect((await find(engine, receipt))['state']).toBe('loaded')
})

test('a look-up that takes too long is ended, and the next one is not', async () => {
  lab = await Lab.open({ segmentBytes: 64 << 20, plan: { sql: { timeoutMs: 1 } } })
  const engine = await lab.start()
  const receipt = await post('trades', tradeEvents(100_000))
  await engine.caughtUp('trades')
  const answer = await ask(engine, receipt)
  expect(answer).toMatchObject({ status: 408, body: { code: 'query_timeout' } })
  expect((await ask(engine, `${receipt}x`)).status).toBe(404)
})

test('of a stream whose table cannot be read it is told that the log has the batch, and nothing more', async () => {
  lab = await Lab.open()
  const receipt = await post('trades', tradeEvents(3))
  let engine = await lab.start()
  await engine.caughtUp('trades')
  await engine.stop()
  const folder = join(lab.lakeDir, 'trades/metadata')
  for (const name of await readdir(folder)) if (name.endsWith('.json')) await writeFile(join(folder, name), '{')
  engine = await lab.start()
  expect(await find(engine, receipt)).toMatchObject({
    state: 'logged',
    inLog: true,
    files: null,
    events: { visible: null, deduplicated: null, deadLettered: null, waiting: null, removed: null, missing: null },
  })
})

test('while the table is flushed all the time, an event is in sight all the time (I4)', async () => {
  lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1 } } })
  const engine = await lab.start()
  const receipts: string[] = []
  for (let index = 0; index < 30; index++) {
    receipts.push(await post('trades', tradeEvents(5, { from: index * 5 })))
    const { state, events } = await find(engine, receipts[Math.floor(index / 2)]!)
    expect(events).toEqual(state === 'logged' ? { ...counts, waiting: 5 } : { ...counts, visible: 5 })
  }
})
