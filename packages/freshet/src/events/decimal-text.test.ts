import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Column, ColumnType } from '../config/plan.ts'
import { createDecimalWriter } from './decimal-text.ts'

const decimal = (precision: number, scale: number): ColumnType => ({ kind: 'decimal', precision, scale })
const writer = (...columns: Column[]): ((raw: string) => unknown) => createDecimalWriter(columns)!
const price = writer({ name: 'p', type: decimal(18, 4) })

describe('decimals of an event', () => {
  test.each([
    ['{"p":12345678901234.5678}', '{"p":"12345678901234.5678"}'],
    ['{ "x":{"p":1.5}, "p" : -1.50 , "s":"p" }', '{ "x":{"p":1.5}, "p" : "-1.5" , "s":"p" }'],
    ['{"p":"12345678901234.5678"}', '{"p":"12345678901234.5678"}'],
    ['{"p":"1.50"}', '{"p":"1.5"}'],
    ['{"p":1.5e3}', '{"p":"1500"}'],
    ['{"p":12e-4}', '{"p":"0.0012"}'],
    ['{"p":-0.0}', '{"p":"0"}'],
    ['{"p":0e999999999}', '{"p":"0"}'],
    ['{"p":1.00000000}', '{"p":"1"}'],
    ['{"p":null}', '{"p":null}'],
    ['{"\\u0070":1}', '{"\\u0070":"1"}'],
    ['{}', '{}'],
    ['{"p":1,"p":2}', '{"p":"1","p":"2"}'],
  ])('%s is stored as %s', (raw, stored) => {
    expect(price(raw)).toBe(stored)
  })

  test.each([
    ['{"p":0.12345}', /more than 4 digits behind the point, which a decimal\(18, 4\) has/],
    ['{"p":"0.12345"}', /more than 4 digits behind/],
    ['{"p":123456789012345}', /more than 14 digits before/],
    ['{"p":1e14}', /more than 14 digits before/],
    ['{"p":1e999999999}', /more than 14 digits before/],
    ['{"p":1e-999999999}', /more than 4 digits behind/],
    ['{"p":"abc"}', /must be a decimal number/],
    ['{"p":""}', /must be a decimal number/],
    ['{"p":"+1"}', /must be a decimal number/],
    ['{"p":" 1"}', /must be a decimal number/],
    ['{"p":"NaN"}', /must be a decimal number/],
    ['{"p":true}', /must be a decimal number/],
    ['{"p":[1]}', /must be a decimal number/],
    ['{"p":[1],"p":1}', /must be a decimal number/],
  ])('%s is refused', (raw, reason) => {
    expect(price(raw)).toMatchObject({ code: 'schema_violation', path: '/p', reason: expect.stringMatching(reason) })
  })

  test('are found in structs, lists and maps, and named by their place', () => {
    const legs: ColumnType = {
      kind: 'list',
      element: {
        kind: 'struct',
        fields: [
          { name: 'a/b', type: decimal(4, 2) },
          { name: 'n', type: { kind: 'long' } },
        ],
      },
    }
    const rates: ColumnType = { kind: 'map', value: { kind: 'list', element: decimal(4, 2) } }
    const write = writer(
      { name: 'legs', type: legs },
      { name: 'rates', type: rates },
      { name: 'n', type: { kind: 'long' } },
    )
    expect(write('{"n":1,"legs":[ {"n":2,"a/b":1.25} , null,{}],"rates":{"x":[1,null, 2 ],"y":[]}}')).toBe(
      '{"n":1,"legs":[ {"n":2,"a/b":"1.25"} , null,{}],"rates":{"x":["1",null, "2" ],"y":[]}}',
    )
    expect(write('{"legs":[null,{"a/b":1.255}]}')).toMatchObject({ path: '/legs/1/a~1b' })
    expect(write('{"rates":{"x":[1,200]}}')).toMatchObject({ path: '/rates/x/1' })
  })

  test('there is no writer where there is no decimal', () => {
    expect(createDecimalWriter(null)).toBeUndefined()
    expect(createDecimalWriter([{ name: 'a', type: { kind: 'list', element: { kind: 'double' } } }])).toBeUndefined()
  })

  test('keep their value whatever way they are written, or are refused when it does not fit', () => {
    const exponent = fc.integer({ min: -12, max: 12 })
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(10n ** 14n), max: 10n ** 14n }),
        exponent,
        exponent,
        fc.boolean(),
        (whole, places, e, quoted) => {
          // The number is whole x 10^-places.
          const shift = places + e
          const digits = String(whole < 0n ? -whole : whole).padStart(Math.max(shift, 0) + 1, '0')
          const plain = shift > 0 ? `${digits.slice(0, -shift)}.${digits.slice(-shift)}` : digits + '0'.repeat(-shift)
          const normal = plain.replace(/^0+(?=\d)/, '')
          const text = `${whole < 0n ? '-' : ''}${normal}e${e}`
          const written = writer({ name: 'p', type: decimal(20, 6) })(`{"p":${quoted ? `"${text}"` : text}}`)
          const scaled = whole * 10n ** 24n
          const unit = 10n ** BigInt(24 + places)
          const fits = (scaled * 10n ** 6n) % unit === 0n && (whole < 0n ? -scaled : scaled) / unit < 10n ** 14n
          if (!fits) expect(written).toMatchObject({ code: 'schema_violation' })
          else {
            const [, sign, before, after = ''] = /^\{"p":"(-?)(\d+)(?:\.(\d+))?"\}$/.exec(written as string)!
            const value = BigInt(before + after.padEnd(6, '0')) * (sign === '-' ? -1n : 1n)
            expect(value * unit).toBe(scaled * 10n ** 6n)
          }
        },
      ),
      { numRuns: 2000 },
    )
  })
})
