import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatFieldPath, parseFieldPath } from './field-path.ts'

test.each([
  ['zip', ['zip']],
  ['address.zip', ['address', 'zip']],
  ['legs[].price', ['legs', '[]', 'price']],
  ['grid[][].x', ['grid', '[]', '[]', 'x']],
  ['rates.*.bid', ['rates', '*', 'bid']],
  ['"unit.price"', ['unit.price']],
  ['"a \\"b\\"".c', ['a "b"', 'c']],
])('%s', (text, path) => {
  expect(parseFieldPath(text)).toEqual(path)
  expect(formatFieldPath(path)).toBe(text)
})

test.each(['', '.', 'a.', '.a', 'a..b', 'a[', '[]', '"a', 'a"b"', 'a[0]'])('%j is no path', (text) => {
  expect(parseFieldPath(text)).toBeUndefined()
})

test('every path comes back from its text', () => {
  const names = fc.string({ minLength: 1 }).filter((name) => name !== '[]')
  fc.assert(
    fc.property(fc.array(names, { minLength: 1, maxLength: 4 }), (path) => {
      expect(parseFieldPath(formatFieldPath(path))).toEqual(path)
    }),
  )
})
