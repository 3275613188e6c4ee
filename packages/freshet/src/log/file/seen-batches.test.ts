import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { batch, nowMs, numbered } from '../../../test/simulation/log-fixture.ts'
import { keyAgeMaxMs, rangesMax, SeenBatches, type Marks, type SeenPlace } from './seen-batches.ts'

const keyed = (key: string, checksum = 1, receivedAtMs = nowMs): Marks => ({
  idempotency: { key, checksum },
  receivedAtMs,
})

const place: SeenPlace = { from: 0, to: 100, count: 2, receivedAtMs: nowMs, sameArrivalFrom: undefined }

const reloaded = (seen: SeenBatches<unknown>, atMs = nowMs): SeenBatches<unknown> => {
  const copy = new SeenBatches()
  expect(copy.decode(seen.encode(atMs))).toBe(true)
  return copy
}

describe('sequence numbers', () => {
  test('are known as a plain set knows them, in any order, and across saving', () => {
    const step = fc.record({ id: fc.constantFrom('a', 'b', '__proto__'), sequence: fc.nat(50), save: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        let seen = new SeenBatches<unknown>()
        const model = new Set<string>()
        for (const { id, sequence, save } of steps) {
          expect(seen.has(numbered(id, sequence))).toBe(model.has(`${id} ${sequence}`))
          seen.add(numbered(id, sequence), place)
          model.add(`${id} ${sequence}`)
          if (save) seen = reloaded(seen)
          expect(seen.has(numbered(id, sequence))).toBe(true)
        }
      }),
    )
  })

  test('with too many holes are refused, and those that fill holes are not', () => {
    const seen = new SeenBatches()
    for (let index = 0; index < rangesMax; index++) seen.add(numbered('a', index * 3), place)
    expect(() => seen.has(numbered('a', rangesMax * 3))).toThrow(expect.objectContaining({ code: 'sequence_gap' }))
    expect(seen.has(numbered('a', 1))).toBe(false)
    expect(seen.has(numbered('a', 3))).toBe(true)
    expect(seen.has(numbered('b', 7))).toBe(false)
  })

  test('of the producers heard of last are remembered, and memory is bounded', () => {
    const seen = new SeenBatches({ rangesKept: 100, keysKept: 100, placesKept: 100 })
    for (let index = 0; index < 1000; index++) seen.add(numbered(`p${index}`, 0), place)
    for (let index = 900; index < 1000; index++) expect(seen.has(numbered(`p${index}`, 0))).toBe(true)
    expect(seen.has(numbered('p0', 0))).toBe(false)
    expect(seen.encode(nowMs).length).toBeLessThan(200 * 100)
  })
})

describe('idempotency keys', () => {
  test('are known with their body, and refused with another', () => {
    const seen = new SeenBatches()
    expect(seen.has(keyed('k'))).toBe(false)
    seen.add(keyed('k'), place)
    for (const memory of [seen, reloaded(seen)]) {
      expect(memory.has(keyed('k'))).toBe(true)
      expect(() => memory.has(keyed('k', 2))).toThrow(expect.objectContaining({ code: 'idempotency_conflict' }))
    }
  })

  test('are forgotten after their time, and are not when the clock is set back', () => {
    const seen = new SeenBatches()
    seen.add(keyed('k'), place)
    expect(seen.has(keyed('k', 1, nowMs - 3 * keyAgeMaxMs))).toBe(true)
    expect(seen.has(keyed('k', 1, nowMs + keyAgeMaxMs))).toBe(true)
    expect(seen.has(keyed('k', 2, nowMs + keyAgeMaxMs + 1))).toBe(false)
    expect(reloaded(seen, nowMs + keyAgeMaxMs + 1).has(keyed('k'))).toBe(false)
  })

  test('are bounded, the newest kept', () => {
    const seen = new SeenBatches({ rangesKept: 100, keysKept: 100, placesKept: 100 })
    for (let index = 0; index < 1000; index++) seen.add(keyed(`k${index}`), place)
    for (let index = 900; index < 1000; index++) expect(seen.has(keyed(`k${index}`))).toBe(true)
    expect(seen.has(keyed('k0'))).toBe(false)
  })
})

describe('places', () => {
  const at = (from: number, sameArrivalFrom?: number): SeenPlace => ({
    ...place,
    from,
    to: from + 100,
    sameArrivalFrom,
  })

  test('are told for batches under either mark, also once saved', () => {
    const seen = new SeenBatches()
    seen.add(numbered('a', 1), at(0))
    seen.add(numbered('a', 2), at(2 ** 50, 2 ** 49))
    seen.add(keyed('1 a'), at(200, 0))
    for (const memory of [seen, reloaded(seen)]) {
      expect(memory.placeOf(numbered('a', 1))).toEqual(at(0))
      expect(memory.placeOf(numbered('a', 2))).toEqual(at(2 ** 50, 2 ** 49))
      expect(memory.placeOf(keyed('1 a'))).toEqual(at(200, 0))
      expect(memory.placeOf(keyed('a'))).toBeUndefined()
      expect(memory.placeOf(numbered('a', 3))).toBeUndefined()
      expect(memory.placeOf(batch('x'))).toBeUndefined()
    }
  })

  test('are forgotten before the batches are, and memory is bounded', () => {
    const seen = new SeenBatches({ rangesKept: 100, keysKept: 100, placesKept: 10 })
    for (let index = 0; index < 1000; index++) seen.add(numbered('a', index), at(index * 100))
    for (let index = 990; index < 1000; index++) {
      expect(seen.placeOf(numbered('a', index))).toEqual(at(index * 100))
    }
    expect(seen.placeOf(numbered('a', 0))).toBeUndefined()
    expect(seen.has(numbered('a', 0))).toBe(true)
    expect(seen.encode(nowMs).length).toBeLessThan(20 * 100)
  })

  test('are none in a memory that was saved before there were places', () => {
    const text = `{"producers":[["a",[[0,5]]]],"keys":[["k",1,${nowMs}]]}`
    const seen = new SeenBatches()
    expect(seen.decode(Buffer.from(`${crc32(text)}\n${text}\n`))).toBe(true)
    expect(seen.has(numbered('a', 5))).toBe(true)
    expect(seen.has(keyed('k'))).toBe(true)
    expect(seen.placeOf(numbered('a', 5))).toBeUndefined()
  })
})

describe('a batch that is being written', () => {
  test('is pending until it is settled, then known if it became durable', () => {
    const seen = new SeenBatches<string>()
    const outcome = Promise.resolve('done')
    for (const durable of [false, true]) {
      const one = numbered('a', 1)
      seen.track(one, outcome)
      expect(seen.pending(numbered('a', 1))).toBe(outcome)
      expect(seen.pending(numbered('a', 2))).toBeUndefined()
      expect(seen.has(one)).toBe(false)
      seen.settle(one, durable ? place : undefined)
      expect(seen.pending(one)).toBeUndefined()
      expect(seen.has(one)).toBe(durable)
    }
  })

  test('under a key conflicts with another body under the same key', () => {
    const seen = new SeenBatches<string>()
    seen.track(keyed('k'), Promise.resolve('done'))
    expect(seen.pending(keyed('k'))).toBeDefined()
    expect(() => seen.pending(keyed('k', 2))).toThrow(expect.objectContaining({ code: 'idempotency_conflict' }))
  })

  test('without marks is never taken for another', () => {
    const seen = new SeenBatches<string>()
    seen.track(batch('x'), Promise.resolve('done'))
    expect(seen.pending(batch('x'))).toBeUndefined()
    expect(seen.has(batch('x'))).toBe(false)
  })
})

test('saved memory with any byte changed or missing is refused whole', () => {
  const seen = new SeenBatches()
  seen.add(numbered('a', 1), place)
  seen.add(keyed('k'), place)
  const bytes = seen.encode(nowMs)
  for (let index = 0; index < bytes.length; index++) {
    const changed = Buffer.from(bytes)
    changed[index]! ^= 4
    for (const bad of [changed, bytes.subarray(0, index)]) {
      const copy = new SeenBatches()
      expect(copy.decode(bad), `byte ${index}`).toBe(false)
      expect(copy.has(numbered('a', 1))).toBe(false)
    }
  }
})
