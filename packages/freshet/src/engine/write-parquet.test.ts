import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemColumns, type Column } from '../config/plan.ts'
import { writeParquet } from './write-parquet.ts'

let folder: string
let rows: string
let target: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'freshet-parquet-'))
  rows = join(folder, 'rows.ndjson')
  target = join(folder, "it's.parquet")
})

afterEach(() => rm(folder, { recursive: true }))

const head = (id: string): string =>
  `{"_event_id":"${id}","_event_time":"2026-11-20T20:29:00.123456Z","_received_at":"2026-11-20T20:29:01.000Z"`

/** Rows of the file as text, and the types of its columns. */
async function read(): Promise<{ rows: unknown[]; types: Record<string, unknown> }> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run("SET TimeZone = 'UTC'")
  const from = `read_parquet('${target.replaceAll("'", "''")}')`
  const described = await connection.runAndReadAll(`DESCRIBE SELECT * FROM ${from}`)
  const found = await connection.runAndReadAll(`SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ${from}`)
  connection.closeSync()
  instance.closeSync()
  const types = described.getRowObjects().map((row) => [row['column_name'], row['column_type']] as const)
  return { rows: found.getRowObjects(), types: Object.fromEntries(types) as Record<string, unknown> }
}

test('events become rows with the types of their columns, in order, with every digit', async () => {
  const columns: Column[] = [
    ...systemColumns,
    { name: 'price', type: { kind: 'decimal', precision: 38, scale: 2 } },
    { name: 'tags', type: { kind: 'list', element: { kind: 'string' } } },
    { name: 'any', type: { kind: 'json' } },
  ]
  const lines = [
    `${head('b')},"price":"123456789012345678901234567890.12","tags":["x"]}`,
    `${head('a')},"any":{"z":[1]}}`,
  ]
  await writeFile(rows, `${lines.join('\n')}\n`)
  await writeParquet(rows, columns, target)
  const file = await read()
  expect(file.rows).toMatchObject([
    {
      _event_id: 'b',
      _event_time: '2026-11-20 20:29:00.123456+00',
      price: '123456789012345678901234567890.12',
      tags: '[x]',
    },
    { _event_id: 'a', price: null, any: '{"z":[1]}' },
  ])
  expect(file.types).toMatchObject({
    _event_time: 'TIMESTAMP WITH TIME ZONE',
    price: 'DECIMAL(38,2)',
    tags: 'VARCHAR[]',
  })
})

test('without columns they are inferred from all lines', async () => {
  const lines = Array.from(
    { length: 30_000 },
    (_, n) => `${head(`e${n}`)},"n":${n}${n === 29_999 ? ',"late":true' : ''}}`,
  )
  await writeFile(rows, `${lines.join('\n')}\n`)
  await writeParquet(rows, null, target)
  const file = await read()
  expect(file.rows).toHaveLength(30_000)
  expect(file.rows.at(-1)).toMatchObject({ n: '29999', late: 'true' })
  expect(file.types).toMatchObject({ _event_time: 'TIMESTAMP WITH TIME ZONE', n: 'BIGINT', late: 'BOOLEAN' })
})

test('a line may be long', async () => {
  await writeFile(rows, `${head('a')},"n":"${'x'.repeat(5_000_000)}"}\n${head('b')},"n":"y"}\n`)
  await writeParquet(rows, [{ name: 'n', type: { kind: 'string' } }], target)
  expect((await read()).rows).toEqual([{ n: 'x'.repeat(5_000_000) }, { n: 'y' }])
})

test('a line that does not fit is an error', async () => {
  await writeFile(rows, `${head('a')},"n":"x"}\n`)
  await expect(writeParquet(rows, [{ name: 'n', type: { kind: 'long' } }], target)).rejects.toThrow(
    /convert|transform|cast/i,
  )
})
