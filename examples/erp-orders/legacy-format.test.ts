import { expect, test } from 'vitest'
import { schemas, streamNames } from './entities.ts'
import { changesOf } from './erp.ts'
import { legacyBatch, legacyRecord, readBatch } from './legacy-format.ts'
import { readNorthwind } from './northwind.ts'

const change = { change_id: 'c', changed_at: '2026-11-26T08:30:15.250Z', change: 'updated' } as const

test('a record has its fields at their places', () => {
  const record = legacyRecord.order_lines({
    ...change,
    order_id: 10248,
    line_no: 2,
    product_id: 42,
    product: 'Singaporean Hokkien Fried Mee',
    quantity: 10,
    unit_price: '9.80',
    discount_percent: 5,
    amount: '93.10',
  })
  expect(record).toBe(
    'OLC20261126083015' +
      '00010248002000042' +
      'SINGAPOREAN HOKKIEN FRIED MEE           ' +
      '000010' +
      '000000000980' +
      '005' +
      '000000009310',
  )
})

test('text is in capital ASCII letters, cut and filled to its width', () => {
  const address = {
    address: 'Åkergatan 24',
    city: 'São Bräcke-Groß',
    region: null,
    postal_code: '12Ł',
    country: '日本',
  }
  const record = legacyRecord.shipping_addresses({
    ...change,
    address_id: 'X-1',
    customer_id: 'X',
    name: 'Røgede',
    ...address,
  })
  expect(record.slice(17)).toBe(
    `${'X-1'.padEnd(10)}X    ${'ROGEDE'.padEnd(60)}${'AKERGATAN 24'.padEnd(60)}SAO BRACKE-GROS${' '.repeat(15)}12L       ??${' '.repeat(13)}`,
  )
})

test('all records of a stream have the same width, and are made without loss of digits', () => {
  const widths = new Map<string, Set<number>>(streamNames.map((name) => [name, new Set()]))
  for (const { stream, event } of changesOf(readNorthwind())) {
    const make = legacyRecord[stream] as (event: unknown) => string
    widths.get(stream)!.add(make(schemas[stream].parse(event)).length)
  }
  for (const [stream, found] of widths) expect(found.size, stream).toBe(1)
})

test.each([
  ['1234.50', '000000123450'],
  ['1234.5', '000000123450'],
  ['7', '000000000700'],
  ['0.05', '000000000005'],
  ['9999999999.99', '999999999999'],
])('the amount %s is %s cents', (amount, cents) => {
  const record = legacyRecord.estimates({ ...change, order_id: 1, quote_number: 'Q', quote_version: 1, amount })
  expect(record.slice(-12)).toBe(cents)
})

test('a number that is too large for its field is refused', () => {
  const event = { ...change, order_id: 123_456_789, quote_number: 'Q', quote_version: 1, amount: '1.00' }
  expect(() => legacyRecord.estimates(event)).toThrow('123456789 has more than 8 digits')
})

test('a batch has its records between header and trailer', () => {
  const batch = legacyBatch('orders', 7, ['ORA1', 'ORA2'])
  expect(batch).toBe('HDORORDERS              00000007\r\nORA1\r\nORA2\r\nTROR00000002\r\n')
  expect(readBatch(batch)).toEqual({ sequence: 7, records: ['ORA1', 'ORA2'] })
  expect(readBatch(legacyBatch('orders', 8, []))).toEqual({ sequence: 8, records: [] })
})

test.each([
  ['cut in a record', 44],
  ['without its trailer', 46],
  ['without its last line end', -2],
  ['empty', 0],
])('a batch that is %s is noticed', (_, end) => {
  expect(() => readBatch(legacyBatch('orders', 7, ['ORA1', 'ORA2']).slice(0, end))).toThrow('a batch is not whole')
})
