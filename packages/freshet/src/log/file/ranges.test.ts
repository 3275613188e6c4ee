import fc from 'fast-check'
import { expect, test } from 'vitest'
import { adjoins, contains, insert, type Ranges } from './ranges.ts'

test('ranges hold what a plain set would, in order and never adjoining', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 200 }), (values) => {
      const ranges: Ranges = []
      const set = new Set<number>()
      for (const value of values) {
        const count = ranges.length
        const joins = adjoins(ranges, value)
        if (!set.has(value)) expect(joins).toBe(set.has(value - 1) || set.has(value + 1))
        insert(ranges, value)
        if (set.has(value) || joins) expect(ranges.length).toBeLessThanOrEqual(count)
        else expect(ranges).toHaveLength(count + 1)
        set.add(value)
      }
      for (let value = -1; value <= 61; value++) expect(contains(ranges, value)).toBe(set.has(value))
      for (const [index, [first, last]] of ranges.entries()) {
        expect(first).toBeLessThanOrEqual(last)
        if (index > 0) expect(first).toBeGreaterThan(ranges[index - 1]![1] + 1)
      }
    }),
  )
})
