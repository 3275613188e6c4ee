import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { extentOf, findJsonFault, placeOf } from './json-text.ts'

function parses(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

describe('where JSON breaks', () => {
  test.each([
    ['{"a":1', 6, /ends/],
    ['{"a" 1}', 5, /':'/],
    ['{"a":1,}', 7, /field name/],
    ['[1,]', 3, /value/],
    ['[1 2]', 3, /',' or '\]'/],
    ['{"a":tru}', 5, /value/],
    ['{"a":01}', 6, /',' or '}'/],
    [String.raw`{"a":"\x"}`, 6, /escape/],
    ['{"a":"b', 5, /does not end/],
    ['{"a":"\u0001"}', 6, /control/],
    ['{} {}', 3, /nothing more/],
    ["{'a':1}", 1, /double quotes/],
    ['', 0, /ends/],
  ])('%s', (text, offset, reason) => {
    const fault = findJsonFault(text)
    expect(fault?.offset).toBe(offset)
    expect(fault?.reason).toMatch(reason)
  })

  test('finds a fault exactly when JSON.parse does', () => {
    const pieces = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '\\',
      '"a"',
      '1',
      '-',
      '0',
      '.5',
      'e9',
      'true',
      'null',
      ' ',
      '\n',
      '\t',
      'u00e9',
      'x',
    )
    const soup = fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join(''))
    const cut = fc.tuple(fc.json(), fc.nat()).map(([text, at]) => text.slice(0, at % (text.length + 1)))
    fc.assert(
      fc.property(fc.oneof(soup, cut, fc.json()), (text) => {
        expect(findJsonFault(text) === undefined).toBe(parses(text))
      }),
      { numRuns: 5000 },
    )
  })

  test('a hundred thousand levels do not exhaust the stack', () => {
    expect(findJsonFault('['.repeat(100_000))?.offset).toBe(100_000)
    expect(extentOf('['.repeat(100_000), 0, 100_000)).toEqual({ end: -1, levels: 100_000 })
  })
})

test('the extent of a value ends where the value ends, brackets in texts aside', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.object(), fc.array(fc.anything({ withNullPrototype: false }))),
      fc.string(),
      (value, rest) => {
        const text = JSON.stringify(value)
        expect(extentOf(text + rest, 0, text.length + rest.length).end).toBe(text.length)
      },
    ),
  )
})

test('places count lines and columns from one', () => {
  expect(placeOf('ab\ncd', 0)).toEqual({ line: 1, column: 1 })
  expect(placeOf('ab\ncd', 4)).toEqual({ line: 2, column: 2 })
  expect(placeOf('ab\ncd', 2)).toEqual({ line: 1, column: 3 })
})
