import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Column, ColumnType } from '../config/plan.ts'
import { castTo, mergeColumns, sameColumns, sameType, storedType, widen } from './columns.ts'

const kind = (name: 'boolean' | 'long' | 'double' | 'string' | 'timestamptz' | 'date' | 'json'): ColumnType => ({
  kind: name,
})
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
    fc
      .constantFrom('boolean', 'long', 'double', 'string', 'timestamptz', 'date', 'json')
      .map((one): ColumnType => ({ kind: one })),
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
