import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseDate, parseDecimal, parseLocalTimestamp, parseTime, parseTimestamp } from './bound-texts.ts'
import { compareValues, decodeBound, type BoundValue } from './bound-values.ts'
import { decodeLong } from './bound-values.ts'
import { encodeBound, encodeBounds, encodeStringBound } from './bounds.ts'

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

  test('of every other type encode as Appendix D says', () => {
    const hex = (type: string, text: string, side: 'lower' | 'upper' = 'lower') =>
      encodeBound(type, text, side)?.toString('hex')
    expect(hex('int', '-5')).toBe('fbffffff')
    expect(hex('float', '-1.5')).toBe('0000c0bf')
    expect(hex('float', '0.1')).toBe('cdcccc3d')
    expect(hex('decimal(4, 2)', '14.20')).toBe('058c')
    expect(hex('decimal(4, 2)', '-1.28')).toBe('80')
    expect(hex('decimal(4, 2)', '1.28')).toBe('0080')
    expect(hex('decimal(18, 18)', '-.000000000000000001')).toBe('ff')
    expect(hex('decimal(38, 0)', '99999999999999999999999999999999999999')).toBe('4b3b4ca85a86c47a098a223fffffffff')
    expect(hex('time', '00:00:01.000001')).toBe('41420f0000000000')
    expect(hex('timestamp', '1969-12-31 23:59:59.999999')).toBe('ffffffffffffffff')
    expect(hex('binary', '00FF7a')).toBe('00ff7a')
    expect(hex('double', 'inf')).toBe('000000000000f07f')
    expect(hex('float', '-inf')).toBe('000080ff')
  })

  test('a float whose text lies midway between two floats is enclosed', () => {
    expect(encodeBound('float', '16777217', 'lower')!.readFloatLE()).toBe(16777216)
    expect(encodeBound('float', '16777217', 'upper')!.readFloatLE()).toBe(16777218)
    expect(encodeBound('float', '16777219', 'lower')!.readFloatLE()).toBe(16777218)
    expect(encodeBound('float', '16777219', 'upper')!.readFloatLE()).toBe(16777220)
  })

  test('binary is cut to 16 bytes and still encloses the value', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 24 }), fc.boolean(), (bytes, high) => {
        const value = Buffer.from(high ? bytes.map((byte) => byte | 0xf0) : bytes)
        const lower = encodeBound('binary', value.toString('hex'), 'lower')!
        const upper = encodeBound('binary', value.toString('hex'), 'upper')
        expect(compare(lower, value)).toBeLessThanOrEqual(0)
        if (upper === undefined) expect(value.subarray(0, 16).every((byte) => byte === 0xff)).toBe(true)
        else expect(compare(upper, value)).toBeGreaterThanOrEqual(0)
        expect(Math.max(lower.length, upper?.length ?? 0)).toBeLessThanOrEqual(16)
      }),
    )
  })

  test('of uuids enclose every uuid between, whether halves are compared with a sign or bytes without', () => {
    const javaOrder = (a: Buffer, b: Buffer): number => {
      const [high, low] = [0, 8].map((at) => a.readBigInt64BE(at) - b.readBigInt64BE(at)) as [bigint, bigint]
      return high === 0n ? Number(low) : Number(high)
    }
    const part = fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.constantFrom(0n, 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n),
    )
    const uuid = fc
      .tuple(part, part)
      .map(([a, b]) => a.toString(16).padStart(16, '0') + b.toString(16).padStart(16, '0'))
    const dashed = (hex: string): string => hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
    fc.assert(
      fc.property(fc.array(uuid, { minLength: 1, maxLength: 4 }), (values) => {
        const sorted = values.toSorted()
        const { lower, upper } = encodeBounds('uuid', dashed(sorted[0]!), dashed(sorted.at(-1)!))
        for (const value of values.map((hex) => Buffer.from(hex, 'hex'))) {
          for (const order of [compare, javaOrder]) {
            if (lower) expect(order(lower, value)).toBeLessThanOrEqual(0)
            if (upper) expect(order(upper, value)).toBeGreaterThanOrEqual(0)
          }
        }
      }),
    )
    const { lower, upper } = encodeBounds(
      'uuid',
      '0191f4a0-0000-7000-8000-000000000000',
      '0191f4a0-ffff-7000-8000-000000000000',
    )
    expect(lower!.toString('hex')).toBe('0191f4a000006fff0000000000000000')
    expect(upper!.toString('hex')).toBe('0191f4a0ffff70010000000000000000')
    expect(encodeBounds('uuid', dashed('0'.repeat(32)), dashed('f'.repeat(32)))).toEqual({
      lower: undefined,
      upper: undefined,
    })
  })

  test('are read as the values that were encoded, in the width of before a promotion too', () => {
    const back = (type: string, text: string, as = type): BoundValue | undefined =>
      decodeBound(as, encodeBound(type, text, 'lower'))
    expect(back('boolean', 'true')).toBe(true)
    expect(back('int', '-7')).toBe(-7n)
    expect(back('int', '-7', 'long')).toBe(-7n)
    expect(back('long', '-7')).toBe(-7n)
    expect(back('float', '0.1', 'double')).toBe(Math.fround(0.1))
    expect(back('double', '-inf')).toBe(-Infinity)
    expect(back('decimal(9, 2)', '-1.5')).toEqual({ unscaled: -150n, scale: 2 })
    expect(back('decimal(9, 2)', '-1.5', 'decimal(18, 2)')).toEqual({ unscaled: -150n, scale: 2 })
    expect(back('date', '1969-12-31')).toBe(-1n)
    expect(back('time', '00:00:00.5')).toBe(500_000n)
    expect(back('timestamp', '1969-12-31 23:59:59')).toBe(-1_000_000n)
    expect(back('timestamptz', '1970-01-01 01:00:00+01')).toBe(0n)
    expect(back('string', 'h\u00e9')).toBe('h\u00e9')
    expect(back('binary', '00ff')).toEqual(Buffer.from([0, 255]))
    expect(decodeBound('fixed[2]', Buffer.from([1, 2]))).toEqual(Buffer.from([1, 2]))
    expect(decodeBound('uuid', Buffer.alloc(16))).toEqual(Buffer.alloc(16))
  })

  test('that are no value of the type are not read', () => {
    expect(decodeBound('long', undefined)).toBeUndefined()
    expect(decodeBound('long', Buffer.alloc(3))).toBeUndefined()
    expect(decodeBound('double', Buffer.from('000000000000f87f', 'hex'))).toBeUndefined()
    expect(decodeBound('decimal(9, 2)', Buffer.alloc(0))).toBeUndefined()
    expect(decodeBound('string', Buffer.from([0xc3]))).toBeUndefined()
    expect(decodeBound('uuid', Buffer.alloc(15))).toBeUndefined()
    expect(decodeBound('geometry', Buffer.alloc(8))).toBeUndefined()
  })

  test('compare in the order of the spec', () => {
    const ordered: BoundValue[][] = [
      [false, true],
      [-1n, 0n, 2n ** 62n],
      [-Infinity, -1, -0, 0, 1, Infinity],
      ['', 'a', '\u{ffff}', '\u{1f600}'],
      [Buffer.from([]), Buffer.from([0]), Buffer.from([127]), Buffer.from([128])],
      [
        { unscaled: -15n, scale: 1 },
        { unscaled: -140n, scale: 2 },
        { unscaled: 2n, scale: 0 },
      ],
    ]
    for (const values of ordered) {
      for (const [i, a] of values.entries())
        for (const [j, b] of values.entries()) expect(Math.sign(compareValues(a, b)!)).toBe(Math.sign(i - j))
    }
    expect(compareValues(1n, 1)).toBeUndefined()
    expect(compareValues(Number.NaN, 1)).toBeUndefined()
  })

  test('there is none for NaN, infinite times and what cannot be read', () => {
    for (const text of ['nan', '', 'x']) expect(encodeBound('double', text, 'upper')).toBeUndefined()
    for (const text of ['nan', '', 'x']) expect(encodeBound('float', text, 'upper')).toBeUndefined()
    for (const text of ['', '.', '1.234', '1e5', 'x'])
      expect(encodeBound('decimal(9, 2)', text, 'upper')).toBeUndefined()
    for (const text of ['1:00:00', '01:00:00+00', 'x']) expect(encodeBound('time', text, 'upper')).toBeUndefined()
    expect(encodeBound('timestamp', '2013-10-07 13:30:00+00', 'upper')).toBeUndefined()
    expect(encodeBound('binary', 'abc', 'upper')).toBeUndefined()
    expect(encodeBound('fixed[2]', '00ff', 'upper')).toBeUndefined()
    expect(encodeBounds('uuid', 'x', 'y')).toEqual({ lower: undefined, upper: undefined })
    for (const text of ['infinity', '-infinity', '2013-10-07 13:30:00'])
      expect(encodeBound('timestamptz', text, 'upper')).toBeUndefined()
    expect(encodeBound('date', 'infinity', 'upper')).toBeUndefined()
    expect(encodeBound('long', '99999999999999999999', 'upper')).toBeUndefined()
    expect(encodeBound('long', '9223372036854775808', 'upper')).toBeUndefined()
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
    expect(parseTimestamp('0044-01-01 (BC) 00:00:00+00')).toBe(BigInt(bc.getTime()) * 1000n)
    expect(parseLocalTimestamp('0044-01-01 (BC) 00:00:00')).toBe(BigInt(bc.getTime()) * 1000n)
    expect(parseLocalTimestamp('2013-10-07 13:30:00.123')).toBe(base)
  })

  test('times of day and decimals are read whole', () => {
    expect(parseTime('23:59:59.999999')).toBe(86_399_999_999n)
    expect(parseDecimal('-.5', 3)).toBe(-500n)
    expect(parseDecimal('12', 2)).toBe(1200n)
    expect(parseDecimal('1.500', 1)).toBe(15n)
    expect(parseDecimal('1.501', 2)).toBeUndefined()
  })
})
