import { expect, test } from 'vitest'
import type { Position } from '../log/log.ts'
import { FreshetError } from '../runtime/errors.ts'
import { identityOf, RecentEvents, type Identity, type ReadLog } from './recent-events.ts'
import type { SourceBatch } from './source-batch.ts'

/** Lines as they are in a log, by id and time: `a@1 b@2`. */
function linesOf(events: string): string {
  const lines = events.split(' ').map((event) => {
    const [id, time] = event.split('@')
    return `{"_event_id":"${id}","_event_time":"2026-11-20T20:29:0${time}Z","_received_at":"2026-11-20T21:00:00.000Z","n":1}\n`
  })
  return lines.join('')
}

/** A log of one part after the other, which may have been trimmed below a position. */
class Parts {
  bytes = Buffer.alloc(0)
  trimmedBelow: Position = 0n
  reads = 0

  add(events: string): SourceBatch {
    const from = BigInt(this.bytes.length)
    const bytes = Buffer.from(linesOf(events))
    this.bytes = Buffer.concat([this.bytes, bytes])
    const to = BigInt(this.bytes.length)
    return {
      bytes,
      count: events.split(' ').length,
      skip: 0,
      batches: [],
      from: { log: from, skip: 0 },
      to: { log: to, skip: 0 },
    }
  }

  readonly read: ReadLog = async (from, bytesMax) => {
    this.reads++
    if (from < this.trimmedBelow) throw new FreshetError('log_trimmed', 'it is gone')
    const bytes = this.bytes.subarray(Number(from), Number(from) + bytesMax)
    return { bytes, next: from + BigInt(bytes.length) }
  }
}

function windowOf(identity: Identity = 'id and time', limits: { eventsMax?: number; bytesMax?: number } = {}) {
  return new RecentEvents({ identity, ...limits })
}

async function take(recent: RecentEvents, log: Parts, batch: SourceBatch): Promise<number[]> {
  await recent.goTo(batch, [], log.read)
  const repeats = recent.repeatsIn(batch)
  recent.add(batch)
  return repeats
}

test('an event that was in a batch before, or earlier in the same batch, is a repeat', async () => {
  const log = new Parts()
  const recent = windowOf()
  expect(await take(recent, log, log.add('a@1 b@1'))).toEqual([])
  expect(await take(recent, log, log.add('c@1 a@1 c@1 d@1'))).toEqual([1, 2])
  expect(await take(recent, log, log.add('d@1'))).toEqual([0])
})

test('another time is another event only where the stream declares times', async () => {
  for (const [identity, repeats] of [
    ['id and time', []],
    ['id', [0]],
  ] as const) {
    const log = new Parts()
    const recent = windowOf(identity)
    await take(recent, log, log.add('a@1'))
    expect(await take(recent, log, log.add('a@2'))).toEqual(repeats)
  }
  expect(identityOf({ id: 'key', time: { field: 'at', unit: 'iso' } })).toBe('id and time')
  expect(identityOf({ id: 'key', time: null })).toBe('id')
  expect(identityOf({ id: null, time: null })).toBeUndefined()
})

test('looking for repeats changes nothing: a batch that failed is given whole again', async () => {
  const log = new Parts()
  const recent = windowOf()
  const batch = log.add('a@1 b@1')
  for (let turn = 0; turn < 2; turn++) {
    await recent.goTo(batch, [], log.read)
    expect(recent.repeatsIn(batch)).toEqual([])
  }
})

test('the window has bounds, by events and by bytes, and forgets whole batches', async () => {
  for (const limits of [{ eventsMax: 4 }, { bytesMax: linesOf('a@1 b@1').length * 2 }]) {
    const log = new Parts()
    const recent = windowOf('id', limits)
    await take(recent, log, log.add('a@1 b@1'))
    await take(recent, log, log.add('c@1 d@1'))
    expect(await take(recent, log, log.add('e@1 f@1'))).toEqual([])
    expect(await take(recent, log, log.add('a@1 c@1'))).toEqual([1])
  }
})

test('a new process reads the window from the log again, exactly up to its place', async () => {
  const log = new Parts()
  const recent = windowOf()
  await take(recent, log, log.add('a@1 b@1'))
  const second = log.add('c@1')
  await take(recent, log, second)
  const marks = recent.marksAt(second.to)!
  const third = log.add('d@1 a@1 c@1')
  const fresh = windowOf()
  await fresh.goTo(third, marks, log.read)
  expect(fresh.repeatsIn(third)).toEqual([1, 2])
  expect(fresh.marksAt(third.from)).toEqual([0n])
})

test('what is in front of a place that was put back is no reason to leave out what is behind it', async () => {
  const log = new Parts()
  const recent = windowOf()
  const first = log.add('a@1')
  await take(recent, log, first)
  const second = log.add('b@1')
  await take(recent, log, second)
  const marks = recent.marksAt(second.to)!
  await recent.goTo(first, marks, log.read)
  expect(recent.repeatsIn(first)).toEqual([])
  await recent.goTo(second, marks, log.read)
  expect(recent.repeatsIn(second)).toEqual([])
})

test('where the log is trimmed, the window begins at the first noted place that is left', async () => {
  const log = new Parts()
  const recent = windowOf()
  for (const event of ['a@1', 'b@1', 'c@1']) await take(recent, log, log.add(event))
  const next = log.add('a@1 b@1 c@1')
  const marks = recent.marksAt(next.from)!
  expect(marks).toHaveLength(3)
  log.trimmedBelow = marks[1]!
  const fresh = windowOf()
  await fresh.goTo(next, marks, log.read)
  expect(fresh.repeatsIn(next)).toEqual([1, 2])
})

test('going on from batch to batch reads nothing', async () => {
  const log = new Parts()
  const recent = windowOf()
  for (let n = 0; n < 30; n++) await take(recent, log, log.add(`e${n}@1`))
  expect(log.reads).toBe(0)
  expect(recent.marksAt({ log: BigInt(log.bytes.length), skip: 0 })!.length).toBeLessThanOrEqual(8)
})
