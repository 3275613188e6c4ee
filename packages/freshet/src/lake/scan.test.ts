import { beforeEach, describe, expect, test } from 'vitest'
import {
  append,
  at,
  dataFile,
  dayStartMs,
  dayValue,
  emptyTable,
  memoryLake,
  type Lake,
} from '../../test/conformance/lake-fixture.ts'
import type { LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import { readManifestList } from './manifest.ts'
import { currentSnapshot, withPartition } from './metadata.ts'
import { planScan } from './scan.ts'
import { keyOf } from './table-paths.ts'

describe('scan planning', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
  })

  const listKey = (): string => keyOf(table, currentSnapshot(table.metadata)!['manifest-list'])
  const names = (files: readonly { key: string }[]): string[] =>
    files.map((file) => file.key.split('/').at(-1)!).toSorted()

  test('an empty table has no files', async () => {
    expect(await planScan(lake.store, table)).toMatchObject({ snapshotId: null, files: [], added: [], removed: [] })
  })

  test('a file comes with its partition, counts, bounds and origin', async () => {
    const { table: next, snapshot } = await append(lake, table, 'an-id-longer-than-sixteen', 1)
    const plan = await planScan(lake.store, next)
    expect(plan.snapshotId).toBe(snapshot['snapshot-id'])
    expect(plan.files).toEqual([
      {
        key: 'trades/data/_event_time_day=2013-10-07/an-id-longer-than-sixteen.parquet',
        path: 'file:///lake/trades/data/_event_time_day=2013-10-07/an-id-longer-than-sixteen.parquet',
        specId: 0,
        partitionKey: `0:[${dayValue}]`,
        partition: { column: '_event_time', unit: 'day', name: '_event_time_day' },
        partitionValue: dayValue,
        recordCount: 10,
        bytes: 1000,
        deletes: [],
        eventId: { lower: 'an-id-longer-tha', upper: 'an-id-longer-thb' },
        eventTime: { lower: BigInt(dayStartMs) * 1000n, upper: BigInt(dayStartMs) * 1000n + 1_000_000n },
        receivedAt: {
          lower: BigInt(dayStartMs) * 1000n + 60_000_000n,
          upper: BigInt(dayStartMs) * 1000n + 61_000_000n,
        },
        snapshotId: snapshot['snapshot-id'],
        sequenceNumber: 1,
      },
    ])
  })

  test('a plan made from the one before reads the new manifest only, and says what came', async () => {
    table = (await append(lake, table, 'a', 1)).table
    table = (await append(lake, table, 'b', 2)).table
    const first = await planScan(lake.store, table)
    expect(names(first.added)).toEqual(['a.parquet', 'b.parquet'])
    table = (await append(lake, table, 'c', 3)).table
    const reads = lake.store.reads.length
    const second = await planScan(lake.store, table, { previous: first })
    expect(lake.store.reads.length - reads).toBe(2)
    expect(names(second.files)).toEqual(['a.parquet', 'b.parquet', 'c.parquet'])
    expect(names(second.added)).toEqual(['c.parquet'])
    expect(second.removed).toEqual([])
  })

  test('files that a merge moved to another manifest neither come nor go', async () => {
    const deps = { ...lake, merge: { smallManifestsMax: 2, targetBytes: 1_000_000, filesMax: 2000 } }
    table = (await append(deps, table, 'a', 1)).table
    table = (await append(deps, table, 'b', 2)).table
    const first = await planScan(lake.store, table)
    table = (await append(deps, table, 'c', 3)).table
    expect(await readManifestList(lake.store, listKey())).toHaveLength(1)
    const second = await planScan(lake.store, table, { previous: first })
    expect(names(second.added)).toEqual(['c.parquet'])
    expect(second.removed).toEqual([])
    expect(second.files).toHaveLength(3)
    expect(second.files.find((file) => file.key.endsWith('a.parquet'))?.snapshotId).toBe(
      first.files.find((file) => file.key.endsWith('a.parquet'))?.snapshotId,
    )
  })

  test('a plan of an older snapshot says what went', async () => {
    const first = await append(lake, table, 'a', 1)
    table = (await append(lake, first.table, 'b', 2)).table
    const now = await planScan(lake.store, table)
    const before = await planScan(lake.store, table, { previous: now, snapshot: first.snapshot })
    expect(names(before.files)).toEqual(['a.parquet'])
    expect(names(before.removed)).toEqual(['b.parquet'])
  })

  test('files of an earlier partitioning keep their own', async () => {
    table = (await append(lake, table, 'a', 1)).table
    table = await lake.catalog.commit(table, withPartition(table.metadata, { by: 'event_time', unit: 'hour' }))
    const file = { ...dataFile(table, 'b'), partition: { _event_time_hour: dayValue * 24 + 13 } }
    table = (await appendFiles(lake, { table, dataFiles: [file], from: at(1), to: at(2) })).table
    const { files } = await planScan(lake.store, table)
    expect(
      files
        .map((each) => [each.partition?.unit, each.partitionValue])
        .toSorted((a, b) => (String(a) < String(b) ? -1 : 1)),
    ).toEqual([
      ['day', dayValue],
      ['hour', dayValue * 24 + 13],
    ])
    expect(withPartition(table.metadata, { by: 'event_time', unit: 'day' })['default-spec-id']).toBe(0)
    expect(withPartition(table.metadata, { by: 'event_time', unit: 'hour' })).toBe(table.metadata)
  })

  test('a table that was moved is read where it is now', async () => {
    table = (await append(lake, table, 'a', 1)).table
    table = { ...table, metadata: { ...table.metadata, location: '/lake/trades' } }
    expect(names((await planScan(lake.store, table)).files)).toEqual(['a.parquet'])
  })

  test("a file outside the table's folder is refused by name", async () => {
    const file = { ...dataFile(table, 'a'), path: 's3://elsewhere/a.parquet' }
    table = (await appendFiles(lake, { table, dataFiles: [file], from: at(0), to: at(1) })).table
    await expect(planScan(lake.store, table)).rejects.toMatchObject({
      code: 'unsupported_table',
      message: expect.stringContaining('s3://elsewhere/a.parquet') as string,
    })
  })

  test('a manifest that is missing, torn or damaged is reported by name', async () => {
    table = (await append(lake, table, 'a', 1)).table
    const [manifest] = await readManifestList(lake.store, listKey())
    const key = keyOf(table, manifest!.path)
    const whole = lake.store.objects.get(key)!
    const broken = { code: 'corrupt_table', message: expect.stringContaining(key) as string }
    for (let length = 0; length < whole.length; length += 97) {
      lake.store.objects.set(key, whole.subarray(0, length))
      await expect(planScan(lake.store, table)).rejects.toMatchObject(broken)
    }
    lake.store.objects.delete(key)
    await expect(planScan(lake.store, table)).rejects.toMatchObject(broken)
  })
})
