import { describe, expect, test } from 'vitest'
import type { ColumnType } from '../config/plan.ts'
import { compileTypeCheck } from './typed-values.ts'
import { compileValidator } from './validate.ts'

const kind = (
  name: 'int' | 'float' | 'double' | 'timestamptz' | 'timestamp' | 'date' | 'time' | 'uuid' | 'binary',
): ColumnType => ({
  kind: name,
})
const reason = (type: ColumnType, value: unknown): string | undefined =>
  compileTypeCheck([{ name: 'v', type }])!({ v: value })?.reason

describe('values that a column holds exactly', () => {
  test.each<[ColumnType, unknown[]]>([
    [kind('int'), [0, -0, 2147483647, -2147483648, 5.0]],
    [kind('float'), [0.1, 3.4028234663852886e38, 'NaN', '-Infinity']],
    [kind('double'), [0.1, 1.7976931348623157e308, 'NaN', 'Infinity', '-Infinity']],
    [kind('timestamptz'), ['2026-11-20T20:29:00.123Z', '0001-01-01T00:00:00Z', '2026-11-20T20:29:00+05:30']],
    [kind('timestamp'), ['2026-11-20T20:29:00', '1969-12-31 23:59:59.999999', '9999-12-31T00:00:00']],
    [kind('date'), ['2024-02-29', '0001-01-01', '9999-12-31']],
    [kind('time'), ['00:00', '23:59:59.999999', '13:30:00Z']],
    [kind('uuid'), ['2f1c3c6e-7b1e-4f6a-9a57-0c9d0f5a1b2c', 'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF']],
    [kind('binary'), ['', 'AA==', 'AAA=', 'AP//+v8/']],
  ])('%j takes them', (type, values) => {
    for (const value of [...values, null, undefined]) expect(reason(type, value), String(value)).toBeUndefined()
  })

  test.each<[ColumnType, unknown[], RegExp]>([
    [kind('int'), [2147483648, -2147483649, 0.5, 1e300], /whole number from -2147483648/],
    [kind('float'), [3.5e38, -1e39], /at most 3.4028234e38/],
    [kind('float'), ['nan', '1', true], /must be a number, or one of "NaN"/],
    [kind('double'), ['nan', '1', 'inf'], /must be a number, or one of "NaN"/],
    [kind('timestamptz'), ['2026-11-20T20:29:60Z'], /leap second/],
    [kind('timestamptz'), ['2026-11-20T20:29:00', '2026-11-20T20:29'], /no offset|not an ISO/],
    [kind('timestamptz'), ['2026-11-20T20:29Z', '2026-11-20t20:29:00z'], /upper-case T/],
    [
      kind('timestamptz'),
      ['2026-02-30T00:00:00Z', '0000-01-01T00:00:00Z', '9999-12-31T23:59:59-01:00'],
      /its month|years 0001/,
    ],
    [
      kind('timestamp'),
      ['2026-11-20T20:29:00Z', '2026-11-20T20:29:00.1234567', '2026-11-20', 5],
      /date and time without an offset|text/,
    ],
    [kind('timestamp'), ['2026-02-30T00:00:00', '2026-11-20T24:00:00'], /its month|hour past 23/],
    [
      kind('date'),
      ['2026-02-29', '0000-01-01', '2026-11-20T00:00:00Z', '2026-13-01'],
      /its month|years 0001|must be a date|no such month/,
    ],
    [
      kind('time'),
      ['24:00:00', '10:00:00+02:00', '10:00:00.1234567', '10', '23:59:60'],
      /time of day without an offset/,
    ],
    [
      kind('uuid'),
      ['urn:uuid:2f1c3c6e-7b1e-4f6a-9a57-0c9d0f5a1b2c', '2f1c3c6e7b1e4f6a9a570c9d0f5a1b2c', ''],
      /must be a uuid/,
    ],
    [kind('binary'), ['AA', 'AA=', 'A===', 'AA-_', 'AA==AA==', 'é==='], /must be base64/],
  ])('%j refuses %j', (type, values, pattern) => {
    for (const value of values) expect(reason(type, value), String(value)).toMatch(pattern)
  })

  test('are looked for in structs, lists and maps, and named by their place', () => {
    const check = compileTypeCheck([
      { name: 's', type: { kind: 'struct', fields: [{ name: 'l', type: { kind: 'list', element: kind('int') } }] } },
      { name: 'm', type: { kind: 'map', value: kind('uuid') } },
    ])!
    expect(check({ s: { l: [1, null, 2 ** 40] } })).toMatchObject({ code: 'schema_violation', path: '/s/l/2' })
    expect(check({ m: { 'a/b': 'x' } })).toMatchObject({ path: '/m/a~1b' })
    expect(check({ s: { l: [1, null] }, m: { a: null }, other: 1 })).toBeUndefined()
    expect(check({ s: { l: null }, m: null })).toBeUndefined()
  })

  test('cost nothing where no column asks', () => {
    expect(compileTypeCheck(null)).toBeUndefined()
    expect(
      compileTypeCheck([
        { name: 'a', type: { kind: 'string' } },
        { name: 'b', type: { kind: 'long' } },
      ]),
    ).toBeUndefined()
  })
})

test('formats let through what their columns take', () => {
  const text = (format: string) => ({ type: 'string', format })
  const schema = {
    type: 'object',
    properties: { at: text('date-time'), local: text('date-time'), open: text('time'), u: text('uuid') },
  }
  const columns = [
    { name: 'at', type: kind('timestamptz') },
    { name: 'local', type: kind('timestamp') },
    { name: 'open', type: kind('time') },
    { name: 'u', type: kind('uuid') },
  ]
  const validate = compileValidator({ name: 's', schema, columns }, 4)
  expect(validate({ at: '2026-11-20T20:29:00Z', local: '2026-11-20T20:29:00', open: '09:30:00' })).toBeUndefined()
  expect(validate({ at: '2026-11-20T20:29:00' })).toMatchObject({
    path: '/at',
    reason: expect.stringMatching(/no offset/),
  })
  expect(validate({ local: '2026-11-20T20:29:00Z' })).toMatchObject({ path: '/local' })
  expect(validate({ open: '09:30:00+01:00' })).toMatchObject({ path: '/open' })
  expect(validate({ u: 'urn:uuid:2f1c3c6e-7b1e-4f6a-9a57-0c9d0f5a1b2c' })).toMatchObject({ path: '/u' })
})
