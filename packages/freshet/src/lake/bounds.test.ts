import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeLong, encodeBound, encodeStringBound, parseDate, parseTimestamp } from './bounds.ts'

/** Order of code points, which is that of UTF-8 bytes and of Iceberg's strings. */
const compare = (a: Buffer, b: Buffer): number => Buffer.compare(a, b)
const texts = fc.string({ unit: 'binary', maxLength: 40 })

describe('bounds', () => {
  test('encode as the Iceberg spec, Appendix D, says', () => {
    expect(encodeBound('boolean', '1', 'upper')).toEqual(Buffer.from([1]))
    expect(encodeBound('long', '-2', 'lower')).toEqual(Buffer.from('feffffffffffffff', 'hex'))
    expect(encodeBound('double', '1.5', 'lower')).toEqual(Buffer.from('000000000000f83f', 'hex'))
    expect(encodeBound('date', '1970-01-02', 'lower')).toEqual(Buffer.from('01000000', 'hex'))
    expect(encodeBound('string', 'SPY', 'lower')).toEqual(Buffer.from('SPY'))
    expect(decodeLong(encodeBound('timestamptz', '1970-01-01 00:00:00.000001+00', 'lower'))).toBe(1n)
  })

  test('there is none for NaN, infinities and what cannot be read', () => {
    for (const text of ['nan', 'inf', '-inf', '', 'x']) expect(encodeBound('double', text, 'upper')).toBeUndefined()
    for (const text of ['infinity', '-infinity', '2013-10-07 13:30:00'])
      expect(encodeBound('timestamptz', text, 'upper')).toBeUndefined()
    expect(encodeBound('date', 'infinity', 'upper')).toBeUndefined()
    expect(encodeBound('long', '99999999999999999999', 'upper')).toBeUndefined()
    expect(encodeBound('long', '9223372036854775808', 'upper')).toBeUndefined()
    expect(encodeBound('uuid', 'x', 'upper')).toBeUndefined()
  })

  test('a zero bound includes the zero of the other sign', () => {
    expect(Object.is(encodeBound('double', '0.0', 'lower')!.readDoubleLE(), -0)).toBe(true)
    expect(Object.is(encodeBound('double', '-0.0', 'upper')!.readDoubleLE(), 0)).toBe(true)
  })

  test('strings are cut to 16 code points and still enclose the value', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const value = Buffer.from(text, 'utf8')
        const whole = value.toString('utf8')
        const lower = encodeStringBound(whole, 'lower')!
        const upper = encodeStringBound(whole, 'upper')
        expect(compare(lower, value)).toBeLessThanOrEqual(0)
        if (upper !== undefined) expect(compare(upper, value)).toBeGreaterThanOrEqual(0)
        for (const bound of [lower, upper]) {
          if (bound === undefined) continue
          expect(Array.from(bound.toString('utf8')).length).toBeLessThanOrEqual(16)
          expect(Buffer.from(bound.toString('utf8'), 'utf8')).toEqual(bound)
        }
      }),
    )
  })

  test('an upper bound is raised past the surrogates, and past characters that are the highest', () => {
    expect(encodeStringBound(`${'a'.repeat(15)}\ud7ffx`, 'upper')!.toString('utf8')).toBe(`${'a'.repeat(15)}\ue000`)
    expect(encodeStringBound(`${'a'.repeat(15)}\u{10ffff}x`, 'upper')!.toString('utf8')).toBe(`${'a'.repeat(14)}b`)
    expect(encodeStringBound('\u{10ffff}'.repeat(17), 'upper')).toBeUndefined()
  })

  test('numbers keep their order', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        expect(decodeLong(encodeBound('long', String(value), 'lower'))).toBe(value)
      }),
    )
  })

  test('timestamps are read with any offset, fraction and era', () => {
    const base = BigInt(Date.parse('2013-10-07T13:30:00.123Z')) * 1000n
    expect(parseTimestamp('2013-10-07 13:30:00.123+00')).toBe(base)
    expect(parseTimestamp('2013-10-07 15:30:00.123456+02')).toBe(base + 456n)
    expect(parseTimestamp('2013-10-07 08:00:00.123-05:30')).toBe(base)
    expect(parseTimestamp('1969-12-31 23:59:59.5+00')).toBe(-500_000n)
    expect(parseTimestamp('12345-01-01 00:00:00+00')).toBe(BigInt(Date.UTC(12345, 0, 1)) * 1000n)
    const bc = new Date(0)
    bc.setUTCFullYear(-43, 0, 1)
    expect(parseDate('0044-01-01 (BC)')).toBe(bc.getTime() / 86_400_000)
  })
})
