import fc from 'fast-check'
import { expect, test } from 'vitest'
import { IdTable } from './id-table.ts'

test('holds exactly the ids that were added, as a set would, also when their hashes are the same', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string({ minLength: 1, maxLength: 6 }), fc.boolean()), { maxLength: 300 }),
      fc.integer({ min: 0, max: 8 }),
      (steps, bits) => {
        const table = new IdTable()
        const set = new Set<string>()
        for (const [id, asks] of steps) {
          const bytes = Buffer.from(`-${id}-`)
          const hash = bytes.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 7) & ((1 << bits) - 1)
          const [start, end] = [1, bytes.length - 1]
          // Asked for at times only: the table for looking up is made when it is first needed.
          if (asks) expect(table.has(hash, hash, bytes, start, end)).toBe(set.has(id))
          if (set.has(id)) continue
          set.add(id)
          table.reserve(1, end - start)
          table.add(hash, hash, bytes, start, end)
        }
        expect(table.count).toBe(set.size)
      },
    ),
  )
})

test('takes some twenty bytes an id beside the id', () => {
  const table = new IdTable()
  const id = Buffer.from('0123456789abcdef')
  const count = 200_000
  table.reserve(count, count * id.length)
  for (let index = 0; index < count; index++) table.add(Math.imul(index, 0x9e3779b1) >>> 0, index, id, 0, id.length)
  expect(table.has(0, 1, id, 0, id.length)).toBe(false)
  expect(table.memoryBytes / count).toBeLessThan(id.length + 24)
})
