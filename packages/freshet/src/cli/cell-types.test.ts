import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cellJson, isExactNumber } from './cell-types.ts'

test('every number that JavaScript prints without an exponent is found to be one', () => {
  fc.assert(
    fc.property(fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.maxSafeInteger()), (value) => {
      const text = String(value)
      expect(isExactNumber(text)).toBe(!text.includes('e'))
    }),
  )
})

test('what would lose something as a number stays a string', () => {
  for (const text of [
    '007',
    '+1',
    '1e5',
    '.5',
    '5.',
    ' 1',
    '1_000',
    '0x10',
    'NaN',
    'Infinity',
    '-',
    '9007199254740993',
    '0.12345678901234567',
  ]) {
    expect(cellJson(text, 'auto')).toBe(JSON.stringify(text))
  }
  for (const text of ['0', '-0', '1.50', '438.10', '-12.000', '9007199254740992', '0.1', '123456789012345.00'])
    expect(cellJson(text, 'auto')).toBe(text)
})

test('a type that is asked for is kept to', () => {
  expect(cellJson('12345678901234567890', 'number')).toBe('12345678901234567890')
  expect(cellJson(' 007 ', 'number')).toBe('7')
  expect(cellJson('0x10', 'number')).toBeUndefined()
  expect(cellJson('Yes', 'boolean')).toBe('true')
  expect(cellJson('maybe', 'boolean')).toBeUndefined()
  expect(cellJson('{"a":\n1}', 'json')).toBe('{"a": 1}')
  expect(cellJson('{', 'json')).toBeUndefined()
  expect(cellJson('1', 'string')).toBe('"1"')
})
