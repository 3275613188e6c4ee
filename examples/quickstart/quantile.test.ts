import { describe, expect, test } from 'vitest'
import { quantile } from './quantile.ts'

describe('quantile', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index)

  test.each([
    [0, 1],
    [0.5, 50],
    [0.99, 99],
    [0.991, 100],
    [1, 100],
  ])('%f of 1 to 100 is %i', (part, expected) => {
    expect(quantile(hundred, part)).toBe(expected)
  })

  test('of one sample is that sample, and of none is not a number', () => {
    expect(quantile([7], 0.01)).toBe(7)
    expect(quantile([], 0.5)).toBeNaN()
  })

  test('sorts numbers as numbers, and leaves the samples as they are', () => {
    const samples = [10, 9, 100]
    expect(quantile(samples, 1)).toBe(100)
    expect(samples).toEqual([10, 9, 100])
  })
})
