import { describe, expect, test } from 'vitest'
import { dataFile, dayValue, emptyTable } from '../../test/conformance/lake-fixture.ts'
import { encodeInt, encodeLong } from './bounds.ts'
import type { DataFile } from './data-file.ts'
import type { ManifestFile, PartitionSummary } from './manifest.ts'
import type { PartitionSpec } from './partition.ts'
import { columnRange, mayHoldManifest, mayMeet, partitionRangeOf, type Predicate } from './prune.ts'

const base = dataFile({ name: 't', version: 1, metadata: emptyTable() }, 'a')

function double(value: number): Buffer {
  const buffer = Buffer.alloc(8)
  buffer.writeDoubleLE(value)
  return buffer
}

interface Known {
  lower?: Buffer
  upper?: Buffer
  nulls?: number
  values?: number
  nans?: number
}

const known = (column: Known): { file: DataFile } => {
  const map = <T>(value: T | undefined): Map<number, T> => new Map(value === undefined ? [] : [[6, value]])
  return {
    file: {
      ...base,
      lowerBounds: map(column.lower),
      upperBounds: map(column.upper),
      nullValueCounts: map(column.nulls),
      valueCounts: map(column.values),
      nanValueCounts: map(column.nans),
    },
  }
}

const predicate = (type: string, sign: Predicate['test'], ...values: Predicate['values']): Predicate => ({
  fieldId: 6,
  type,
  test: sign,
  values,
})

function may(column: Known, asked: Predicate): boolean {
  return mayMeet(asked, columnRange(known(column), asked.fieldId, asked.type))
}

describe('bounds of a column', () => {
  const long = { lower: encodeLong(10n)!, upper: encodeLong(20n)! }

  test.each([
    ['=', 10n, true],
    ['=', 20n, true],
    ['=', 9n, false],
    ['=', 21n, false],
    ['<', 10n, false],
    ['<', 11n, true],
    ['<=', 10n, true],
    ['<=', 9n, false],
    ['>', 20n, false],
    ['>', 19n, true],
    ['>=', 20n, true],
    ['>=', 21n, false],
  ] as const)('10 to 20 %s %i: %s', (sign, value, expected) => {
    expect(may(long, predicate('long', sign, value))).toBe(expected)
    // Of a number that has become wider.
    const narrow = { lower: encodeInt(10)!, upper: encodeInt(20)! }
    expect(may(narrow, predicate('long', sign, value))).toBe(expected)
  })

  test('lists', () => {
    expect(may(long, predicate('long', 'in', 1n, 15n))).toBe(true)
    expect(may(long, predicate('long', 'in', 1n, 30n))).toBe(false)
  })

  test('what is unknown speaks for the file', () => {
    for (const sign of ['=', '<', '<=', '>', '>=', 'in', 'starts with', 'is null', 'is not null'] as const) {
      const value = sign === 'starts with' ? 'a' : 1n
      expect(may({}, predicate(sign === 'starts with' ? 'string' : 'long', sign, value)), sign).toBe(true)
    }
    expect(may({ lower: Buffer.from([1, 2]) }, predicate('long', '<', -5n))).toBe(true)
    expect(may({ upper: double(NaN), nans: 0 }, predicate('double', '>', 5))).toBe(true)
  })

  test('NaN is above all numbers, and in no bound', () => {
    const bounds = { lower: double(1), upper: double(2) }
    for (const nans of [undefined, 3]) {
      const column = { ...bounds, ...(nans !== undefined && { nans }) }
      expect(may(column, predicate('double', '>', 5))).toBe(true)
      expect(may(column, predicate('double', '>=', 5))).toBe(true)
      expect(may(column, predicate('double', '=', 5))).toBe(false)
      expect(may(column, predicate('double', '<', 1))).toBe(false)
    }
    expect(may({ ...bounds, nans: 0 }, predicate('double', '>', 5))).toBe(false)
  })

  test('the two zeros are one', () => {
    const zero = { lower: double(0), upper: double(-0), nans: 0 }
    for (const sign of ['=', '<=', '>='] as const) expect(may(zero, predicate('double', sign, 0)), sign).toBe(true)
    for (const sign of ['<', '>'] as const) expect(may(zero, predicate('double', sign, 0)), sign).toBe(false)
  })

  test('nulls', () => {
    const none = { nulls: 0, values: 5 }
    const all = { nulls: 5, values: 5 }
    expect([may(none, predicate('long', 'is null')), may(all, predicate('long', 'is null'))]).toEqual([false, true])
    expect([may(none, predicate('long', 'is not null')), may(all, predicate('long', 'is not null'))]).toEqual([
      true,
      false,
    ])
    expect([may(none, predicate('long', '<', 1n)), may(all, predicate('long', '<', 1n))]).toEqual([true, false])
  })

  test('texts by code point, cut on both sides', () => {
    const cut = { lower: Buffer.from('b'), upper: Buffer.from('d') }
    expect(may(cut, predicate('string', 'starts with', 'bz'))).toBe(true)
    expect(may(cut, predicate('string', 'starts with', 'dz'))).toBe(false)
    expect(may(cut, predicate('string', 'starts with', 'd'))).toBe(true)
    expect(may(cut, predicate('string', 'starts with', 'a'))).toBe(false)
    expect(may({ lower: Buffer.from('\u{10000}') }, predicate('string', '<', '\uffff'))).toBe(false)
  })

  test('a date that became a time, and days, are not taken for microseconds', () => {
    const date = { lower: encodeInt(15_000)!, upper: encodeInt(15_001)! }
    expect(may(date, predicate('timestamp', '=', 15_000n * 86_400_000_000n))).toBe(true)
    expect(may(date, predicate('date', '=', 15_000n))).toBe(true)
    expect(may(date, predicate('date', '=', 15_002n))).toBe(false)
  })
})

describe('partitions', () => {
  const spec = (transform: string): PartitionSpec => ({
    'spec-id': 0,
    fields: [{ 'source-id': 6, 'field-id': 1000, name: 'p', transform }],
  })
  const day = (value: number): bigint => BigInt(value) * 86_400_000_000n
  const manifest = (summary: Partial<PartitionSummary> | undefined): ManifestFile =>
    ({
      partitions:
        summary === undefined
          ? null
          : [{ containsNull: false, containsNan: false, lower: null, upper: null, ...summary }],
    }) as unknown as ManifestFile

  test('of a file: each unit, by its own width, a unit more before 1970', () => {
    const at = (transform: string, value: number, time: bigint): boolean => {
      const asked = predicate('timestamptz', '=', time)
      const range = partitionRangeOf({ p: value }, spec(transform), asked)
      return range === undefined || mayMeet(asked, range)
    }
    expect([at('day', dayValue, day(dayValue)), at('day', dayValue, day(dayValue) - 1n)]).toEqual([true, false])
    expect([at('day', dayValue, day(dayValue + 1) - 1n), at('day', dayValue, day(dayValue + 1))]).toEqual([true, false])
    expect([at('hour', 24, day(1)), at('hour', 24, day(1) + 3_600_000_000n)]).toEqual([true, false])
    expect([at('month', 1, day(31)), at('month', 1, day(30)), at('month', 1, day(59))]).toEqual([true, false, false])
    expect([at('year', 1, day(365)), at('year', 1, day(364))]).toEqual([true, false])
    expect([at('day', -1, day(-2)), at('day', 0, day(-1)), at('day', -1, day(-3))]).toEqual([true, true, false])
    expect([at('bucket[4]', 1, 5n), at('truncate[4]', 1, 5n), at('novel', 1, 5n)]).toEqual([true, true, true])
  })

  test('of dates', () => {
    const asked = predicate('date', '>=', 40n)
    expect(mayMeet(asked, partitionRangeOf({ p: 1 }, spec('month'), asked)!)).toBe(true)
    expect(mayMeet(asked, partitionRangeOf({ p: 0 }, spec('month'), asked)!)).toBe(false)
  })

  test('of a manifest: what lies outside its bounds is not in it', () => {
    const bounds = { lower: encodeInt(10)!, upper: encodeInt(20)! }
    const may2 = (summary: Partial<PartitionSummary> | undefined, asked: Predicate, transform = 'day'): boolean =>
      mayHoldManifest(manifest(summary), spec(transform), [asked])
    expect(may2(bounds, predicate('timestamptz', '=', day(10)))).toBe(true)
    expect(may2(bounds, predicate('timestamptz', '=', day(21) - 1n))).toBe(true)
    expect(may2(bounds, predicate('timestamptz', '=', day(21)))).toBe(false)
    expect(may2(bounds, predicate('timestamptz', '<', day(10)))).toBe(false)
    expect(may2(bounds, predicate('timestamptz', 'is null'))).toBe(false)
    expect(may2({ ...bounds, containsNull: true }, predicate('timestamptz', 'is null'))).toBe(true)
    expect(may2({}, predicate('timestamptz', '=', 5n))).toBe(true)
    expect(may2(undefined, predicate('timestamptz', '=', 5n))).toBe(true)
    expect(may2(bounds, predicate('timestamptz', '=', day(21)), 'bucket[16]')).toBe(true)
    expect(mayHoldManifest(manifest(bounds), undefined, [predicate('timestamptz', '=', day(21))])).toBe(true)
    expect(may2({ lower: encodeLong(3n)!, upper: encodeLong(5n)! }, predicate('long', '=', 6n), 'identity')).toBe(false)
    expect(may2({ lower: encodeLong(3n)!, upper: encodeLong(5n)! }, predicate('long', '=', 4n), 'identity')).toBe(true)
    const float = { lower: double(1), upper: double(2), containsNan: null }
    expect(may2(float, predicate('double', '>', 3), 'identity')).toBe(true)
    expect(may2({ ...float, containsNan: false }, predicate('double', '>', 3), 'identity')).toBe(false)
  })

  test('a condition on another column says nothing of partitions', () => {
    const other = { ...predicate('long', '=', 1n), fieldId: 7 }
    const bounds = { lower: encodeInt(10)!, upper: encodeInt(20)! }
    expect(mayHoldManifest(manifest(bounds), spec('day'), [other])).toBe(true)
    expect(partitionRangeOf({ p: 15 }, spec('day'), other)).toBeUndefined()
  })
})
