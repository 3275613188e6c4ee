import { expect, test } from 'vitest'
import { emptyTable } from '../../test/conformance/lake-fixture.ts'
import { removedLetters, removedLettersKey, withRemovedLetters } from './removed-letters.ts'

const one = { source: 'a', hour: 10, count: 2 }

test('removed dead letters add up, over commits, by source and hour', () => {
  const first = withRemovedLetters(emptyTable(), [one, { ...one, source: null }])
  const second = withRemovedLetters({ properties: first }, [one, { ...one, hour: 11, count: 1 }])
  expect(removedLetters({ properties: second })).toEqual([
    { ...one, count: 4 },
    { ...one, source: null },
    { ...one, hour: 11, count: 1 },
  ])
})

test('a table that none was removed of has none', () => {
  expect(removedLetters(emptyTable())).toEqual([])
})

test('a property that is damaged is said', () => {
  expect(() => removedLetters({ properties: { [removedLettersKey]: '[{' } })).toThrow(/cannot be read/)
})
