import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { partitionValueAt } from '../../lake/partition.ts'
import type { CheckedFile } from '../../lake/verify-table.ts'
import type { Finding } from '../../runtime/finding.ts'
import type { Scope } from '../dedup/scan.ts'
import { findDuplicates } from './duplicates.ts'

let lakeDir: string
let instance: DuckDBInstance
let connection: DuckDBConnection
let files = 0

beforeAll(async () => {
  lakeDir = await mkdtemp(join(tmpdir(), 'freshet-duplicates-'))
  instance = await DuckDBInstance.create(':memory:')
  connection = await instance.connect()
  await connection.run("SET TimeZone = 'UTC'")
})

afterAll(async () => {
  connection.closeSync()
  instance.closeSync()
  await rm(lakeDir, { recursive: true })
})

/** A data file with these ids, one second apart, in the partition of its day. */
async function file(ids: readonly string[], day = '2013-10-07'): Promise<CheckedFile> {
  const key = `${++files}.parquet`
  const rows = ids.map((id, index) => `('${id}', TIMESTAMPTZ '${day} 00:00:${String(index % 60).padStart(2, '0')}+00')`)
  await connection.run(
    `COPY (SELECT * FROM (VALUES ${rows.join(', ')}) AS t(_event_id, _event_time)) TO '${join(lakeDir, key)}' (FORMAT parquet)`,
  )
  const none = { lower: undefined, upper: undefined }
  return {
    key,
    path: key,
    specId: 0,
    partitionKey: day,
    partition: { column: '_event_time', unit: 'day', name: 'day' },
    partitionValue: partitionValueAt('day', BigInt(Date.parse(day)) * 1000n),
    recordCount: ids.length,
    bytes: (await stat(join(lakeDir, key))).size,
    deletes: [],
    eventId: none,
    eventTime: none,
    receivedAt: none,
    snapshotId: 1n,
    sequenceNumber: 1,
    current: true,
  }
}

function find(found: readonly CheckedFile[], scope: Scope, idsAtOnce?: number): Promise<Finding[]> {
  const common = { connection, lakeDir, stream: 'trades', onBytes: () => undefined }
  return findDuplicates({ ...common, files: found, scope, ...(idsAtOnce && { idsAtOnce }) })
}

const ids = (from: number, count: number): string[] => Array.from({ length: count }, (_, index) => `id-${from + index}`)

test('ids that are there once are no finding, in however many passes', async () => {
  const found = [await file(ids(0, 500)), await file(ids(500, 500)), await file(ids(1000, 10), '2013-10-08')]
  for (const idsAtOnce of [undefined, 100, 7]) expect(await find(found, 'day', idsAtOnce)).toEqual([])
})

test('an id that is there twice is named with its files, within one file or two', async () => {
  const first = await file([...ids(0, 300), 'id-7'])
  const second = await file(ids(299, 10))
  for (const idsAtOnce of [undefined, 50]) {
    const [finding, ...others] = await find([first, second], 'day', idsAtOnce)
    expect(others).toEqual([])
    expect(finding).toMatchObject({ severity: 'problem', check: 'duplicates', file: join(lakeDir, first.key) })
    expect(finding!.what).toContain('(2 of them, 2 rows too many)')
    expect(finding!.what).toContain('id-299')
    expect(finding!.what).toContain(join(lakeDir, second.key))
  }
})

test('an id on two days is a repeat only where events do not say their time', async () => {
  const found = [await file(['a', 'b']), await file(['a'], '2013-10-08')]
  expect(await find(found, 'day')).toEqual([])
  expect(await find(found, 'table')).toMatchObject([{ check: 'duplicates' }])
})

test('a file that is partitioned in another way is compared with all others', async () => {
  const { partition: _, ...other } = await file(['b', 'c'])
  const older: CheckedFile = { ...other, partition: undefined, partitionValue: null }
  expect(await find([await file(['a', 'b']), await file(['b'], '2013-10-08'), older], 'day')).toMatchObject([
    { what: expect.stringContaining('(1 of them') as string },
  ])
})
