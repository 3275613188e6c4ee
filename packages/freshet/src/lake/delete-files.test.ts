import { beforeEach, describe, expect, test } from 'vitest'
import { meeting } from '../../test/conformance/catalog-faults.ts'
import { commitDeletes, type ForeignDelete } from '../../test/conformance/foreign-deletes.ts'
import {
  append,
  at,
  dataFile,
  dayValue,
  emptyTable,
  memoryLake,
  type Lake,
} from '../../test/conformance/lake-fixture.ts'
import type { LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import { expireSnapshots } from './expire.ts'
import { readRawManifest } from './manifest.ts'
import { currentSnapshot, tablePositions } from './metadata.ts'
import { liveManifests } from './next-snapshot.ts'
import { rollbackTo } from './refs.ts'
import { rewriteFiles, type RewriteRequest } from './rewrite.ts'
import { planScan, type ScanPlan } from './scan.ts'
import { keyOf } from './table-paths.ts'

describe('delete files', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
    for (const [index, name] of ['a', 'b'].entries()) {
      await lake.store.put(keyOf(table, pathOf(name)), Buffer.alloc(1000))
      table = (await append(lake, table, name, index + 1)).table
    }
  })

  const pathOf = (name: string): string => dataFile(table, name).path
  const shortName = (key: string): string => key.split('/').at(-1)!.replace('.parquet', '')
  const plan = (previous?: ScanPlan): Promise<ScanPlan> =>
    planScan(lake.store, table, previous === undefined ? {} : { previous })
  /** Names of the delete files of each data file. */
  const applied = ({ files }: Pick<ScanPlan, 'files'>): Record<string, string[]> =>
    Object.fromEntries(files.map((file) => [shortName(file.key), file.deletes.map(({ key }) => shortName(key))]))
  const remove = async (...deletes: ForeignDelete[]): Promise<void> => {
    table = await commitDeletes(lake, table, deletes)
  }
  const replace = (names: string[], by: string, base = table): RewriteRequest => ({
    table: base,
    remove: names.map(pathOf),
    add: [dataFile(table, by, 15)],
    operation: 'replace',
  })
  const conflict = { code: 'commit_conflict' }

  test('they apply to the data files of their partition that are not younger', async () => {
    const other = { ...dataFile(table, 'other'), partition: { _event_time_day: dayValue + 1 } }
    table = (await appendFiles(lake, { table, dataFiles: [other], from: at(2), to: at(3) })).table
    await remove({ name: 'd1', rows: 3 })
    table = (await append(lake, table, 'late', 4)).table
    await remove({ name: 'd2' })
    const { files } = await plan()
    expect(applied({ files })).toEqual({ a: ['d1', 'd2'], b: ['d1', 'd2'], other: [], late: ['d2'] })
    expect(files.find(({ key }) => key.endsWith('/a.parquet'))!.deletes[0]).toEqual({
      key: 'trades/data/d1',
      path: 'file:///lake/trades/data/d1',
      recordCount: 3,
      bytes: 50,
      sequenceNumber: 4,
    })
    expect(tablePositions(table.metadata)).toEqual(at(4))
  })

  test('their bounds for paths, whole or cut, and the file that they name leave others out', async () => {
    await remove(
      { name: 'whole', lower: pathOf('a'), upper: pathOf('a') },
      { name: 'range', lower: pathOf('a'), upper: pathOf('b') },
      { name: 'cut', lower: pathOf('a').slice(0, 16), upper: pathOf('a').slice(0, 16) },
      { name: 'rounded', lower: 'file', upper: 'filf' },
      { name: 'elsewhere', lower: 'file:///z', upper: 'file:///zz' },
      { name: 'below', upper: 'file:///a' },
      { name: 'named', referenced: pathOf('b') },
    )
    expect(applied(await plan())).toEqual({
      a: ['cut', 'range', 'rounded', 'whole'],
      b: ['cut', 'named', 'range', 'rounded'],
    })
  })

  test('a plan made from the one before says which files changed, and reads the new manifest only', async () => {
    const first = await plan()
    await remove({ name: 'd1', lower: pathOf('a'), upper: pathOf('a') })
    const reads = lake.store.reads.length
    const second = await plan(first)
    expect(lake.store.reads.length - reads).toBe(2)
    expect([second.added, second.removed, applied({ files: second.changed })]).toEqual([[], [], { a: ['d1'] }])
    expect(applied(first)).toEqual({ a: [], b: [] })
    const third = await plan(second)
    expect(third.changed).toEqual([])
    expect(third.files).toEqual(second.files)

    table = (await rollbackTo(lake, table, first.snapshotId!)).table
    const back = await plan(third)
    expect([applied(back), applied({ files: back.changed })]).toEqual([{ a: [], b: [] }, { a: [] }])
  })

  test.each<ForeignDelete>([
    { name: 'equality', content: 2 },
    { name: 'vector', format: 'PUFFIN' },
    { name: 'orc', format: 'ORC' },
  ])('what cannot be applied is refused, not ignored: $name', async (one) => {
    await remove(one)
    const message = expect.stringContaining(`/data/${one.name}`) as string
    await expect(plan()).rejects.toMatchObject({ code: 'unsupported_table', message })
  })

  test('a rewrite with the deletes applied takes the delete files along', async () => {
    await remove(
      { name: 'd1', rows: 3, lower: pathOf('a'), upper: pathOf('a') },
      { name: 'd2', referenced: pathOf('b') },
    )
    const before = await plan()
    const removeDeletes = before.files.find(({ key }) => key.endsWith('/a.parquet'))!.deletes.map(({ path }) => path)
    const { table: next, snapshot } = await rewriteFiles(lake, { ...replace(['a'], 'a2'), removeDeletes })
    table = next
    expect(applied(await plan(before))).toEqual({ a2: [], b: ['d2'] })
    expect(snapshot.summary).toMatchObject({
      'deleted-data-files': '1',
      'removed-delete-files': '1',
      'removed-position-deletes': '3',
      'removed-files-size': '1050',
      'total-data-files': '2',
      'total-delete-files': '1',
      'total-position-deletes': '1',
      'total-files-size': '2550',
    })
    // What another engine wrote of an entry is still there.
    const [deletes] = (await liveManifests({ store: lake.store, table }, snapshot)).filter(
      ({ content }) => content === 1,
    )
    const { entries } = await readRawManifest(lake.store, keyOf(table, deletes!.path), deletes!)
    expect(entries.map(({ status, data_file: file }) => [status, file.referenced_data_file])).toEqual([
      [2, null],
      [0, pathOf('b')],
    ])
    const expired = await expireSnapshots(lake, table, { olderThanMs: Number.MAX_SAFE_INTEGER, keepLast: 1 })
    expect(
      expired.removed
        .filter((key) => key.includes('/data/'))
        .map(shortName)
        .toSorted(),
    ).toEqual(['a', 'd1'])
  })

  test('deletes that came in since the plan are a conflict: their rows would come back', async () => {
    const planned = table
    await remove({ name: 'd1', lower: pathOf('a'), upper: pathOf('a') })
    await expect(rewriteFiles(lake, replace(['a', 'b'], 'ab', planned))).rejects.toMatchObject(conflict)
    const { files } = await plan()
    expect(applied({ files })).toEqual({ a: ['d1'], b: [] })
  })

  test('so they are when they come in the middle', async () => {
    const busy = meeting(lake.catalog, () => remove({ name: 'd1' }))
    await expect(rewriteFiles({ ...lake, catalog: busy }, replace(['a'], 'a2'))).rejects.toMatchObject(conflict)
  })

  test('deletes of other files or partitions, and those that were planned with, are no conflict', async () => {
    await remove({ name: 'old', lower: pathOf('a'), upper: pathOf('a') })
    const planned = table
    await remove({ name: 'd1', lower: pathOf('b'), upper: pathOf('b') }, { name: 'd2', day: dayValue + 1 })
    const removeDeletes = ['file:///lake/trades/data/old']
    table = (await rewriteFiles(lake, { ...replace(['a'], 'a2', planned), removeDeletes })).table
    expect(applied(await plan())).toEqual({ a2: [], b: ['d1'] })
  })

  test('a delete file that another rewrite took is a conflict', async () => {
    await remove({ name: 'd1' })
    const planned = table
    const removeDeletes = ['file:///lake/trades/data/d1']
    await rewriteFiles(lake, { ...replace(['a'], 'a2'), removeDeletes })
    const second = { ...replace(['b'], 'b2', planned), removeDeletes }
    await expect(rewriteFiles(lake, second)).rejects.toMatchObject(conflict)
  })

  test('deletes that are older than the plan but were not in it, after a rollback, are a conflict', async () => {
    const [clean] = [currentSnapshot(table.metadata)!]
    await remove({ name: 'd1' })
    const dirty = currentSnapshot(table.metadata)!
    table = (await rollbackTo(lake, table, clean['snapshot-id'])).table
    const planned = table
    table = (await rollbackTo(lake, table, dirty['snapshot-id'])).table
    await expect(rewriteFiles(lake, replace(['a'], 'a2', planned))).rejects.toMatchObject(conflict)
  })

  test('younger equality deletes go on applying to the files of a replace, but not to those of an overwrite', async () => {
    const planned = table
    await remove({ name: 'e', content: 2 })
    const overwrite: RewriteRequest = { ...replace(['b'], 'b2', planned), operation: 'overwrite' }
    await expect(rewriteFiles(lake, overwrite)).rejects.toMatchObject(conflict)
    const { table: next } = await rewriteFiles(lake, replace(['a'], 'a2', planned))
    const manifests = await liveManifests({ store: lake.store, table: next }, currentSnapshot(next.metadata)!)
    const [added] = manifests.filter(({ addedSnapshotId }) => addedSnapshotId === next.metadata['current-snapshot-id'])
    const { entries } = await readRawManifest(lake.store, keyOf(next, added!.path), added!)
    expect(entries[0]?.sequence_number).toBe(planned.metadata['last-sequence-number'])
  })
})
