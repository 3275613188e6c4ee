import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fingerprints, sourceMax } from './fingerprints.ts'

const word = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 0xffff_ffff }))

test('remembers every hash with all its sources, as a map would', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(word, word, fc.integer({ min: 0, max: sourceMax })), { maxLength: 2000 }),
      (notes) => {
        const set = new Fingerprints()
        const map = new Map<string, Set<number>>()
        for (const [low, high, source] of notes) {
          const key = `${low} ${high}`
          expect(set.has(low, high) || !map.has(key)).toBe(true)
          set.add(low, high, source)
          map.set(key, (map.get(key) ?? new Set()).add(source))
        }
        for (const [key, sources] of map) {
          const [low, high] = key.split(' ').map(Number) as [number, number]
          expect(set.has(low, high)).toBe(true)
          const found = set.sources(low, high)
          for (const source of sources) expect(found).toContain(source)
        }
      },
    ),
    { numRuns: 50 },
  )
})

test('grows with what it holds: small for a few ids, about nine bytes each for many', () => {
  const set = new Fingerprints()
  let state = 1
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 0
  }
  const held: [number, number][] = []
  for (let count = 0; count < 400_000; count++) {
    if (count === 100) expect(set.bytes).toBeLessThan(4096)
    const pair: [number, number] = [next(), next()]
    set.add(...pair, 1)
    if (count % 100 === 0) held.push(pair)
  }
  expect(set.bytes).toBeLessThan(400_000 * 24)
  expect(held.every(([low, high]) => set.has(low, high))).toBe(true)
  let mistaken = 0
  for (let count = 0; count < 100_000; count++) if (set.has(next(), next())) mistaken++
  expect(mistaken).toBeLessThan(5)
})
