import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { SqlTable } from '../sql/sql-target.ts'
import { faultOf } from './faults.ts'
import { createTable, insert, quote, remove, textArray, update } from './statements.ts'
import { castFor, takes } from './types.ts'

/** Reads a list of texts by the rules of PostgreSQL's manual, "Array Input and Output Syntax". */
function readArray(list: string): (string | null)[] {
  const elements = list.slice(1, -1).match(/"(?:[^"\\]|\\[^])*"|NULL/g) ?? []
  return elements.map((one) => (one === 'NULL' ? null : one.slice(1, -1).replace(/\\([^])/g, '$1')))
}

const table: SqlTable = {
  name: { schema: 'sh"op', name: 'orders' },
  columns: [
    { field: 'id', name: 'id', type: 'character varying(5)', form: 'text', key: true, changes: false },
    { field: 'n', name: 'n', type: 'numeric(9,2)', form: 'number', key: false, changes: true },
    { field: 'raw', name: 'raw', type: 'bytea', form: 'binary', key: false, changes: true },
  ],
  newest: undefined,
  mode: 'upsert',
  exactKeys: true,
}
const rows = [{ index: 0, values: ['a', '1', null] }]

describe('statements for PostgreSQL', () => {
  test('have names quoted, whatever is in them', () => {
    fc.assert(
      fc.property(fc.string(), (name) => {
        const inner = quote(name).slice(1, -1)
        expect(inner.replaceAll('""', '')).not.toContain('"')
        expect(inner.replaceAll('""', '"')).toBe(name)
      }),
    )
    expect(insert(table, rows, { repeats: false }).text).toContain('INSERT INTO "sh""op"."orders" AS t')
  })

  test('have values as parameters, which PostgreSQL reads as they were', () => {
    fc.assert(
      fc.property(
        fc.array(fc.option(fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('NULL', '"\\', '{a,b}', '')))),
        (texts) => {
          expect(readArray(textArray(texts))).toEqual(texts)
        },
      ),
    )
    expect(insert(table, rows, { repeats: false }).values).toEqual(['{"a"}', '{"1"}', '{NULL}'])
  })

  test('cast to no length, which would cut values silently', () => {
    const { text } = insert(table, rows, { repeats: false })
    expect(text).toContain('$1::character varying[], $2::numeric(9,2)[], $3::text[]')
    expect(text).toContain("decode(v2, 'base64')")
    expect(castFor('character(3)')).toBe('bpchar')
    expect(castFor('bit(3)')).toBe('bit varying')
  })

  test('change only what an event changes, and leave newer rows alone', () => {
    const columns = table.columns.map((column) => ({ ...column, changes: column.name === 'n' }))
    const guarded = { ...table, columns, newest: 1 }
    expect(insert(guarded, rows, { repeats: true }).text).toMatch(
      /DISTINCT ON \("id"\).*ORDER BY "id", "n" DESC NULLS LAST, "n_" DESC\) d ON CONFLICT \("id"\) DO UPDATE SET "n" = excluded."n" WHERE \(t."n" IS NULL OR excluded."n" >= t."n"\)$/,
    )
    expect(update(guarded, rows, { repeats: false }).text).toMatch(
      /SET "n" = d."n" FROM .* WHERE t."id" = d."id" AND \(t."n" IS NULL/,
    )
    expect(remove(table, rows).text).toMatch(/^DELETE FROM "sh""op"."orders" t USING \(.*\) d WHERE t."id" = d."id"$/)
    const keyOnly = { ...table, columns: table.columns.slice(0, 1) }
    expect(insert(keyOnly, rows, { repeats: false }).text).toContain('DO NOTHING')
  })

  test('make a table by the declared types, or those that the user says', () => {
    const wanted = [
      { field: 'id', name: 'id', declared: { kind: 'long' as const }, type: undefined, key: true },
      {
        field: 'm',
        name: 'm',
        declared: { kind: 'decimal' as const, precision: 9, scale: 2 },
        type: undefined,
        key: false,
      },
      { field: 's', name: 's', declared: undefined, type: 'shop.status', key: false },
    ]
    expect(createTable({ name: 't' }, wanted)).toBe(
      'CREATE TABLE IF NOT EXISTS "t" (\n  "id" bigint NOT NULL,\n  "m" numeric(9,2),\n  "s" shop.status,\n  PRIMARY KEY ("id")\n)',
    )
  })
})

describe('types of PostgreSQL', () => {
  test('take what fits into them, and nothing that would lose something', () => {
    const decimal = { kind: 'decimal' as const, precision: 10, scale: 2 }
    expect(takes('numeric(12,4)', decimal)).toBe(true)
    expect(takes('numeric(12,3)', { ...decimal, scale: 4 })).toBe(false)
    expect(takes('numeric(10,4)', decimal)).toBe(false)
    expect(takes('integer', { kind: 'long' })).toBe(false)
    expect(takes('bigint', { kind: 'int' })).toBe(true)
    expect(takes('timestamp(3) with time zone', { kind: 'timestamptz' })).toBe(true)
    expect(takes('timestamp without time zone', { kind: 'timestamptz' })).toBe(false)
  })
})

test('errors are held against events, the connection or the target', () => {
  const fault = (code: string | undefined): string =>
    faultOf(Object.assign(new Error('x'), code === undefined ? {} : { code }))
  expect(['22P02', '23505', '23502'].map(fault)).toEqual(['events', 'events', 'events'])
  expect([undefined, 'ECONNRESET', '57P01', '08006'].map(fault)).toEqual(Array(4).fill('connection'))
  expect(['40001', '40P01', '42P01', '57014', '53300'].map(fault)).toEqual(Array(5).fill('target'))
})
