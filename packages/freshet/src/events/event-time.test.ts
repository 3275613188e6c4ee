import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTimeReader, isoToUtc } from './event-time.ts'
import { Refusal } from './refusal.ts'

const pad = (value: number, width = 2): string => String(value).padStart(width, '0')

describe('ISO times', () => {
  test.each([
    ['2026-11-20T12:00:00Z', '2026-11-20T12:00:00Z'],
    ['2026-11-20T12:00:00.5Z', '2026-11-20T12:00:00.5Z'],
    ['2026-11-20T12:00:00.123456Z', '2026-11-20T12:00:00.123456Z'],
    ['2026-11-20T12:00:00.123456789Z', '2026-11-20T12:00:00.123456Z'],
    ['2026-11-20T12:00Z', '2026-11-20T12:00:00Z'],
    ['2026-11-20t12:00:00z', '2026-11-20T12:00:00Z'],
    ['2026-11-20 12:00:00Z', '2026-11-20T12:00:00Z'],
    ['2026-01-01T00:30:00.000001+01:00', '2025-12-31T23:30:00.000001Z'],
    ['2024-02-28T23:59:59.9-00:01', '2024-02-29T00:00:59.9Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
    ['9999-12-31T23:59:59.999999Z', '9999-12-31T23:59:59.999999Z'],
  ])('%s is stored as %s', (text, stored) => {
    expect(isoToUtc(text)).toBe(stored)
  })

  test.each([
    ['2026-02-29T00:00:00Z', /day/],
    ['1900-02-29T00:00:00Z', /day/],
    ['2026-04-31T00:00:00Z', /day/],
    ['2026-13-01T00:00:00Z', /month/],
    ['2026-00-01T00:00:00Z', /month/],
    ['2026-01-01T24:00:00Z', /hour/],
    ['2026-01-01T00:60:00Z', /minute/],
    ['2026-01-01T00:00:60Z', /leap second/],
    ['2026-01-01T00:00:61Z', /second/],
    ['0000-01-01T00:00:00Z', /0001/],
    ['0001-01-01T00:00:00+00:01', /0001/],
    ['9999-12-31T23:59:59-00:01', /9999/],
    ['2026-01-01T00:00:00', /offset/],
    ['2026-01-01T00:00:00.', /ISO/],
    ['2026-01-01T00:00:00.Z', /ISO/],
    ['2026-01-01', /without a time/],
    ['2026-01-01T00:00:00+0100', /ISO/],
    ['2026-01-01T00:00:00+24:00', /ISO/],
    ['yesterday afternoon', /ISO/],
    ['', /ISO/],
    ['２026-01-01T00:00:00Z', /ISO/],
  ])('%s is refused', (text, reason) => {
    expect((isoToUtc(text) as Refusal).reason).toMatch(reason)
  })

  test('agrees with Date on any valid time and offset, to the microsecond', () => {
    const time = fc.record({
      ms: fc.integer({ min: Date.UTC(100, 0, 1), max: Date.UTC(9998, 0, 1) }),
      micros: fc.integer({ min: 0, max: 999 }),
      offset: fc.integer({ min: -23 * 60 - 59, max: 23 * 60 + 59 }),
    })
    fc.assert(
      fc.property(time, ({ ms, micros, offset }) => {
        const local = new Date(ms + offset * 60_000).toISOString().slice(0, -1) + pad(micros, 3)
        const zone = `${offset < 0 ? '-' : '+'}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`
        expect(isoToUtc(local + zone)).toBe(`${new Date(ms).toISOString().slice(0, -1)}${pad(micros, 3)}Z`)
      }),
    )
  })

  test('whatever is accepted is a real time in the stored form', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^\d{4}-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-6]\d(:[0-6]\d(\.\d{1,9})?)?(Z|z|[+-][0-2]\d:\d\d)?$/),
        (text) => {
          const stored = isoToUtc(text)
          if (stored instanceof Refusal) return
          expect(stored).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/)
          const date = new Date(stored)
          expect(date.toISOString().slice(0, 19)).toBe(stored.slice(0, 19))
        },
      ),
      { numRuns: 2000 },
    )
  })
})

describe('times as numbers', () => {
  const read = (unit: 's' | 'ms' | 'us', value: unknown): unknown => createTimeReader({ field: 'at', unit })(value)

  test.each([
    ['s', 0, '1970-01-01T00:00:00Z'],
    ['s', 1_700_000_000, '2023-11-14T22:13:20Z'],
    ['s', 1_700_000_000.123456, '2023-11-14T22:13:20.123456Z'],
    ['s', -0.000001, '1969-12-31T23:59:59.999999Z'],
    ['s', 0.9999999, '1970-01-01T00:00:01Z'],
    ['ms', 1_700_000_000_123, '2023-11-14T22:13:20.123Z'],
    ['ms', -1, '1969-12-31T23:59:59.999Z'],
    ['us', 1_700_000_000_123_456, '2023-11-14T22:13:20.123456Z'],
    ['s', 253_402_300_799, '9999-12-31T23:59:59Z'],
    ['s', -62_135_596_800, '0001-01-01T00:00:00Z'],
  ] as const)('%s %d', (unit, value, stored) => {
    expect(read(unit, value)).toBe(stored)
  })

  test.each([
    ['s', 253_402_300_800],
    ['s', 1_700_000_000_000],
    ['ms', -62_135_596_800_001],
    ['us', 1e300],
    ['s', '1700000000'],
    ['s', null],
    ['s', Number.POSITIVE_INFINITY],
  ] as const)('%s %s is refused', (unit, value) => {
    expect(read(unit, value)).toBeInstanceOf(Refusal)
  })

  test('every whole microsecond from 1900 to 2200 is kept', () => {
    const micros = fc.integer({ min: -2_208_988_800_000_000, max: 7_258_118_400_000_000 })
    fc.assert(
      fc.property(micros, (value) => {
        const ms = Math.floor(value / 1000)
        const text = new Date(ms).toISOString().slice(0, 23) + pad(value - ms * 1000, 3)
        expect(
          String(read('us', value))
            .replace('Z', '')
            .replace(/(T\d\d:\d\d:\d\d)$/, '$1.')
            .replace(/\.\d*$/, (part) => part.padEnd(7, '0')),
        ).toBe(text)
      }),
    )
  })
})
