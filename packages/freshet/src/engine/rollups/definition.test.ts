/** What a rollup's SQL may read and call, and which columns its table gets. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { admitDefinition, rollupColumns } from './definition.ts'

let instance: DuckDBInstance
let connection: DuckDBConnection

beforeAll(async () => {
  instance = await DuckDBInstance.create(':memory:')
  connection = await instance.connect()
  await connection.run(
    'CREATE TEMP TABLE trades (_event_time TIMESTAMPTZ, symbol VARCHAR, size BIGINT, price DECIMAL(9, 2))',
  )
})

afterAll(() => {
  connection.closeSync()
  instance.closeSync()
})

const bucket = `time_bucket(INTERVAL 60 SECOND, _event_time) AS bucket`
const admitted = (sql: string): Promise<string> => admitDefinition(connection, { name: 'bars', from: 'trades', sql })

describe('what is refused', () => {
  test.each([
    [`SELECT ${bucket}, now() AS at FROM trades`, 'uses'],
    [`SELECT ${bucket}, current_timestamp AS at FROM trades`, 'uses'],
    [`SELECT ${bucket}, random() AS r FROM trades`, 'random'],
    [`SELECT ${bucket}, uuid() AS r FROM trades`, 'uuid'],
    [`SELECT ${bucket} FROM trades USING SAMPLE 10`, ''],
    [`SELECT TIMESTAMPTZ '2020-01-01 00:00:00Z' AS bucket`, 'does not read trades'],
    [`EXPLAIN SELECT ${bucket} FROM trades`, 'is not a SELECT'],
    [`SELECT ${bucket} FROM trades; SELECT 1`, '2 statements'],
    [`DELETE FROM trades`, ''],
    [`SELECT ${bucket} FROM orders`, 'orders'],
    [`SELECT ${bucket} FROM read_parquet('x')`, ''],
    [`SELECT ${bucket}, complete_through('trades') AS t FROM trades`, 'complete_through'],
  ])('%s', async (sql, reason) => {
    await expect(admitted(sql)).rejects.toThrow(reason)
    await expect(admitted(sql)).rejects.toMatchObject({ code: expect.stringMatching(/^(forbidden|invalid)_sql$/) })
  })
})

test('columns are bucket, then the others in their order; sums of whole numbers have 64 bits', async () => {
  const sql = await admitted(
    `SELECT symbol, ${bucket}, sum(size) AS volume, sum(price) AS paid, avg(size) AS mean FROM trades GROUP BY ALL`,
  )
  expect(await rollupColumns(connection, { name: 'bars', by: ['symbol'] }, sql)).toEqual([
    { name: 'bucket', type: { kind: 'timestamptz' } },
    { name: 'symbol', type: { kind: 'string' } },
    { name: 'volume', type: { kind: 'long' } },
    { name: 'paid', type: { kind: 'decimal', precision: 38, scale: 2 } },
    { name: 'mean', type: { kind: 'double' } },
  ])
})

test('a SELECT without the bucket or a column of `by` is refused', async () => {
  const sql = await admitted('SELECT symbol, count(*) AS trades FROM trades GROUP BY ALL')
  await expect(rollupColumns(connection, { name: 'bars', by: ['symbol', 'venue'] }, sql)).rejects.toThrow(
    'bucket, venue',
  )
})
