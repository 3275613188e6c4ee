import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { editDistance, nearest } from './spelling.ts'

describe('editDistance', () => {
  test.each([
    ['', '', 0],
    ['abc', '', 3],
    ['partiton', 'partition', 1],
    ['recieved', 'received', 1],
    ['kitten', 'sitting', 3],
  ])('%j to %j takes %i', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance)
  })

  test('is the same both ways, and zero only for the same word', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a))
        expect(editDistance(a, b) === 0).toBe(a === b)
      }),
    )
  })
})

describe('nearest', () => {
  const units = ['hour', 'day', 'month']

  test.each([
    ['dya', 'day'],
    ['Hour', 'hour'],
    ['hourly', 'hour'],
    ['monthly', 'month'],
    ['year', undefined],
    ['', undefined],
  ])('%j means %j', (word, meant) => {
    expect(nearest(word, units)).toBe(meant)
  })

  test('case and underscores do not count', () => {
    expect(nearest('data_dir', ['dataDir', 'http'])).toBe('dataDir')
  })

  test('a beginning is enough when only one candidate has it', () => {
    expect(nearest('req', ['requestTimeout', 'port'])).toBe('requestTimeout')
    expect(nearest('flush', ['flushInterval', 'flushRows'])).toBeUndefined()
  })
})
