/** Buckets that are computed anew equal what the SELECT gives over all rows (I9), and no other bucket is read or given. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DuckDBConnection } from '@duckdb/node-api'
import { TableLab } from '../../../test/support/table-lab.ts'
import { bucketOf } from '../../config/rollups.ts'
import type { RollupPlan } from '../../config/plan.ts'
import { bucketsIn, computeBuckets, freshRows, type ComputeRequest } from './compute.ts'
import { admitDefinition, rollupColumns } from './definition.ts'

let lab: TableLab
let connection: DuckDBConnection

const width = { ms: 60_000 }
const sqlOf = (bucket = bucketOf(width, '_event_time')): string =>
  `SELECT ${bucket} AS bucket, count(*) AS trades, sum(size) AS volume FROM trades GROUP BY ALL`

function request(sql = sqlOf()): ComputeRequest {
  const plan: RollupPlan = { name: 'bars', from: 'trades', bucket: width, sql, by: [], partition: { unit: 'day' } }
  return { plan, time: '_event_time', table: lab.table.table!, files: lab.table.files, lakeDir: lab.deps.lakeDir }
}

async function compute(wanted: ComputeRequest): Promise<unknown[][]> {
  const sql = await admitDefinition(connection, wanted.plan)
  await connection.run('CREATE OR REPLACE TEMP TABLE shape (_event_time TIMESTAMPTZ, size BIGINT)')
  await connection.run('CREATE OR REPLACE TEMP VIEW trades AS SELECT * FROM shape')
  const columns = await rollupColumns(connection, wanted.plan, sql)
  const buckets = await bucketsIn(connection, wanted, wanted.files)
  await computeBuckets(connection, { ...wanted, columns, sql, buckets })
  const rows = await connection.runAndReadAll(`SELECT epoch_ms(bucket), trades, volume FROM ${freshRows} ORDER BY 1`)
  return rows.getRows().map((row) => row.map(Number))
}

beforeEach(async () => {
  lab = await TableLab.open()
  connection = await lab.deps.database.connect()
  await lab.commit('a', 'b')
  await lab.commit('c')
})

afterEach(async () => {
  connection.closeSync()
  await lab.close()
})

const noon = Date.parse('2013-10-07T12:00:00Z')

describe('buckets', () => {
  test('are those of the rows in some files', async () => {
    const from = BigInt(noon) * 1000n
    expect(await bucketsIn(connection, request(), lab.table.files.slice(0, 1))).toEqual([
      { from, to: from + 60_000_000n },
    ])
    expect(await bucketsIn(connection, request(), [])).toEqual([])
  })

  test('are computed from all rows of the source in them, whatever file these are in', async () => {
    expect(await compute(request())).toEqual([[noon, 3, 3]])
  })

  test('of another width than the rollup says are refused', async () => {
    const other = request(sqlOf(`time_bucket(INTERVAL 60 SECOND, _event_time) + INTERVAL 1 SECOND`))
    await expect(compute(other)).rejects.toMatchObject({
      code: 'invalid_sql',
      message: expect.stringContaining('12:00:01'),
    })
  })
})
