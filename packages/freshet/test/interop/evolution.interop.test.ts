/** Tables whose streams have changed, as pyiceberg reads them; and fields that pyiceberg has renamed, as Freshet does. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Column, ColumnType, StreamPlan } from '../../src/config/plan.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { parseMetadata } from '../../src/lake/metadata.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { EvolutionLab, int, long, people, struct, text } from '../integration/evolution-lab.ts'
import { storeOf } from './lab-table.ts'
import { pythonWithPyiceberg, runPython } from './python.ts'

interface Answer {
  schema: [number, string, string, boolean][]
  queries: Record<string, { files: number; rows: Record<string, unknown>[] }>
}

let world: EvolutionLab
beforeEach(async () => {
  world = await EvolutionLab.open()
})
afterEach(() => world.close())

const decimal = (precision: number): ColumnType => ({ kind: 'decimal', precision, scale: 2 })
const before: Column[] = [
  { name: 'postcode', type: text },
  { name: 'fax', type: text },
  { name: 'n', type: int },
  { name: 'fee', type: decimal(6) },
  { name: 'address', type: struct({ name: 'street', type: text }, { name: 'town', type: text }) },
  { name: 'legs', type: { kind: 'list', element: struct({ name: 'cost', type: int }, { name: 'note', type: text }) } },
]
const after: Column[] = [
  { name: 'zip', type: text },
  { name: 'n', type: long },
  { name: 'fee', type: decimal(18) },
  { name: 'address', type: struct({ name: 'city', type: text }, { name: 'street', type: text }) },
  { name: 'legs', type: { kind: 'list', element: struct({ name: 'price', type: long }) } },
  { name: 'age', type: int },
]
const evolution: Partial<StreamPlan> = {
  renames: [
    { path: ['zip'], former: ['postcode'] },
    { path: ['address', 'city'], former: ['town'] },
    { path: ['legs', '[]', 'price'], former: ['cost'] },
  ],
  drops: [['fax'], ['legs', '[]', 'note']],
  partition: { by: 'event_time', unit: 'hour' },
}

async function metadataFile(): Promise<string> {
  const { version } = await world.table()
  return join(world.lab.lakeDir, 'people', 'metadata', `v${version}.metadata.json`)
}

test('renamed, dropped, widened, nested and newly partitioned: pyiceberg reads old and new files alike', async () => {
  const python = await pythonWithPyiceberg()
  await world.restart(people(before))
  const old = { fax: '1', n: 1, fee: '12.34', address: { street: 's', town: 't' }, legs: [{ cost: 1, note: 'n' }] }
  await world.post({ id: 'a', hour: 1, postcode: 'A1', ...old }, { id: 'b', hour: 2, postcode: 'B1', ...old })
  await world.restart(people(after, evolution))
  const snapshot = String((await world.table()).metadata['current-snapshot-id'])
  await world.post(
    { id: 'c', hour: 3, postcode: 'C1', ...old },
    {
      id: 'd',
      hour: 4,
      zip: 'D1',
      n: 2 ** 40,
      fee: '1234567890123456.78',
      address: { city: 'c' },
      legs: [{ price: 2 }],
      age: 7,
    },
  )
  await world.restart(people(after, evolution))
  await world.stop()

  const query = (filter: string | null, columns: string[] | null = null, at: string | null = null) => ({
    filter,
    columns,
    snapshot: at,
  })
  const answer = await runPython<Answer>(python, 'read_table.py', {
    metadata: await metadataFile(),
    queries: {
      rows: query(null, ['id', 'zip', 'n', 'address', 'legs', 'age']),
      wide: query('n > 2', ['id']),
      renamed: query("zip = 'B1'", ['id']),
      hour: query("_event_time >= '2024-05-01T04:00:00+00:00'", ['id']),
      past: query(null, ['id', 'postcode', 'fax'], snapshot),
    },
  })
  expect(answer.schema.slice(5).map(([, name, type]) => [name, type])).toEqual([
    ['id', 'string'],
    ['at', 'timestamptz'],
    ['zip', 'string'],
    ['n', 'long'],
    ['fee', 'decimal(18, 2)'],
    ['address', 'struct<14: city: optional string, 13: street: optional string>'],
    ['legs', expect.stringMatching(/^list<struct<\d+: price: optional long>>$/)],
    ['age', 'int'],
  ])
  const shown = { n: 1, address: { city: 't', street: 's' }, legs: [{ price: 1 }], age: null }
  const rows = answer.queries['rows']!.rows.toSorted((a, b) => String(a['id']).localeCompare(String(b['id'])))
  expect(rows).toEqual([
    { id: 'a', zip: 'A1', ...shown },
    { id: 'b', zip: 'B1', ...shown },
    { id: 'c', zip: 'C1', ...shown },
    { id: 'd', zip: 'D1', n: 2 ** 40, address: { city: 'c', street: null }, legs: [{ price: 2 }], age: 7 },
  ])
  expect(answer.queries['wide']).toEqual({ files: 1, rows: [{ id: 'd' }] })
  expect(answer.queries['renamed']).toEqual({ files: 1, rows: [{ id: 'b' }] })
  expect(answer.queries['hour']).toEqual({ files: 1, rows: [{ id: 'd' }] })
  expect(answer.queries['past']!.rows.toSorted((a, b) => String(a['id']).localeCompare(String(b['id'])))).toEqual([
    { id: 'a', postcode: 'A1', fax: '1' },
    { id: 'b', postcode: 'B1', fax: '1' },
  ])
})

test('fields that pyiceberg has renamed keep their values, also where their names went to other fields', async () => {
  const python = await pythonWithPyiceberg()
  const columns = before.slice(0, 5)
  await world.restart(people(columns))
  await world.post({ id: 'a', postcode: 'A1', address: { street: 's', town: 't' } })
  await world.stop()
  const table = await world.table()
  const changed = await runPython<{ metadata: string }>(python, 'rename_fields.py', {
    metadata: await metadataFile(),
    warehouse: `file://${world.lab.dir}/warehouse`,
    table: 'people',
    renames: { postcode: 'zip', 'address.town': 'city' },
    add: { address: 'town' },
    row: {
      _event_id: 'b',
      _event_time: '2024-05-01T02:00:00+00:00',
      id: 'b',
      zip: 'B1',
      address: { street: 'S', city: 'C', town: 'T' },
    },
  })
  const path = changed.metadata.replace('file://', '')
  const rootLocation = `file://${world.lab.lakeDir}`
  const catalog = new FileCatalog({ store: storeOf(world.lab.lakeDir), rootLocation, logger: silentLogger })
  await catalog.commit(table, parseMetadata(await readFile(path, 'utf8'), path))

  const address = struct({ name: 'street', type: text }, { name: 'city', type: text }, { name: 'town', type: text })
  const now = people([{ name: 'zip', type: text }, ...columns.slice(1, 4), { name: 'address', type: address }])
  await world.restart(now)
  await world.post({ id: 'c', zip: 'C1', address: { street: 'x', city: 'y', town: 'z' } })
  await world.restart(now)
  expect(await world.rows('zip, address')).toEqual([
    { zip: 'A1', address: { street: 's', city: 't', town: null } },
    { zip: 'B1', address: { street: 'S', city: 'C', town: 'T' } },
    { zip: 'C1', address: { street: 'x', city: 'y', town: 'z' } },
  ])
})
