import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Column } from '../config/plan.ts'
import { columnsMax, emptyObjectProbe, inferColumns, withoutEmptyObjects } from './infer.ts'

const text = { kind: 'string' } as const
const long = { kind: 'long' } as const
const none: ReadonlySet<string> = new Set()

const infer = (structure: unknown, known: Column[] = [], fixed = none): ReturnType<typeof inferColumns> =>
  inferColumns(known, JSON.stringify(structure), fixed)

describe('inferColumns', () => {
  test('takes each kind of value for a type', () => {
    const structure = {
      a: 'BOOLEAN',
      b: 'UBIGINT',
      c: 'BIGINT',
      d: 'DOUBLE',
      e: 'VARCHAR',
      f: 'JSON',
      g: ['UBIGINT'],
      h: { i: ['VARCHAR'] },
    }
    expect(infer(structure).columns).toEqual([
      { name: 'a', type: { kind: 'boolean' } },
      { name: 'b', type: long },
      { name: 'c', type: long },
      { name: 'd', type: { kind: 'double' } },
      { name: 'e', type: text },
      { name: 'f', type: text },
      { name: 'g', type: { kind: 'list', element: long } },
      { name: 'h', type: { kind: 'struct', fields: [{ name: 'i', type: { kind: 'list', element: text } }] } },
    ])
  })

  test('leaves out what has no type yet, and frame lines', () => {
    expect(
      infer({ a: 'NULL', b: ['NULL'], c: { d: 'NULL' }, _frame: { bytes: 'UBIGINT' }, _crc: 'UBIGINT' }).columns,
    ).toEqual([])
  })

  test('leaves settled columns alone', () => {
    const known: Column[] = [
      { name: '_event_id', type: text },
      { name: 'price', type: long },
    ]
    const { columns, refused } = infer(
      { _event_id: 'UBIGINT', price: 'VARCHAR', n: 'UBIGINT' },
      known,
      new Set(['_event_id', 'price']),
    )
    expect(columns).toEqual([...known, { name: 'n', type: long }])
    expect(refused.size).toBe(0)
  })

  test('refuses a second spelling, whichever comes later', () => {
    expect([...infer({ Name: 'VARCHAR', name: 'VARCHAR' }).refused.keys()]).toEqual(['name'])
    expect([...infer({ NAME: 'VARCHAR' }, [{ name: 'name', type: text }]).refused.keys()]).toEqual(['NAME'])
    expect([...infer({ At: 'VARCHAR' }, [], new Set(['at'])).refused.keys()]).toEqual(['At'])
  })

  test('turns an object whose fields differ only in case, or have unusable names, into text', () => {
    expect(infer({ o: { a: 'UBIGINT', A: 'UBIGINT' } }).columns).toEqual([{ name: 'o', type: text }])
    expect(infer({ o: { '': 'UBIGINT' } }).columns).toEqual([{ name: 'o', type: text }])
    const many = Object.fromEntries(Array.from({ length: 201 }, (_, index) => [`f${index}`, 'UBIGINT']))
    expect(infer({ o: many }).columns).toEqual([{ name: 'o', type: text }])
  })

  test.each([
    ['', 'empty'],
    ['a\nb', 'a control character'],
    ['x'.repeat(256), 'too long'],
  ])('refuses the name %j: %s', (name) => {
    const { columns, refused } = infer({ [name]: 'UBIGINT', good: 'UBIGINT' })
    expect(columns).toEqual([{ name: 'good', type: long }])
    expect([...refused.keys()]).toEqual([name])
  })

  test('takes names that look like SQL', () => {
    const names = ['select', 'a"b', "it's", 'a.b', 'a b', '日本', '--', '$x', '__proto__']
    const structure = `{${names.map((name) => `${JSON.stringify(name)}:"UBIGINT"`).join()}}`
    expect(inferColumns([], structure, none).columns.map(({ name }) => name)).toEqual(names)
  })

  test('stops at the most columns', () => {
    const known = Array.from({ length: columnsMax }, (_, index): Column => ({ name: `c${index}`, type: long }))
    const { columns, refused } = infer({ c0: 'DOUBLE', more: 'UBIGINT' }, known)
    expect(columns).toHaveLength(columnsMax)
    expect(columns[0]).toEqual({ name: 'c0', type: { kind: 'double' } })
    expect([...refused.keys()]).toEqual(['more'])
  })

  test('gives nothing for a batch without objects', () => {
    expect(infer('NULL').columns).toEqual([])
  })
})

describe('empty objects', () => {
  let connection: DuckDBConnection
  beforeAll(async () => {
    connection = await (await DuckDBInstance.create(':memory:')).connect()
  })
  afterAll(() => connection.closeSync())

  async function structureOf(lines: readonly string[]): Promise<string> {
    const rows = lines.map((line) => `('${line}'::JSON)`).join(', ')
    const result = await connection.runAndReadAll(`SELECT json_group_structure(j) FROM (VALUES ${rows}) t(j)`)
    return result.getRows()[0]![0] as string
  }

  async function columnsOf(lines: readonly string[], known: Column[] = []): Promise<Column[]> {
    const structure = await structureOf(lines)
    const probe = emptyObjectProbe(known, structure, none)
    const settled =
      probe === undefined ? structure : withoutEmptyObjects(structure, await structureOf([...lines, probe]))
    return inferColumns(known, settled, none).columns
  }

  const a: Column = { name: 'o', type: { kind: 'struct', fields: [{ name: 'a', type: long }] } }

  test.each<[string[], Column[], Column[]]>([
    [['{"o":{}}'], [], []],
    [['{"o":{}}', '{"o":null}'], [], []],
    [['{"o":{}}'], [a], [a]],
    [['{"o":{}}', '{"o":{"a":1}}'], [], [a]],
    [['{"o":{}}', '{"o":1}'], [], [{ name: 'o', type: text }]],
    [['{"o":{}}', '{"o":[]}'], [], [{ name: 'o', type: text }]],
    [['{"o":1}', '{"o":"x"}'], [], [{ name: 'o', type: text }]],
    [['{"o":{"p":{}}}'], [], []],
    [['{"o":{"p":{},"a":1}}'], [], [a]],
    [['{"o":[{}]}'], [], []],
    [['{"o":[{},{"a":1}]}'], [], [{ name: 'o', type: { kind: 'list', element: a.type } }]],
    [['{"o":{}}'], [{ name: 'o', type: long }], [{ name: 'o', type: text }]],
    [['{"o":{}}'], [{ name: 'o', type: text }], [{ name: 'o', type: text }]],
    [['{"o":{"_":1}}', '{"o":{}}'], [], [{ name: 'o', type: { kind: 'struct', fields: [{ name: '_', type: long }] } }]],
  ])('%j on %j give %j', async (lines, known, columns) => {
    expect(await columnsOf(lines, known)).toEqual(columns)
  })
})
