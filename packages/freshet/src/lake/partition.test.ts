import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  createSpec,
  daysFromCivil,
  parsePartitionText,
  partitionFolder,
  partitionRange,
  partitionText,
  partitionValueAt,
  timePartitionOf,
} from './partition.ts'
import { createSchema, tableColumns } from './schema.ts'

const units = fc.constantFrom('hour' as const, 'day' as const, 'month' as const)
/** From the year -9999 to 19999, microseconds. */
const times = fc.bigInt({ min: -377_000_000_000_000_000n, max: 568_000_000_000_000_000n })
const at = (text: string): bigint => BigInt(Date.parse(text)) * 1000n

describe('time partitions', () => {
  test('values are whole hours, days and months since 1970', () => {
    const time = at('2013-10-07T13:30:00.123Z')
    expect(partitionValueAt('hour', time)).toBe(383_653)
    expect(partitionValueAt('day', time)).toBe(15_985)
    expect(partitionValueAt('month', time)).toBe(525)
  })

  test('times before 1970 round down', () => {
    expect(partitionValueAt('hour', -1n)).toBe(-1)
    expect(partitionValueAt('day', -1n)).toBe(-1)
    expect(partitionValueAt('month', -1n)).toBe(-1)
    expect(partitionText('hour', -1)).toBe('1969-12-31-23')
    expect(partitionText('month', -1)).toBe('1969-12')
  })

  test('a time lies in the range of its partition', () => {
    fc.assert(
      fc.property(units, times, (unit, time) => {
        const { from, to } = partitionRange(unit, partitionValueAt(unit, time))
        expect(from <= time && time < to).toBe(true)
      }),
    )
  })

  test('ranges follow one another without a gap, and texts read back', () => {
    fc.assert(
      fc.property(units, fc.integer({ min: -100_000, max: 1_000_000 }), (unit, value) => {
        expect(partitionRange(unit, value).to).toBe(partitionRange(unit, value + 1).from)
        expect(partitionValueAt(unit, partitionRange(unit, value).from)).toBe(value)
        expect(parsePartitionText(unit, partitionText(unit, value))).toBe(value)
      }),
    )
  })

  test('days agree with the calendar of Date', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date('0001-01-01T00:00:00Z'), max: new Date('9999-12-31T00:00:00Z'), noInvalidDate: true }),
        (date) => {
          const days = Math.floor(date.getTime() / 86_400_000)
          expect(daysFromCivil(date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate())).toBe(days)
          expect(partitionText('day', days)).toBe(date.toISOString().slice(0, 10))
        },
      ),
    )
  })

  test('texts of another unit or of no real date are not values', () => {
    expect(parsePartitionText('day', '2013-10-07-13')).toBeUndefined()
    expect(parsePartitionText('hour', '2013-10-07-25')).toBeUndefined()
    expect(parsePartitionText('day', '2013-02-30')).toBeUndefined()
    expect(parsePartitionText('month', '2013-13')).toBeUndefined()
    expect(parsePartitionText('day', 'null')).toBeUndefined()
  })

  test('the spec says how it cuts and names its folders', () => {
    const { schema } = createSchema(tableColumns([]))
    const spec = createSpec({ by: 'received_at', unit: 'hour' }, schema)
    expect(spec).toEqual({
      'spec-id': 0,
      fields: [{ 'source-id': 3, 'field-id': 1000, name: '_received_at_hour', transform: 'hour' }],
    })
    const partition = timePartitionOf(spec, schema)!
    expect(partition).toEqual({ column: '_received_at', unit: 'hour', name: '_received_at_hour' })
    expect(partitionFolder(partition, 383_653)).toBe('_received_at_hour=2013-10-07-13')
    expect(partitionFolder(partition, null)).toBe('_received_at_hour=null')
    expect(timePartitionOf({ 'spec-id': 1, fields: [] }, schema)).toBeUndefined()
  })
})
