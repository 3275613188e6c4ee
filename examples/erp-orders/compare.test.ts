import { describe, expect, test } from 'vitest'
import type { Row } from './final-state.ts'
import { agrees, compareRows, compareTexts } from './compare.ts'

describe('rows', () => {
  const rows = new Map<string, Row>([
    ['orders 1', { order_id: 1, status: 'shipped', quote_version: null }],
    ['orders 2', { order_id: 2, status: 'entered', quote_version: 3 }],
  ])

  test('agree when all their values are the same', () => {
    const comparison = compareRows(
      rows,
      new Map<string, Row>([...rows].toReversed().map(([key, row]) => [key, { ...row }])),
    )
    expect(comparison).toEqual({ expected: 2, found: 2, missing: 0, unexpected: 0, different: 0 })
    expect(agrees(comparison)).toBe(true)
  })

  test.each([
    ['a row too few', new Map<string, Row>([...rows].slice(0, 1)), { missing: 1, example: 'orders 2 is missing' }],
    [
      'a row too many',
      new Map<string, Row>([...rows, ['orders 3', {}]]),
      { unexpected: 1, example: 'orders 3 should not be there' },
    ],
    [
      'another value',
      new Map<string, Row>([...rows, ['orders 2', { order_id: 2, status: 'entered', quote_version: '3' }]]),
      { different: 1, example: 'orders 2: quote_version is "3" and should be 3' },
    ],
    [
      'a column too few',
      new Map<string, Row>([...rows, ['orders 1', { order_id: 1, status: 'shipped' }]]),
      { different: 1, example: 'orders 1: quote_version is not there and should be null' },
    ],
  ])('%s is a difference', (_, found, difference) => {
    const comparison = compareRows(rows, found)
    expect(comparison).toMatchObject(difference)
    expect(agrees(comparison)).toBe(false)
  })
})

describe('texts', () => {
  test('agree in any order', () => {
    expect(agrees(compareTexts(['a', 'b', 'a'], ['b', 'a', 'a']))).toBe(true)
  })

  test.each([
    ['missing', ['a', 'b'], { missing: 1, unexpected: 0, example: '"a" is missing' }],
    ['there too often', ['a', 'b', 'a', 'b'], { missing: 0, unexpected: 1, example: '"b" is there too often' }],
    ['another one', ['a', 'b', 'c '], { missing: 1, unexpected: 1, example: '"a" is missing' }],
  ])('one %s is a difference', (_, found, difference) => {
    const comparison = compareTexts(['a', 'b', 'a'], found)
    expect(comparison).toMatchObject(difference)
    expect(agrees(comparison)).toBe(false)
  })
})
