import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventNaming } from '../config/field-names.ts'
import type { Column, ColumnType, Rename } from '../config/plan.ts'
import { selectEvents } from './present-value.ts'

const text: ColumnType = { kind: 'string' }
const long: ColumnType = { kind: 'long' }
const struct = (...fields: Column[]): ColumnType => ({ kind: 'struct', fields })

let dir: string
let connection: DuckDBConnection

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'freshet-present-'))
  connection = await (await DuckDBInstance.create(':memory:')).connect()
})

afterAll(async () => {
  connection.closeSync()
  await rm(dir, { recursive: true })
})

async function read(events: object[], columns: Column[], renames: Rename[]): Promise<unknown[]> {
  const file = join(dir, 'events.ndjson')
  await writeFile(file, events.map((event) => `${JSON.stringify(event)}\n`).join(''))
  const result = await connection.runAndReadAll(selectEvents(file, columns, 1024 * 1024, eventNaming(renames)))
  return result.getRowObjectsJson()
}

describe('events under former names', () => {
  test('old and new shapes, in one file; the first name that has a value counts', async () => {
    const columns: Column[] = [
      { name: 'zip', type: text },
      { name: 'n', type: long },
    ]
    const renames = [{ path: ['zip'], former: ['postcode', 'plz'] }]
    const events = [
      { postcode: 'a', n: 1 },
      { zip: 'b' },
      { plz: 'c' },
      { zip: 'd', postcode: 'e', plz: 'f' },
      { zip: null, postcode: 'g' },
      {},
    ]
    const rows = await read(events, columns, renames)
    expect(rows.map((row) => (row as { zip: string }).zip)).toEqual(['a', 'b', 'c', 'd', 'g', null])
  })

  test('inside structs, lists and maps, nulls kept as they are', async () => {
    const columns: Column[] = [
      { name: 'address', type: struct({ name: 'street', type: text }, { name: 'city', type: text }) },
      { name: 'legs', type: { kind: 'list', element: struct({ name: 'price', type: { kind: 'json' } }) } },
      {
        name: 'rates',
        type: {
          kind: 'map',
          value: struct({ name: 'bid', type: { kind: 'list', element: struct({ name: 'x', type: long }) } }),
        },
      },
    ]
    const renames = [
      { path: ['address'], former: ['addr'] },
      { path: ['address', 'city'], former: ['town'] },
      { path: ['legs', '[]', 'price'], former: ['cost'] },
      { path: ['rates', '*', 'bid', '[]', 'x'], former: ['y'] },
    ]
    const rows = await read(
      [
        {
          addr: { street: 's', town: 't' },
          legs: [{ cost: { a: 1 } }, null, { price: 2 }],
          rates: { k: { bid: [{ y: 1 }, { x: 2 }] }, l: null },
        },
        { address: { city: 'c' }, legs: null },
        {},
      ],
      columns,
      renames,
    )
    expect(rows).toEqual([
      {
        address: { street: 's', city: 't' },
        legs: [{ price: '{"a":1}' }, null, { price: '2' }],
        rates: [
          { key: 'k', value: { bid: [{ x: '1' }, { x: '2' }] } },
          { key: 'l', value: null },
        ],
      },
      { address: { street: null, city: 'c' }, legs: null, rates: null },
      { address: null, legs: null, rates: null },
    ])
  })

  test('a former name that another column has now is that column', async () => {
    const columns: Column[] = [
      { name: 'zip', type: text },
      { name: 'Postcode', type: text },
    ]
    const rows = await read([{ zip: 'a', Postcode: 'b' }], columns, [{ path: ['zip'], former: ['postcode'] }])
    expect(rows).toEqual([{ zip: 'a', Postcode: 'b' }])
  })
})
