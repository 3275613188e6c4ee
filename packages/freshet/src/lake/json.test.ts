import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseJson, stringifyJson } from './json.ts'

describe('JSON with exact integers', () => {
  test('63-bit ids keep every digit', () => {
    const text = '{"id":9223372036854775807,"least":-9223372036854775808,"small":9007199254740991}'
    expect(parseJson(text)).toEqual({ id: 9223372036854775807n, least: -9223372036854775808n, small: 9007199254740991 })
    expect(stringifyJson(parseJson(text))).toBe(text)
  })

  test('fractions and exponents stay numbers', () => {
    expect(parseJson('[1.5, 1e300, -0.25, 1e20]')).toEqual([1.5, 1e300, -0.25, 1e20])
  })

  test('any 64-bit integer survives a round trip', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (id) => {
        const { back } = parseJson(stringifyJson({ back: id })) as { back: number | bigint }
        expect(BigInt(back)).toBe(id)
      }),
    )
  })

  test('any JSON text survives a round trip', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value)
        expect(stringifyJson(parseJson(text))).toBe(text)
      }),
    )
  })
})
