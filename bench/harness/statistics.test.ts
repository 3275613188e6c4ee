import { describe, expect, test } from 'vitest'
import { median, rounded, sum } from './statistics.ts'

describe('statistics', () => {
  test('the median is the middle sample, or between the middle two', () => {
    expect(median([9, 1, 10])).toBe(9)
    expect(median([4, 1, 10, 2])).toBe(3)
    expect(median([5])).toBe(5)
    expect(median([])).toBeNaN()
  })

  test('one wild sample does not move the median', () => {
    expect(median([1, 1.1, 0.9, 1.05, 1000])).toBe(1.05)
  })

  test('sums', () => {
    expect(sum([1, 2, 3.5])).toBe(6.5)
    expect(sum([])).toBe(0)
  })

  test('rounds to what a reader can use', () => {
    expect([123_456.7, 12.345, 0.012345, 0].map(rounded)).toEqual([123_457, 12.3, 0.0123, 0])
  })
})
