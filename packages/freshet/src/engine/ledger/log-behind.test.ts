import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Chunk, Log, LoggedBatch } from '../../log/log.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { LogBehind, type CountedEvents } from './log-behind.ts'

const hourMs = 3_600_000

/** A log of one stream whose batches take 1 MB each. */
class FakeLog implements Log {
  readonly batches: LoggedBatch[] = []
  bytesRead = 0
  trimmedBelow = 0
  damagedFrom = Number.POSITIVE_INFINITY

  add(count: number, source?: string, hour = 0): void {
    this.batches.push({ count, source, receivedAtMs: hour * hourMs, eventTimeMaxMs: undefined })
  }

  async read(_stream: string, _partition: number, from: bigint, maxBytes: number): Promise<Chunk> {
    const first = Number(from) / size
    if (first < this.trimmedBelow) throw new FreshetError('log_trimmed', 'gone')
    if (first >= this.damagedFrom) throw new FreshetError('corrupt_log', 'damaged')
    const wanted = Math.max(1, Math.floor(maxBytes / size))
    const batches = this.batches.slice(first, Math.min(first + wanted, this.damagedFrom))
    this.bytesRead += batches.length * size
    const count = batches.reduce((sum, batch) => sum + batch.count, 0)
    const next = BigInt((first + batches.length) * size)
    return { bytes: anyBytes.subarray(0, batches.length * size), next, count, batches, receivedAtMs: 0 }
  }

  async ends(): Promise<Map<number, bigint>> {
    return new Map([[0, BigInt(this.batches.length * size)]])
  }

  append(): Promise<never> {
    return Promise.reject(new Error('not here'))
  }

  async trim(): Promise<void> {
    return undefined
  }

  subscribe(): () => void {
    return () => undefined
  }
}

const size = 1024 * 1024
const anyBytes = Buffer.alloc(16 * size)
const place = (batch: number): bigint => BigInt(batch * size)

function sums(counted: readonly CountedEvents[] | undefined): Record<string, number> | undefined {
  if (counted === undefined) return undefined
  const result: Record<string, number> = {}
  for (const { source, hour, events } of counted)
    result[`${source} ${hour}`] = (result[`${source} ${hour}`] ?? 0) + events
  return result
}

async function countedFrom(behind: LogBehind, position: bigint): Promise<Record<string, number> | undefined> {
  expect(await behind.advance(() => position)).toBe(true)
  return sums(await behind.from(position))
}

test('events are counted by source and hour of arrival, heartbeats are none', async () => {
  const log = new FakeLog()
  log.add(5, 'a')
  log.add(2, undefined, 3)
  log.add(0, 'a')
  log.add(4, 'a')
  const behind = new LogBehind(log, 'trades')
  expect(await countedFrom(behind, 0n)).toEqual({ 'a 0': 9, 'null 3': 2 })
  expect(await countedFrom(behind, place(1))).toEqual({ 'a 0': 4, 'null 3': 2 })
  expect(await countedFrom(behind, place(4))).toEqual({})
})

test('nothing is read more than twice, however the position moves', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat(12), fc.nat(12)), { maxLength: 30 }), async (steps) => {
      const log = new FakeLog()
      const behind = new LogBehind(log, 'trades')
      let position = 0
      for (const [added, moved] of steps) {
        for (let batch = 0; batch < added; batch++) log.add(1 + (log.batches.length % 3), 'a')
        position = Math.min(position + moved, log.batches.length)
        const expected = log.batches.slice(position).reduce((sum, { count }) => sum + count, 0)
        expect((await countedFrom(behind, place(position)))?.['a 0'] ?? 0).toBe(expected)
      }
      expect(log.bytesRead).toBeLessThanOrEqual(2 * log.batches.length * size)
    }),
  )
})

test('a position that was set back is counted from anew', async () => {
  const log = new FakeLog()
  for (let batch = 0; batch < 30; batch++) log.add(1)
  const behind = new LogBehind(log, 'trades')
  expect(await countedFrom(behind, place(20))).toEqual({ 'null 0': 10 })
  expect(await behind.from(place(3))).toBeUndefined()
  expect(await countedFrom(behind, place(3))).toEqual({ 'null 0': 27 })
})

test('what is trimmed while it is counted was loaded meanwhile', async () => {
  const log = new FakeLog()
  for (let batch = 0; batch < 30; batch++) log.add(1)
  const behind = new LogBehind(log, 'trades')
  let position = 0
  const read = log.read.bind(log)
  log.read = (...request) => {
    if (Number(request[2]) >= 16 * size && position === 0) position = log.trimmedBelow = 25
    return read(...request)
  }
  expect(await behind.advance(() => place(position))).toBe(true)
  expect(sums(await behind.from(place(position)))).toEqual({ 'null 0': 5 })
  log.trimmedBelow = 28
  expect(await behind.from(place(27))).toBeUndefined()
})

test('a damaged log ends at the damage', async () => {
  const log = new FakeLog()
  for (let batch = 0; batch < 30; batch++) log.add(1)
  log.damagedFrom = 20
  const behind = new LogBehind(log, 'trades')
  expect(await countedFrom(behind, 0n)).toEqual({ 'null 0': 20 })
  expect(await countedFrom(behind, place(5))).toEqual({ 'null 0': 15 })
  log.damagedFrom = Number.POSITIVE_INFINITY
  expect(await countedFrom(behind, place(5))).toEqual({ 'null 0': 25 })
})

test('a look that may read only so much says when it did not get to the end', async () => {
  const log = new FakeLog()
  for (let batch = 0; batch < 30; batch++) log.add(1)
  const behind = new LogBehind(log, 'trades')
  expect(await behind.advance(() => 0n, 10 * size)).toBe(false)
  expect(await behind.advance(() => 0n, 10 * size)).toBe(true)
  expect(sums(await behind.from(0n))).toEqual({ 'null 0': 30 })
})
