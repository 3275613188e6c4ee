import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Column, ColumnType } from '../../src/config/plan.ts'
import { currentSnapshot } from '../../src/lake/metadata.ts'
import { planScan } from '../../src/lake/scan.ts'
import { pythonWithPyiceberg, runPython } from './python.ts'
import { TableWriter } from './table-writer.ts'

interface Query {
  filter: string | null
  columns: string[] | null
  snapshot: string | null
}

interface Answer {
  schema: [number, string, string, boolean][]
  snapshots: number
  properties: Record<string, string>
  queries: Record<string, { files: number; rows: Record<string, unknown>[] }>
}

const long: ColumnType = { kind: 'long' }
const text: ColumnType = { kind: 'string' }
const point = (...names: string[]): ColumnType => ({
  kind: 'struct',
  fields: names.map((name) => ({ name, type: long })),
})

const columns: Column[] = [
  { name: 'symbol', type: text },
  { name: 'price', type: long },
  { name: 'ratio', type: { kind: 'double' } },
  { name: 'flag', type: { kind: 'boolean' } },
  { name: 'day', type: { kind: 'date' } },
  { name: 'note', type: { kind: 'json' } },
  { name: 'o', type: point('x') },
  { name: 'tags', type: { kind: 'list', element: text } },
  { name: 'attrs', type: { kind: 'map', value: { kind: 'double' } } },
]
const evolved: Column[] = [
  ...columns.map((column): Column => (column.name === 'price' ? { name: 'price', type: { kind: 'double' } } : column)),
  { name: 'venue', type: text },
].map((column): Column => (column.name === 'o' ? { name: 'o', type: point('x', 'y') } : column))

/** Event `i` of the first commits: one every 10 hours from 2013-10-07 00:00 on. */
const system = `'id-' || lpad(i::varchar, 20, '0') as _event_id, timestamptz '2013-10-07 00:00:00+00' + to_hours(10 * i) as _event_time,
  timestamptz '2013-10-07 00:00:00.000001+00' as _received_at, 'nyse' as _source, null::varchar as _tenant`
const own = `chr((65 + i)::int) || repeat('-', 30) as symbol`
const rest = `i / 4.0::double as ratio, case when i % 3 = 0 then null else i % 2 = 0 end as flag, date '2013-10-07' + i::int as day,
  '{"n": ' || i || '}' as note`
const nested = `[case when i = 1 then null else 't' || i end] as tags, map {'k': i::double} as attrs`

describe('pyiceberg reads our tables', () => {
  let folder: string
  let writer: TableWriter
  let answer: Answer
  let firstSnapshot: string

  beforeAll(async () => {
    const python = await pythonWithPyiceberg()
    folder = await mkdtemp(join(tmpdir(), 'freshet-interop-'))
    writer = await TableWriter.create(folder, columns, { by: 'event_time', unit: 'day' })
    await writer.append(
      columns,
      `select ${system}, ${own}, i::bigint as price, ${rest}, {x: i} as o, ${nested} from range(8) r(i)`,
    )
    firstSnapshot = String(currentSnapshot(writer.table.metadata)!['snapshot-id'])
    const second = (
      from: number,
      to: number,
    ): string => `select ${system}, ${own}, i + 0.5::double as price, ${rest}, {x: i, y: -i} as o, ${nested},
      case when i % 2 = 0 then 'ARCA' end as venue from range(${from}, ${to}) r(i)`
    await writer.append(evolved, second(8, 10))
    await writer.append(evolved, undefined)
    await writer.repartition({ by: 'event_time', unit: 'hour' })
    for (let i = 10; i < 18; i++) await writer.append(evolved, second(i, i + 1))
    const q = (filter: string | null, selected: string[] | null = null, snapshot: string | null = null): Query => ({
      filter,
      columns: selected,
      snapshot,
    })
    const queries = {
      all: q(null),
      first: q(null, ['_event_id'], firstSnapshot),
      oneDay: q("_event_time >= '2013-10-08T00:00:00+00:00' and _event_time < '2013-10-09T00:00:00+00:00'", [
        '_event_id',
        '_event_time',
      ]),
      oneHour: q("_event_time >= '2013-10-13T16:00:00+00:00' and _event_time < '2013-10-13T17:00:00+00:00'", [
        '_event_id',
        '_event_time',
      ]),
      symbol: q(`symbol = 'C${'-'.repeat(30)}'`, ['symbol']),
      symbolAbove: q(`symbol > 'P${'-'.repeat(16)}'`, ['symbol']),
      symbolNone: q("symbol < 'A'", ['symbol']),
      id: q("_event_id = 'id-00000000000000000005'", ['_event_id']),
      ratio: q('ratio > 3.9', ['ratio']),
      ratioZero: q('ratio <= 0.0', ['ratio']),
      price: q('price >= 16.5', ['price']),
      former: q('price_v1 = 7', ['_event_id', 'price_v1']),
      flag: q('flag = true', ['_event_id']),
      flagNull: q('flag is null', ['_event_id']),
      date: q("day = '2013-10-12'", ['day']),
      venueNull: q('venue is null', ['_event_id']),
      tenantNotNull: q('_tenant is not null', ['_event_id']),
      nestedField: q('o.y = -12', ['o']),
    }
    answer = await runPython<Answer>(python, 'read_table.py', { metadata: writer.metadataFile, queries })
  }, 300_000)

  afterAll(async () => {
    writer?.close()
    if (folder !== undefined) await rm(folder, { recursive: true })
  })

  const numbers = (query: string): number[] =>
    answer.queries[query]!.rows.map((row) => Number(String(row['_event_id']).slice(3))).toSorted((a, b) => a - b)
  const values = (query: string, column: string): unknown[] =>
    answer.queries[query]!.rows.map((row) => row[column]).toSorted((a, b) => ((a as number) < (b as number) ? -1 : 1))
  const files = (query: string): number => answer.queries[query]!.files

  test('every row of every commit is there, once', () => {
    expect(numbers('all')).toEqual(Array.from({ length: 18 }, (_, i) => i))
    expect(answer.snapshots).toBe(11)
  })

  test('every value is what was written, across the evolution of the schema', () => {
    const expected = Array.from({ length: 18 }, (_, i) => ({
      _event_id: `id-${String(i).padStart(20, '0')}`,
      _event_time: new Date(Date.UTC(2013, 9, 7, 10 * i)).toISOString().replace('Z', '000Z'),
      _received_at: '2013-10-07T00:00:00.000001Z',
      _source: 'nyse',
      _tenant: null,
      symbol: `${String.fromCharCode(65 + i)}${'-'.repeat(30)}`,
      price_v1: i < 8 ? i : null,
      ratio: i / 4,
      flag: i % 3 === 0 ? null : i % 2 === 0,
      day: new Date(Date.UTC(2013, 9, 7 + i)).toISOString().slice(0, 10),
      note: `{"n": ${i}}`,
      o: { x: i, y: i < 8 ? null : i === 0 ? 0 : -i },
      tags: [i === 1 ? null : `t${i}`],
      attrs: [['k', i]],
      price: i < 8 ? null : i + 0.5,
      venue: i >= 8 && i % 2 === 0 ? 'ARCA' : null,
    }))
    const rows = answer.queries['all']!.rows.toSorted((a, b) =>
      String(a['_event_id']) < String(b['_event_id']) ? -1 : 1,
    )
    expect(rows).toEqual(expected)
  })

  test('field ids, types and what is required are as we gave them', () => {
    expect(answer.schema.slice(0, 3)).toEqual([
      [1, '_event_id', 'string', true],
      [2, '_event_time', 'timestamptz', true],
      [3, '_received_at', 'timestamptz', false],
    ])
    expect(answer.schema.find(([, name]) => name === 'price_v1')).toEqual([7, 'price_v1', 'long', false])
    const price = answer.schema.find(([, name]) => name === 'price')!
    expect(price[2]).toBe('double')
    expect(JSON.parse(answer.properties['freshet.former-fields']!)).toEqual({ [price[0]]: [7] })
    expect(answer.properties['freshet.positions']).toBe('{"0":"11000"}')
  })

  test('an earlier snapshot is the table as it was', () => {
    expect(numbers('first')).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  test('a filter on the event time reads the files of its partition only', () => {
    expect(numbers('oneDay')).toEqual([3, 4])
    expect(files('oneDay')).toBe(1)
    expect(numbers('oneHour')).toEqual([16])
    expect(files('oneHour')).toBe(1)
    expect(files('all')).toBe(12)
  })

  test('string bounds, cut to 16 characters, skip files and lose no row', () => {
    expect(answer.queries['symbol']!.rows).toEqual([{ symbol: `C${'-'.repeat(30)}` }])
    expect(files('symbol')).toBe(1)
    expect(values('symbolAbove', 'symbol').map((symbol) => String(symbol)[0])).toEqual(['P', 'Q', 'R'])
    expect(files('symbolAbove')).toBe(3)
    expect(files('symbolNone')).toBe(0)
    expect(numbers('id')).toEqual([5])
  })

  test('bounds of numbers, dates and booleans skip files and lose no row', () => {
    expect(values('ratio', 'ratio')).toEqual([4, 4.25])
    expect(files('ratio')).toBe(2)
    expect(answer.queries['ratioZero']!.rows).toEqual([{ ratio: 0 }])
    expect(values('price', 'price')).toEqual([16.5, 17.5])
    expect(answer.queries['date']!.rows).toEqual([{ day: '2013-10-12' }])
    expect(files('date')).toBe(1)
    expect(numbers('flag')).toEqual([2, 4, 8, 10, 14, 16])
    expect(answer.queries['former']!.rows).toEqual([{ _event_id: 'id-00000000000000000007', price_v1: 7 }])
    expect(answer.queries['nestedField']!.rows).toEqual([{ o: { x: 12, y: -12 } }])
  })

  test('nulls are found where they are, also in files older than the column', () => {
    expect(numbers('flagNull')).toEqual([0, 3, 6, 9, 12, 15])
    expect(numbers('venueNull')).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 15, 17])
    expect(numbers('tenantNotNull')).toEqual([])
    expect(files('tenantNotNull')).toBe(0)
  })

  test('DuckDB reads the planned files by field id and finds the same rows', async () => {
    const plan = await planScan(writer.deps.store, writer.table)
    const list = plan.files.map((file) => `'${join(folder, 'lake', file.key)}'`).join(', ')
    const rows = await writer.query(`select count(*) as n, sum(price) as p from read_parquet([${list}], schema = map {
      1: {name: '_event_id', type: 'VARCHAR', default_value: null},
      ${answer.schema.find(([, name]) => name === 'price')![0]}: {name: 'price', type: 'DOUBLE', default_value: null}})`)
    expect(rows).toEqual([{ n: '18', p: 130 }])
  })
})
