/** A stream with a column of every type, and what its rows must be for whoever reads them. */
import type { Column, ColumnType } from '../../src/config/plan.ts'
import { streamPlan, type LabEvent } from '../integration/engine-harness.ts'

const decimal = (precision: number, scale: number): ColumnType => ({ kind: 'decimal', precision, scale })
const struct = (...fields: Column[]): ColumnType => ({ kind: 'struct', fields })

/** Spark has no type for a time of day, and refuses a table that has one. */
const timeColumn: Column = { name: 'tm', type: { kind: 'time' } }

const typedColumns: Column[] = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'at', type: { kind: 'timestamptz' } },
  { name: 'b', type: { kind: 'boolean' } },
  { name: 'i', type: { kind: 'int' } },
  { name: 'l', type: { kind: 'long' } },
  { name: 'f', type: { kind: 'float' } },
  { name: 'd', type: { kind: 'double' } },
  { name: 'dec4', type: decimal(4, 2) },
  { name: 'dec18', type: decimal(18, 4) },
  { name: 'dec38', type: decimal(38, 10) },
  { name: 'day', type: { kind: 'date' } },
  { name: 'ts', type: { kind: 'timestamp' } },
  { name: 'tz', type: { kind: 'timestamptz' } },
  { name: 's', type: { kind: 'string' } },
  { name: 'u', type: { kind: 'uuid' } },
  { name: 'bin', type: { kind: 'binary' } },
  { name: 'j', type: { kind: 'json' } },
  {
    name: 'st',
    type: struct({ name: 'a', type: { kind: 'int' } }, { name: 'n', type: struct({ name: 'x', type: decimal(9, 2) }) }),
  },
  { name: 'days', type: { kind: 'list', element: { kind: 'date' } } },
  { name: 'fees', type: { kind: 'map', value: decimal(9, 2) } },
  {
    name: 'parts',
    type: {
      kind: 'list',
      element: struct({ name: 'u', type: { kind: 'uuid' } }, { name: 'b', type: { kind: 'binary' } }),
    },
  },
]

export const typed = streamPlan('typed', { columns: [...typedColumns, timeColumn] })
export const typedForSpark = streamPlan('spark_typed', { columns: typedColumns })

const long = 'x'.repeat(5000)

/**
 * Rows as JSON: whole numbers beyond 2^53, decimals and NaN as text, binary as base64, times in ISO 8601 with microseconds. Events
 * have the same, as the gateway would store them.
 */
const typedRows: Record<string, unknown>[] = [
  {
    id: 'typical',
    at: '2013-10-07T12:00:00.000000Z',
    b: true,
    i: 7,
    l: '42',
    f: 1.5,
    d: 0.1,
    dec4: '1.25',
    dec18: '12345678901234.5678',
    dec38: '1234567890123456789012345678.0123456789',
    day: '2013-10-07',
    ts: '2013-10-07T12:00:00.123456',
    tz: '2013-10-07T12:00:00.123456Z',
    s: 'héllo \u{1f600} "quoted"',
    u: '0191f4a0-0000-7000-8000-000000000001',
    bin: 'AAEC/w==',
    j: '{"a":[1,{"b":null}]}',
    st: { a: 1, n: { x: '1.50' } },
    days: ['2013-10-07', null, '1969-12-31'],
    fees: { a: '1.50', é: null },
    parts: [{ u: '0191f4a0-0000-7000-8000-000000000002', b: 'AA==' }, null],
    tm: '13:30:00.123456',
  },
  {
    id: 'highest',
    at: '2013-10-07T12:00:01.000000Z',
    b: true,
    i: 2147483647,
    l: '9223372036854775807',
    f: 3.4028234663852886e38,
    d: 1.7976931348623157e308,
    dec4: '99.99',
    dec18: '99999999999999.9999',
    dec38: '9999999999999999999999999999.9999999999',
    day: '9999-12-31',
    ts: '9999-12-31T23:59:59.999999',
    tz: '9999-12-31T23:59:59.999999Z',
    s: '\u{10ffff}'.repeat(20),
    u: '7fffffff-ffff-ffff-ffff-ffffffffffff',
    bin: Buffer.alloc(20, 255).toString('base64'),
    j: '[]',
    st: { a: 2147483647, n: { x: '9999999.99' } },
    days: [],
    fees: {},
    parts: [],
    tm: '23:59:59.999999',
  },
  {
    id: 'lowest',
    at: '2013-10-07T12:00:02.000000Z',
    b: false,
    i: -2147483648,
    l: '-9223372036854775808',
    f: -3.4028234663852886e38,
    d: -1.7976931348623157e308,
    dec4: '-99.99',
    dec18: '-99999999999999.9999',
    dec38: '-9999999999999999999999999999.9999999999',
    day: '0001-01-01',
    ts: '0001-01-01T00:00:00.000000',
    tz: '0001-01-01T00:00:00.000000Z',
    s: '',
    u: '00000000-0000-0000-0000-000000000000',
    bin: '',
    j: '""',
    st: { a: -2147483648, n: { x: '-9999999.99' } },
    days: ['0001-01-01'],
    fees: { '': '-0.01' },
    parts: [{ u: null, b: null }],
    tm: '00:00:00.000000',
  },
  {
    id: 'nulls',
    at: '2013-10-07T12:00:03.000000Z',
    b: null,
    i: null,
    l: null,
    f: null,
    d: null,
    dec4: null,
    dec18: null,
    dec38: null,
    day: null,
    ts: null,
    tz: null,
    s: null,
    u: null,
    bin: null,
    j: null,
    st: null,
    days: null,
    fees: null,
    parts: null,
    tm: null,
  },
  {
    id: 'odd',
    at: '2013-10-07T12:00:04.000000Z',
    b: false,
    i: 0,
    l: '9007199254740993',
    f: 'NaN',
    d: 'NaN',
    dec4: '0.00',
    dec18: '0.0001',
    dec38: '-0.0000000001',
    day: '1969-12-31',
    ts: '1969-12-31T23:59:59.999999',
    tz: '1969-12-31T23:59:59.999999Z',
    s: long,
    u: 'ffffffff-ffff-4fff-bfff-ffffffffffff',
    bin: 'eHl6',
    j: '{"n":9007199254740993}',
    st: { a: null, n: null },
    days: [null],
    fees: { k: '0.00' },
    parts: [null],
    tm: '12:00:00.000000',
  },
  {
    id: 'endless',
    at: '2013-10-07T12:00:05.000000Z',
    b: true,
    i: 1,
    l: '1',
    f: 'Infinity',
    d: '-Infinity',
    dec4: '0.01',
    dec18: '-0.0001',
    dec38: '0.0000000000',
    day: '1970-01-01',
    ts: '1970-01-01T00:00:00.000000',
    tz: '1970-01-01T00:00:00.000000Z',
    s: `${long}y`,
    u: '80000000-0000-0000-0000-000000000000',
    bin: 'AA==',
    j: '0.1',
    st: { a: 0, n: { x: null } },
    days: ['9999-12-31'],
    fees: { k: null },
    parts: [{ u: '80000000-0000-0000-0000-000000000000', b: '' }],
    tm: '00:00:00.000001',
  },
]

/** The rows for a stream with these columns. */
export function rowsFor(columns: readonly Column[]): Record<string, unknown>[] {
  return typedRows.map((row) => Object.fromEntries(columns.map(({ name }) => [name, row[name]])))
}

/** The rows as events. JSON is a value in an event; whole numbers are written with all their digits. */
export function eventsFor(columns: readonly Column[]): LabEvent[] {
  return rowsFor(columns).map((row) => {
    const members = columns.map(({ name, type }) => {
      const value = row[name]
      const bare = type.kind === 'long' || type.kind === 'json'
      return `${JSON.stringify(name)}:${typeof value === 'string' && bare ? value : JSON.stringify(value)}`
    })
    return { id: String(row['id']), time: String(row['at']), raw: `{${members.join(',')}}` }
  })
}
