import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { emptyTable } from '../../test/conformance/lake-fixture.ts'
import type { Column, ColumnType } from '../config/plan.ts'
import { dropFields, orderFields, renameFields } from '../lake/evolution.ts'
import { currentSchema, type TableMetadata } from '../lake/metadata.ts'
import { nestedNamesChanged } from '../lake/nested-names.ts'
import { columnsOf, evolveSchema, type EvolutionBase } from '../lake/schema.ts'
import { FileLayouts } from './file-layouts.ts'
import { selectStream } from './stream-view.ts'

const text: ColumnType = { kind: 'string' }
const struct = (...names: string[]): ColumnType => ({
  kind: 'struct',
  fields: names.map((name) => ({ name, type: text })),
})

let dir: string
let connection: DuckDBConnection

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'freshet-layouts-'))
  // As the engine has it.
  const instance = await DuckDBInstance.create(':memory:', { preserve_insertion_order: 'false' })
  connection = await instance.connect()
})

afterAll(async () => {
  connection.closeSync()
  await rm(dir, { recursive: true })
})

const first: Column[] = [
  { name: 'address', type: struct('street', 'town') },
  { name: 'legs', type: { kind: 'list', element: struct('cost', 'note') } },
  { name: 'rates', type: { kind: 'map', value: struct('offer', 'note') } },
]

/** System columns of the fixture's table have the ids 1 to 5. */
async function write(name: string, values: string, ids: string): Promise<void> {
  await connection.run(`COPY (SELECT ${values}) TO '${join(dir, name)}' (FORMAT parquet, FIELD_IDS {${ids}})`)
}

const baseOf = (metadata: TableMetadata): EvolutionBase => ({
  schema: currentSchema(metadata),
  lastColumnId: metadata['last-column-id'],
  formerFields: new Map(),
})

const evolved = (metadata: TableMetadata, next: EvolutionBase): TableMetadata => {
  const id = metadata.schemas.length
  return {
    ...metadata,
    schemas: [...metadata.schemas, { ...next.schema, 'schema-id': id }],
    'current-schema-id': id,
    'last-column-id': next.lastColumnId,
  }
}

async function rowsOf(metadata: TableMetadata, names: string[], layouts = new FileLayouts()): Promise<unknown[]> {
  const schema = currentSchema(metadata)
  await layouts.learn(
    connection,
    metadata,
    names.map((name) => join(dir, name)),
  )
  const files = names.map((name) => ({ key: name, path: name, deletes: [] }))
  const columns = columnsOf(schema).slice(5)
  const select = selectStream(columns, { schema, formerFields: new Map(), files, lakeDir: dir, layouts }, [])
  return (await connection.runAndReadAll(select)).getRowObjectsJson()
}

describe('nested fields that have other names in older files', () => {
  const ids = new Map<string, number>()
  let metadata: TableMetadata
  let renamed: TableMetadata

  beforeAll(async () => {
    metadata = emptyTable(first)
    for (const { name, id } of currentSchema(metadata).fields) ids.set(name, id)
    // address 6 (street 7, town 8), legs 9 (element 10: cost 11, note 12), rates 13 (key 14, value 15: offer 16, note 17)
    await write(
      'old.parquet',
      `{'street': 's', 'town': 't'} AS address, [{'cost': 'c', 'note': 'n'}] AS legs, MAP {'k': {'offer': 'o', 'note': 'n'}} AS rates`,
      'address: {__duckdb_field_id: 6, street: 7, town: 8}, legs: {__duckdb_field_id: 9, element: {__duckdb_field_id: 10, cost: 11, note: 12}}, rates: {__duckdb_field_id: 13, key: 14, value: {__duckdb_field_id: 15, offer: 16, note: 17}}',
    )
    let base = renameFields(
      baseOf(metadata),
      [
        { path: ['address', 'city'], former: ['town'] },
        { path: ['legs', '[]', 'price'], former: ['cost'] },
        { path: ['rates', '*', 'bid'], former: ['offer'] },
      ],
      [],
    )
    base = dropFields(
      base,
      [
        ['legs', '[]', 'note'],
        ['rates', '*', 'note'],
      ],
      new Map(),
      [],
    )
    // The former names go to other fields: ids 18, 19 and 20.
    base = evolveSchema(base, [
      { name: 'address', type: struct('town') },
      { name: 'legs', type: { kind: 'list', element: struct('note') } },
      { name: 'rates', type: { kind: 'map', value: struct('offer') } },
    ])!
    const address = { name: 'address', type: struct('town', 'city', 'street') }
    base = orderFields(
      base,
      columnsOf(base.schema).map((column) => (column.name === 'address' ? address : column)),
    )
    renamed = evolved(metadata, base)
    await write(
      'new.parquet',
      `{'town': 'T', 'city': 'C', 'street': 'S'} AS address, [{'price': 'P', 'note': 'N'}] AS legs, MAP {'k': {'bid': 'B', 'offer': 'O'}} AS rates`,
      'address: {__duckdb_field_id: 6, town: 18, city: 8, street: 7}, legs: {__duckdb_field_id: 9, element: {__duckdb_field_id: 10, price: 11, note: 19}}, rates: {__duckdb_field_id: 13, key: 14, value: {__duckdb_field_id: 15, bid: 16, offer: 20}}',
    )
  })

  const old = {
    address: { town: null, city: 't', street: 's' },
    legs: [{ price: 'c', note: null }],
    rates: [{ key: 'k', value: { bid: 'o', offer: null } }],
  }
  const fresh = {
    address: { town: 'T', city: 'C', street: 'S' },
    legs: [{ price: 'P', note: 'N' }],
    rates: [{ key: 'k', value: { bid: 'B', offer: 'O' } }],
  }

  test('are found by their ids, in files of both kinds', async () => {
    expect(nestedNamesChanged(renamed)).toBe(true)
    const rows = await rowsOf(renamed, ['old.parquet', 'new.parquet'])
    expect(rows).toHaveLength(2)
    expect(rows).toEqual(expect.arrayContaining([old, fresh]))
  })

  test('a snapshot of before is read with its own schema', async () => {
    expect(await rowsOf(metadata, ['old.parquet'])).toEqual([
      {
        address: { street: 's', town: 't' },
        legs: [{ cost: 'c', note: 'n' }],
        rates: [{ key: 'k', value: { offer: 'o', note: 'n' } }],
      },
    ])
  })

  test('no file is asked where names have not changed', async () => {
    expect(nestedNamesChanged(metadata)).toBe(false)
    await new FileLayouts().learn(connection, metadata, [join(dir, 'there is no such file')])
  })

  test('the table remembers that they have changed when another engine forgets the schemas', () => {
    const forgotten = { ...renamed, schemas: renamed.schemas.slice(1) }
    expect(nestedNamesChanged(forgotten)).toBe(false)
    expect(nestedNamesChanged({ ...forgotten, properties: { 'freshet.nested-names-changed': 'true' } })).toBe(true)
  })

  test('a struct that has none of the fields wanted is there, with nulls', async () => {
    let base = evolveSchema(baseOf(metadata), [{ name: 'address', type: struct('country') }])!
    base = dropFields(
      base,
      [
        ['address', 'street'],
        ['address', 'town'],
      ],
      new Map(),
      [],
    )
    const [row] = await rowsOf(evolved(metadata, base), ['old.parquet'])
    expect(row).toMatchObject({ address: { country: null } })
    await write('null.parquet', 'NULL::STRUCT(street VARCHAR) AS address', 'address: {__duckdb_field_id: 6, street: 7}')
    expect(await rowsOf(evolved(metadata, base), ['null.parquet'])).toMatchObject([{ address: null }])
  })

  test('a file is asked once', async () => {
    const layouts = new FileLayouts()
    await rowsOf(renamed, ['old.parquet', 'new.parquet'], layouts)
    const asked = { runAndReadAll: () => expect.unreachable() } as unknown as DuckDBConnection
    await layouts.learn(asked, renamed, [join(dir, 'old.parquet')])
    expect(layouts.size).toBe(2)
  })
})
