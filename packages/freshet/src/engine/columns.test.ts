import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Column, ColumnType } from '../config/plan.ts'
import { castTo, mergeColumns, readJson, sameColumns, sameType, storedSelect, storedType, widen } from './columns.ts'

const plainKinds = [
  'boolean',
  'int',
  'long',
  'float',
  'double',
  'string',
  'timestamptz',
  'timestamp',
  'date',
  'time',
  'uuid',
  'binary',
  'json',
] as const
const kind = (name: (typeof plainKinds)[number]): ColumnType => ({ kind: name })
const decimal = (precision: number, scale: number): ColumnType => ({ kind: 'decimal', precision, scale })
const list = (element: ColumnType): ColumnType => ({ kind: 'list', element })
const map = (value: ColumnType): ColumnType => ({ kind: 'map', value })
const struct = (fields: Record<string, ColumnType>): ColumnType => ({
  kind: 'struct',
  fields: Object.entries(fields).map(([name, type]) => ({ name, type })),
})

describe('widen', () => {
  test.each<[ColumnType, ColumnType, ColumnType]>([
    [kind('long'), kind('long'), kind('long')],
    [kind('long'), kind('double'), kind('double')],
    [kind('long'), kind('string'), kind('string')],
    [kind('int'), kind('long'), kind('long')],
    [kind('int'), kind('float'), kind('double')],
    [kind('float'), kind('double'), kind('double')],
    [decimal(4, 2), decimal(9, 2), decimal(9, 2)],
    [decimal(4, 2), decimal(9, 0), decimal(11, 2)],
    [decimal(38, 20), decimal(38, 0), kind('string')],
    [decimal(4, 2), kind('double'), kind('string')],
    [kind('timestamp'), kind('timestamptz'), kind('string')],
    [kind('uuid'), kind('string'), kind('string')],
    [kind('boolean'), kind('long'), kind('string')],
    [kind('timestamptz'), kind('string'), kind('string')],
    [kind('timestamptz'), kind('date'), kind('string')],
    [kind('json'), kind('string'), kind('json')],
    [kind('json'), struct({ a: kind('long') }), kind('json')],
    [struct({ a: kind('long') }), kind('long'), kind('string')],
    [list(kind('long')), kind('long'), kind('string')],
    [list(kind('long')), list(kind('double')), list(kind('double'))],
    [list(kind('long')), struct({ a: kind('long') }), kind('string')],
    [map(kind('long')), map(kind('string')), map(kind('string'))],
    [struct({ a: kind('long') }), struct({ b: kind('string') }), struct({ a: kind('long'), b: kind('string') })],
    [
      struct({ a: kind('long') }),
      struct({ a: kind('string'), b: kind('long') }),
      struct({ a: kind('string'), b: kind('long') }),
    ],
  ])('%j and %j make %j', (a, b, both) => {
    expect(widen(a, b)).toEqual(both)
  })
})

const name = fc.constantFrom('a', 'b', 'c')
const { type: anyType } = fc.letrec<{ type: ColumnType; struct: ColumnType }>((tie) => ({
  type: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(...plainKinds).map((one): ColumnType => ({ kind: one })),
    fc.constantFrom(decimal(4, 2), decimal(9, 0), decimal(18, 4), decimal(38, 20)),
    fc.constantFrom<ColumnType>({ kind: 'fixed', length: 4 }, { kind: 'fixed', length: 16 }),
    tie('type').map(list),
    tie('type').map(map),
    tie('struct'),
  ),
  struct: fc
    .uniqueArray(fc.record({ name, type: tie('type') }), {
      minLength: 1,
      maxLength: 3,
      selector: (field) => field.name,
    })
    .map((fields): ColumnType => ({ kind: 'struct', fields })),
}))
const columns: fc.Arbitrary<Column[]> = fc.uniqueArray(fc.record({ name, type: anyType }), {
  maxLength: 3,
  selector: (column) => column.name,
})

describe('merged columns', () => {
  test('hold both: merging one of them again changes nothing', () => {
    fc.assert(
      fc.property(columns, columns, (a, b) => {
        const both = mergeColumns(a, b)
        expect(sameColumns(mergeColumns(both, a), both)).toBe(true)
        expect(sameColumns(mergeColumns(both, b), both)).toBe(true)
        expect(both.slice(0, a.length).map((column) => column.name)).toEqual(a.map((column) => column.name))
      }),
      { numRuns: 1000 },
    )
  })

  test('do not depend on the order of the batches, but for their own order', () => {
    const canonical = (type: ColumnType): ColumnType => {
      if (type.kind === 'list') return list(canonical(type.element))
      if (type.kind === 'map') return map(canonical(type.value))
      if (type.kind !== 'struct') return type
      const fields = type.fields.map((field) => ({ name: field.name, type: canonical(field.type) }))
      return { kind: 'struct', fields: fields.toSorted((x, y) => (x.name < y.name ? -1 : 1)) }
    }
    fc.assert(
      fc.property(anyType, anyType, (a, b) => {
        expect(canonical(widen(a, b))).toEqual(canonical(widen(b, a)))
      }),
      { numRuns: 1000 },
    )
  })
})

describe('in DuckDB', () => {
  let connection: DuckDBConnection

  beforeAll(async () => {
    connection = await (await DuckDBInstance.create(':memory:')).connect()
  })
  afterAll(() => connection.closeSync())

  test('every type can be cast to what it widens to', async () => {
    await fc.assert(
      fc.asyncProperty(anyType, anyType, async (a, b) => {
        const both = widen(a, b)
        for (const from of [a, b]) {
          const sql = `SELECT typeof(${castTo('v', from, both)}) = typeof(CAST(NULL AS ${storedType(both)})) FROM (SELECT CAST(NULL AS ${storedType(from)}) AS v)`
          expect((await connection.runAndReadAll(sql)).getRows(), sql).toEqual([[true]])
        }
      }),
      { numRuns: 300 },
    )
  })

  test.each<[string, ColumnType, ColumnType, string]>([
    ['7::bigint', kind('long'), kind('string'), '7'],
    ['true', kind('boolean'), kind('string'), 'true'],
    ["{'a': 1::bigint}", struct({ a: kind('long') }), kind('string'), '{"a":1}'],
    ['[1::bigint]', list(kind('long')), kind('json'), '[1]'],
    ["'x'", kind('string'), kind('json'), '"x"'],
    ["'\\x00\\xFF'::blob", kind('binary'), kind('string'), 'AP8='],
    ["'\\x00\\xFF'::blob", kind('binary'), kind('json'), '"AP8="'],
    ['1.50::decimal(4, 2)', decimal(4, 2), kind('string'), '1.50'],
    ["time '10:00:00.5'", kind('time'), kind('string'), '10:00:00.5'],
  ])('%s keeps its value', async (value, from, to, text) => {
    const result = await connection.runAndReadAll(`SELECT ${castTo('v', from, to)} FROM (SELECT ${value} AS v)`)
    expect(result.getRows()).toEqual([[text]])
  })

  test('null stays null whatever it is cast to', async () => {
    await fc.assert(
      fc.asyncProperty(anyType, anyType, async (a, b) => {
        if (sameType(a, widen(a, b))) return
        const sql = `SELECT ${castTo('v', a, widen(a, b))} IS NULL FROM (SELECT CAST(NULL AS ${storedType(a)}) AS v)`
        expect((await connection.runAndReadAll(sql)).getRows(), sql).toEqual([[true]])
      }),
      { numRuns: 200 },
    )
  })
})

describe('values read from JSON lines', () => {
  let connection: DuckDBConnection
  let folder: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'freshet-columns-'))
    connection = await (await DuckDBInstance.create(':memory:')).connect()
    await connection.run("set timezone = 'UTC'")
  })
  afterAll(async () => {
    connection.closeSync()
    await rm(folder, { recursive: true })
  })

  const read = async (type: ColumnType, ...values: string[]): Promise<unknown[]> => {
    const file = join(folder, 'lines.ndjson')
    await writeFile(file, values.map((value) => `{"v":${value}}\n`).join(''))
    const source = readJson(file, [{ name: 'v', type }], 1024 * 1024)
    const sql = `SELECT v, typeof(v) = typeof(CAST(NULL AS ${storedType(type)})) AS fits FROM (SELECT ${storedSelect([{ name: 'v', type }])} FROM ${source})`
    const rows = (await connection.runAndReadAll(sql)).getRowObjectsJson()
    expect(rows.every(({ fits }) => fits === true)).toBe(true)
    return rows.map(({ v }) => v)
  }

  test.each<[ColumnType, string[], unknown[]]>([
    [kind('int'), ['-2147483648', '2147483647', 'null'], [-2147483648, 2147483647, null]],
    [kind('long'), ['9223372036854775807'], ['9223372036854775807']],
    [kind('float'), ['0.1', '"NaN"', '"-Infinity"'], [Math.fround(0.1), 'NaN', '-Infinity']],
    [kind('double'), ['5e-324', '"NaN"', '"Infinity"'], [5e-324, 'NaN', 'Infinity']],
    [
      decimal(38, 10),
      ['"1234567890123456789012345678.0123456789"', '"-0.0000000001"', 'null'],
      ['1234567890123456789012345678.0123456789', '-0.0000000001', null],
    ],
    [
      kind('timestamp'),
      ['"1969-12-31T23:59:59.999999"', '"0001-01-01T00:00:00"'],
      ['1969-12-31 23:59:59.999999', '0001-01-01 00:00:00'],
    ],
    [
      kind('timestamptz'),
      ['"9999-12-31T23:59:59.999999Z"', '"2020-01-01T00:00:00+02:00"'],
      ['9999-12-31 23:59:59.999999+00', '2019-12-31 22:00:00+00'],
    ],
    [kind('date'), ['"0001-01-01"'], ['0001-01-01']],
    [kind('time'), ['"23:59:59.999999"', '"10:00:00Z"', '"10:00"'], ['23:59:59.999999', '10:00:00', '10:00:00']],
    [kind('uuid'), ['"FFFFFFFF-0000-4000-8000-000000000001"'], ['ffffffff-0000-4000-8000-000000000001']],
    [kind('binary'), ['"AP8="', '""', 'null'], ['\\x00\\xFF', '', null]],
    [kind('json'), ['{"a":[1,"x"]}', 'null'], ['{"a":[1,"x"]}', null]],
    [list(decimal(9, 2)), ['["1.5",null]', 'null'], [['1.50', null], null]],
    [list(kind('binary')), ['["AA==",null]', 'null', '[]'], [['\\x00', null], null, []]],
    [
      map(kind('binary')),
      ['{"a":"AA==","b":null}', 'null'],
      [
        [
          { key: 'a', value: '\\x00' },
          { key: 'b', value: null },
        ],
        null,
      ],
    ],
    [
      struct({ a: list(struct({ b: kind('binary'), c: decimal(4, 2), d: kind('json') })) }),
      ['{"a":[{"b":"AA==","c":"1.25","d":{"x":1}},null]}', 'null', '{}'],
      [{ a: [{ b: '\\x00', c: '1.25', d: '{"x":1}' }, null] }, null, { a: null }],
    ],
    [
      struct({ 'a b': kind('binary'), 'c"d': kind('long') }),
      ['{"a b":"AA==","c\\"d":7}'],
      [{ 'a b': '\\x00', 'c"d': '7' }],
    ],
  ])('%j from %j', async (type, values, stored) => {
    expect(await read(type, ...values)).toEqual(stored)
  })
})
