import { beforeEach, describe, expect, test } from 'vitest'
import { commitDeletes } from '../../test/conformance/foreign-deletes.ts'
import {
  append,
  at,
  dataFile,
  dayStartMs,
  emptyTable,
  memoryLake,
  type Lake,
} from '../../test/conformance/lake-fixture.ts'
import type { Catalog, LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import { expireSnapshots } from './expire.ts'
import { readManifestList } from './manifest.ts'
import { currentSnapshot, tablePositions } from './metadata.ts'
import { findOrphans, removeOrphans, type OrphanOptions } from './orphans.ts'
import { createTag } from './refs.ts'
import { rewriteFiles } from './rewrite.ts'
import { planScan } from './scan.ts'
import { keyOf } from './table-paths.ts'

const hourMs = 3_600_000

describe('orphans', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
  })

  const put = (place: string): Promise<void> => lake.store.put(`trades/${place}`, Buffer.from('x'))
  const add = async (name: string): Promise<void> => {
    const file = dataFile(table, name)
    await lake.store.put(keyOf(table, file.path), Buffer.alloc(file.bytes))
    const from = tablePositions(table.metadata)
    const ledger = { rows: manyRows(name), sources: new Map() }
    const to = at(Number(from.get(0) ?? 0n) + 1)
    table = (await appendFiles(lake, { table, dataFiles: [file], from, to, ledger })).table
  }
  const replace = async (name: string, by: string): Promise<void> => {
    const file = dataFile(table, by)
    await lake.store.put(keyOf(table, file.path), Buffer.alloc(file.bytes))
    const remove = [dataFile(table, name).path]
    table = (await rewriteFiles(lake, { table, remove, add: [file], operation: 'replace' })).table
  }
  const later = (): OrphanOptions => ({ olderThanMs: (lake.clock.ms += 48 * hourMs) - 24 * hourMs })
  const find = async (options = later()): Promise<string[]> =>
    (await findOrphans(lake, table, options)).map(({ key }) => key.replace('trades/', ''))

  test('a table in use has none: snapshots, tags, deletes, ledger files, statistics and versions all count', async () => {
    for (const name of ['a', 'b', 'c']) await add(name)
    await replace('a', 'a2')
    table = (await createTag(lake, table, 'before', table.metadata.snapshots[1]!['snapshot-id'])).table
    table = await commitDeletes(lake, table, [{ name: 'd1' }])
    await put('metadata/1.stats')
    const statistics = [
      {
        'snapshot-id': currentSnapshot(table.metadata)!['snapshot-id'],
        'statistics-path': `${table.metadata.location}/metadata/1.stats`,
      },
    ]
    const log = [
      { 'metadata-file': `${table.metadata.location}/metadata/00001-theirs.metadata.json`, 'timestamp-ms': 1 },
    ]
    await put('metadata/00001-theirs.metadata.json')
    const base = { ...table.metadata, 'metadata-log': [...table.metadata['metadata-log'], ...log] }
    table = await lake.catalog.commit({ ...table, metadata: base }, Object.assign(base, { statistics }))
    expect([...lake.store.objects.keys()].some((key) => key.includes('/ledger-'))).toBe(true)
    expect(await find()).toEqual([])
  })

  test('what commits that were not made left, and files of other kinds, are found', async () => {
    await add('a')
    const left = [
      'data/x.parquet',
      'data/_event_time_day=2013-10-07/y.parquet',
      'metadata/z-m0.avro',
      'metadata/snap-1-z.avro',
      'odd',
    ]
    for (const place of left) await put(place)
    await put('data/.x.parquet.crc')
    await put('data/_SUCCESS')
    await put('metadata/v3.gz.metadata.json')
    await lake.store.put('tradesmen/data/other', Buffer.from('x'))
    expect(await find()).toEqual(left.toSorted())
  })

  test('young files are none, however long the table has been there', async () => {
    await add('a')
    lake.clock.ms += 100 * hourMs
    await put('data/young.parquet')
    expect(await find({ olderThanMs: lake.clock.ms })).toEqual([])
    expect(await find({ olderThanMs: lake.clock.ms + 1 })).toEqual(['data/young.parquet'])
    expect(await find({ olderThanMs: dayStartMs })).toEqual([])
  })

  test('files that are known to be in flight are none, however old', async () => {
    await add('a')
    await put('data/hot.parquet')
    await put('data/x.parquet')
    expect(await find({ ...later(), inFlight: () => ['trades/data/hot.parquet'] })).toEqual(['data/x.parquet'])
  })

  test('a file that is committed while they are looked for is none', async () => {
    await add('a')
    const old = table
    const file = dataFile(table, 'b')
    await lake.store.put(keyOf(table, file.path), Buffer.alloc(file.bytes))
    const options = later()
    let loads = 0
    const catalog: Catalog = {
      tables: () => lake.catalog.tables(),
      create: (name, metadata) => lake.catalog.create(name, metadata),
      commit: (base, next) => lake.catalog.commit(base, next),
      load: async (name) => {
        // The second time is when the table was read, to see whether it still is the newest.
        if (++loads === 2) await append(lake, table, 'b', 2)
        return lake.catalog.load(name)
      },
    }
    expect(await findOrphans({ ...lake, catalog }, old, options)).toEqual([])
    expect(loads).toBe(3)
  })

  test('what is committed between finding and removing stays, and so does what changed', async () => {
    await add('a')
    const file = dataFile(table, 'b')
    await lake.store.put(keyOf(table, file.path), Buffer.alloc(file.bytes))
    for (const place of ['data/x.parquet', 'data/rewritten.parquet']) await put(place)
    const options = later()
    const orphans = await findOrphans(lake, table, options)
    expect(orphans).toHaveLength(3)
    await append(lake, table, 'b', 2)
    lake.clock.ms -= 47 * hourMs
    await put('data/rewritten.parquet')
    const removed = await removeOrphans(lake, table, orphans, options)
    expect(removed.map(({ key }) => key)).toEqual(['trades/data/x.parquet'])
    expect([...lake.store.objects.keys()].filter((key) => key.endsWith('.parquet'))).toHaveLength(3)
  })

  test('a crash between the commit of an expiry and its removals leaves exactly the orphans that are then found', async () => {
    for (const name of ['a', 'b']) await add(name)
    await replace('a', 'a2')
    const copy = memoryLake()
    for (const [key, object] of lake.store.objects) copy.store.objects.set(key, object)
    const everything = { olderThanMs: Number.MAX_SAFE_INTEGER, keepLast: 1 }
    const { removed } = await expireSnapshots(copy, table, everything)
    const crash = (): Promise<void> => Promise.reject(new Error('crashed'))
    await expect(expireSnapshots(lake, table, { ...everything, ready: crash })).rejects.toThrow('crashed')
    const options = later()
    const orphans = await findOrphans(lake, table, options)
    expect(orphans.map(({ key }) => key)).toEqual(removed.toSorted())
    await removeOrphans(lake, table, orphans, options)
    expect(await findOrphans(lake, table, options)).toEqual([])
    table = (await lake.catalog.load('trades'))!
    expect((await planScan(lake.store, table)).files).toHaveLength(2)
  })

  test('a table that is damaged, lies elsewhere in part, or was replaced has none that could be told', async () => {
    await add('a')
    await put('data/x.parquet')
    const snapshot = currentSnapshot(table.metadata)!
    const [manifest] = await readManifestList(lake.store, keyOf(table, snapshot['manifest-list']))
    const bytes = lake.store.objects.get(keyOf(table, manifest!.path))!
    await lake.store.delete([keyOf(table, manifest!.path)])
    await expect(find()).rejects.toMatchObject({ code: 'corrupt_table' })
    lake.store.objects.set(keyOf(table, manifest!.path), bytes)
    expect(await find()).toEqual(['data/x.parquet'])

    const elsewhere = { ...dataFile(table, 'a'), path: 's3a://lake/trades/data/x.parquet' }
    const before = table
    table = (await appendFiles(lake, { table, dataFiles: [elsewhere], from: at(1), to: at(2) })).table
    await expect(find()).rejects.toMatchObject({ code: 'unsupported_table' })

    const other = { ...table, metadata: { ...before.metadata, 'table-uuid': 'another' } }
    await expect(findOrphans(lake, other, later())).rejects.toMatchObject({ code: 'commit_conflict' })
  })
})

/** So many hours that the ledger needs a file of its own. */
function manyRows(
  source: string,
): { source: string; hour: number; accepted: number; committed: number; deduplicated: number; deadLettered: number }[] {
  return Array.from({ length: 300 }, (_, hour) => ({
    source,
    hour,
    accepted: 1,
    committed: 0,
    deduplicated: 1,
    deadLettered: 0,
  }))
}
