import { expect, test } from 'vitest'
import { commitDeletes } from '../../test/conformance/foreign-deletes.ts'
import { at, dataFile, emptyTable, memoryLake, type Lake } from '../../test/conformance/lake-fixture.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import { expireSnapshots } from './expire.ts'
import { currentSnapshot } from './metadata.ts'
import { createTag, rollbackTo } from './refs.ts'
import { rewriteFiles } from './rewrite.ts'
import { rewriteManifests } from './rewrite-manifests.ts'
import { keyOf } from './table-paths.ts'
import { orphansOf, verifyTable, type TableCheck } from './verify-table.ts'

/** Appends a file that is there, as its entry says. */
async function add(lake: Lake, table: LoadedTable, name: string, to: number): Promise<LoadedTable> {
  const file = dataFile(table, name)
  await lake.store.put(keyOf(table, file.path), Buffer.alloc(file.bytes))
  const from = at(to - 1)
  const result = await appendFiles({ ...lake, snapshotsMax: 3 }, { table, dataFiles: [file], from, to: at(to) })
  return result.table
}

async function tableOf(lake: Lake, commits: number): Promise<LoadedTable> {
  let table = await lake.catalog.create('trades', emptyTable())
  for (let commit = 1; commit <= commits; commit++) table = await add(lake, table, `f${commit}`, commit)
  return table
}

function verify(lake: Lake, store: ObjectStore = lake.store): Promise<TableCheck> {
  return verifyTable({ catalog: lake.catalog, store, name: 'trades', placeOf: (key) => `/lake/${key}` })
}

/** A store that calls `onGet` before the first object is read that `matches`. */
function interrupted(store: ObjectStore, matches: (key: string) => boolean, onGet: () => Promise<void>): ObjectStore {
  let done = false
  return {
    get: async (key, range) => {
      if (!done && matches(key)) {
        done = true
        await onGet()
      }
      return store.get(key, range)
    },
    put: (key, body) => store.put(key, body),
    putIfAbsent: (key, body) => store.putIfAbsent(key, body),
    list: (prefix) => store.list(prefix),
    delete: (keys) => store.delete(keys),
  }
}

test('a table in order: all kept snapshots, their manifests and files, the rows of the current one', async () => {
  const lake = memoryLake()
  await tableOf(lake, 5)
  const check = await verify(lake)
  expect(check).toMatchObject({ snapshots: 3, manifests: 5, rows: 50, bytes: 5000, findings: [] })
  expect(check.files.map(({ current }) => current)).toEqual([true, true, true, true, true])
})

test('snapshots that expire while they are checked are not missed', async () => {
  const lake = memoryLake()
  let table = await tableOf(lake, 5)
  const lists = table.metadata.snapshots.map((snapshot) => keyOf(table, snapshot['manifest-list']))
  const store = interrupted(
    lake.store,
    (key) => key === lists[0],
    async () => {
      for (let commit = 6; commit < 10; commit++) table = await add(lake, table, `f${commit}`, commit)
    },
  )
  expect(await lake.store.get(lists[0]!)).toBeDefined()
  expect((await verify(lake, store)).findings).toEqual([])
  expect(await lake.store.get(lists[0]!)).toBeUndefined()
})

test('a file that appears after the folder was listed is not missed', async () => {
  const lake = memoryLake()
  const table = await tableOf(lake, 2)
  const listed = await lake.store.list('trades/')
  const file = dataFile(table, 'f2')
  const stale: ObjectStore = {
    ...interrupted(
      lake.store,
      () => false,
      async () => undefined,
    ),
    list: async (prefix) =>
      prefix === 'trades/' ? listed.filter(({ key }) => !key.endsWith('f2.parquet')) : lake.store.list(prefix),
  }
  expect((await verify(lake, stale)).findings).toEqual([])
  await lake.store.delete([keyOf(table, file.path)])
  expect((await verify(lake, stale)).findings).toMatchObject([
    { file: '/lake/trades/data/_event_time_day=2013-10-07/f2.parquet' },
  ])
})

test('a file that the current snapshot has twice, and totals that its manifests do not bear out, are problems', async () => {
  const lake = memoryLake()
  const table = await tableOf(lake, 1)
  const { table: twice } = await appendFiles(lake, {
    table,
    dataFiles: [dataFile(table, 'f1')],
    from: at(1),
    to: at(1),
  })
  expect((await verify(lake)).findings).toMatchObject([
    { severity: 'problem', file: '/lake/trades/data/_event_time_day=2013-10-07/f1.parquet' },
  ])
  const snapshots = twice.metadata.snapshots.map((snapshot) => ({
    ...snapshot,
    summary: { ...snapshot.summary, 'total-records': '7' },
  }))
  await lake.catalog.commit(twice, { ...twice.metadata, snapshots })
  const found = (await verify(lake)).findings.map(({ what }) => what)
  expect(found.filter((what) => what.includes('says total-records 7'))).toHaveLength(2)
})

test('metadata that cannot be loaded, a list and a manifest that are gone, are problems at their place', async () => {
  const lake = memoryLake()
  const table = await tableOf(lake, 2)
  const list = keyOf(table, currentSnapshot(table.metadata)!['manifest-list'])
  await lake.store.delete([list])
  expect((await verify(lake)).findings).toMatchObject([{ check: 'table', stream: 'trades', file: `/lake/${list}` }])
  await lake.store.put('trades/metadata/v3.metadata.json', Buffer.from('{}'))
  const check = await verify(lake)
  expect(check.table).toBeUndefined()
  expect(check.findings).toMatchObject([{ severity: 'problem', check: 'table', stream: 'trades' }])
})

test('orphans are the files that no kept snapshot refers to', async () => {
  const lake = memoryLake()
  await tableOf(lake, 2)
  await lake.store.put('trades/data/left.parquet', Buffer.alloc(3))
  const versions = (await lake.store.list('trades/metadata/v')).map(({ key }) => key)
  expect(orphansOf(await verify(lake), new Set(versions))).toEqual([{ key: 'trades/data/left.parquet', bytes: 3 }])
})

test('a table that was rewritten, tagged, expired, rolled back and regrouped is in order at each step', async () => {
  const lake = memoryLake()
  let table = await tableOf(lake, 3)
  const inOrder = async (expected: Partial<TableCheck>): Promise<TableCheck> => {
    const check = await verify(lake)
    expect(check).toMatchObject({ ...expected, findings: [] })
    return check
  }
  const merged = dataFile(table, 'f12', 20)
  await lake.store.put(keyOf(table, merged.path), Buffer.alloc(merged.bytes))
  const remove = ['f1', 'f2'].map((name) => dataFile(table, name).path)
  table = (await rewriteFiles(lake, { table, remove, add: [merged], operation: 'replace' })).table
  const check = await inOrder({ snapshots: 4, rows: 30, bytes: 3000 })
  expect(check.files.map(({ key, current }) => [key.split('/').at(-1), current])).toEqual([
    ['f12.parquet', true],
    ['f3.parquet', true],
    ['f2.parquet', false],
    ['f1.parquet', false],
  ])
  const [first] = table.metadata.snapshots
  table = (await createTag(lake, table, 'first', first!['snapshot-id'])).table
  table = (await rollbackTo(lake, table, first!['snapshot-id'])).table
  await inOrder({ snapshots: 5, rows: 10 })
  table = (await expireSnapshots(lake, table, { olderThanMs: Number.MAX_SAFE_INTEGER, keepLast: 1 })).table
  await inOrder({ snapshots: 2, rows: 10 })
  table = await add(lake, table, 'f4', 4)
  await rewriteManifests(lake, table)
  await inOrder({ rows: 20 })
  const versions = (await lake.store.list('trades/metadata/v')).map(({ key }) => key)
  expect(orphansOf(await verify(lake), new Set(versions))).toEqual([])
})

test('delete files are checked as data files are, and told to those who read the rows', async () => {
  const lake = memoryLake()
  let table = await tableOf(lake, 2)
  table = await commitDeletes(lake, table, [{ name: 'd1.parquet', upper: dataFile(table, 'f1').path }])
  const check = await verify(lake)
  expect(check).toMatchObject({ snapshots: 3, manifests: 3, rows: 20, bytes: 2000, findings: [] })
  expect(check.files.map(({ deletes }) => deletes.length).toSorted((a, b) => a - b)).toEqual([0, 1])
  expect(check.referenced).toContain('trades/data/d1.parquet')
  await lake.store.put('trades/data/d1.parquet', Buffer.alloc(3))
  expect((await verify(lake)).findings).toMatchObject([{ severity: 'problem', file: '/lake/trades/data/d1.parquet' }])
  await lake.store.delete(['trades/data/d1.parquet'])
  expect((await verify(lake)).findings).toMatchObject([{ severity: 'problem', file: '/lake/trades/data/d1.parquet' }])
  await commitDeletes(lake, table, [{ name: 'd2', content: 2 }])
  const what = expect.stringContaining('equality deletes') as string
  expect((await verify(lake)).findings).toContainEqual(expect.objectContaining({ file: '/lake/trades/data/d2', what }))
})

test('statistics of other engines are theirs, and a "main" that is not the current snapshot is a problem', async () => {
  const lake = memoryLake()
  const table = await tableOf(lake, 2)
  await lake.store.put('trades/metadata/1.stats', Buffer.from('x'))
  const [old, newest] = table.metadata.snapshots
  const statistics = [
    { 'snapshot-id': newest!['snapshot-id'], 'statistics-path': `${table.metadata.location}/metadata/1.stats` },
  ]
  const refs = { main: { 'snapshot-id': old!['snapshot-id'], type: 'branch' as const } }
  await lake.catalog.commit(table, Object.assign({ ...table.metadata, refs }, { statistics }))
  const check = await verify(lake)
  expect(check.referenced).toContain('trades/metadata/1.stats')
  expect(check.findings.map(({ what }) => what)).toEqual([expect.stringContaining('"main" is')])
})
