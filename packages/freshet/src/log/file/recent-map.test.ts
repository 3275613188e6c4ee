import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RecentMap } from './recent-map.ts'

test('the newest entries are there, with their last value, and no more than twice as many are kept', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 300 }), (keys) => {
      const kept = 8
      const map = new RecentMap<number>(kept)
      const order: number[] = []
      for (const [time, key] of keys.entries()) {
        map.set(String(key), time, 1)
        if (order.includes(key)) order.splice(order.indexOf(key), 1)
        order.push(key)
        for (const recent of order.slice(-kept)) expect(map.get(String(recent))).toBe(keys.lastIndexOf(recent, time))
        const entries = [...map.entries()]
        expect(entries.length).toBeLessThanOrEqual(2 * kept)
        expect(new Set(entries.map(([entryKey]) => entryKey)).size).toBe(entries.length)
        for (const [entryKey, value] of entries) expect(map.get(entryKey)).toBe(value)
      }
    }),
  )
})

test('heavy entries push others out sooner', () => {
  const map = new RecentMap<string>(10)
  map.set('small', 'a', 1)
  map.set('heavy', 'b', 9)
  map.set('heavy', 'c', 10)
  expect(map.get('small')).toBeUndefined()
  expect(map.get('heavy')).toBe('c')
})
