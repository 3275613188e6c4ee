import { beforeEach, describe, expect, test } from 'vitest'
import { failing, meeting } from '../../test/conformance/catalog-faults.ts'
import { append, at, dataFile, emptyTable, memoryLake, type Lake } from '../../test/conformance/lake-fixture.ts'
import type { LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import { expireSnapshots } from './expire.ts'
import { ledgerKey } from './ledger.ts'
import { currentSnapshot, tablePositions, type Snapshot } from './metadata.ts'
import { createTag, dropRef, dropTag, rolledBackFromKey, rolledBackToKey, rollbackTo } from './refs.ts'
import { rewriteFiles } from './rewrite.ts'
import { planScan } from './scan.ts'
import { keyOf } from './table-paths.ts'

describe('tags and rollback', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
    for (const name of ['a', 'b', 'c']) await add(name)
  })

  const store = async (name: string): Promise<void> => {
    const file = dataFile(table, name)
    await lake.store.put(keyOf(table, file.path), Buffer.alloc(file.bytes))
  }
  const add = async (name: string): Promise<void> => {
    await store(name)
    table = (await append(lake, table, name, Number(tablePositions(table.metadata).get(0) ?? 0n) + 1)).table
  }
  const snapshot = (index: number): Snapshot => table.metadata.snapshots[index]!
  const idOf = (index: number): bigint => snapshot(index)['snapshot-id']
  const filesOf = async (of = table): Promise<string[]> => {
    const { files } = await planScan(lake.store, of)
    return files.map((file) => file.key.split('/').at(-1)!.replace('.parquet', '')).toSorted()
  }

  test('a tag names a snapshot, survives commits, and can be dropped', async () => {
    table = (await createTag(lake, table, 'v1.0', idOf(1), { maxAgeMs: 5 })).table
    await add('d')
    expect(table.metadata.refs['v1.0']).toEqual({ 'snapshot-id': idOf(1), type: 'tag', 'max-ref-age-ms': 5 })
    expect((await lake.catalog.load('trades'))!.metadata.refs).toEqual(table.metadata.refs)
    table = (await dropTag(lake, table, 'v1.0')).table
    expect(Object.keys(table.metadata.refs)).toEqual(['main'])
  })

  test('a tag again is the same tag; its name for another snapshot is refused', async () => {
    table = (await createTag(lake, table, 'x', idOf(1))).table
    expect((await createTag(lake, table, 'x', idOf(1))).table.version).toBe(table.version)
    await expect(createTag(lake, table, 'x', idOf(2))).rejects.toMatchObject({ code: 'invalid_request' })
  })

  test('names that are none, snapshots and tags that are not there, and branches are refused', async () => {
    for (const name of ['', 'main', 'a b', '-x', 'x'.repeat(200), 'ä'])
      await expect(createTag(lake, table, name, idOf(0))).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(createTag(lake, table, 'x', 5n)).rejects.toMatchObject({ code: 'not_found' })
    await expect(dropTag(lake, table, 'x')).rejects.toMatchObject({ code: 'not_found' })
    await expect(dropRef(lake, table, 'main')).rejects.toMatchObject({ code: 'invalid_request' })
    const refs = { ...table.metadata.refs, audit: { 'snapshot-id': idOf(0), type: 'branch' as const } }
    table = await lake.catalog.commit(table, { ...table.metadata, refs })
    await expect(dropTag(lake, table, 'audit')).rejects.toMatchObject({ code: 'invalid_request' })
    table = (await dropRef(lake, table, 'audit')).table
    expect(Object.keys(table.metadata.refs)).toEqual(['main'])
  })

  test('a load that comes first is kept, a tag of another snapshot under the name is not overwritten', async () => {
    const busy = meeting(lake.catalog, () => append(lake, table, 'd', 4))
    table = (await createTag({ ...lake, catalog: busy }, table, 'x', idOf(1))).table
    expect([tablePositions(table.metadata), table.metadata.refs['x']?.type]).toEqual([at(4), 'tag'])
    const taken = meeting(lake.catalog, () => createTag(lake, table, 'y', idOf(0)))
    const late = createTag({ ...lake, catalog: taken }, table, 'y', idOf(1))
    await expect(late).rejects.toMatchObject({ code: 'invalid_request' })
  })

  test('a snapshot that expires first cannot be tagged', async () => {
    const expire = { olderThanMs: Number.MAX_SAFE_INTEGER, keepLast: 1 }
    const busy = meeting(lake.catalog, () => expireSnapshots(lake, table, expire))
    const late = createTag({ ...lake, catalog: busy }, table, 'x', idOf(0))
    await expect(late).rejects.toMatchObject({ code: 'not_found' })
  })

  test('a lost answer is recognised', async () => {
    const lost = failing(lake.catalog, 'after', () => new Error('connection reset'))
    table = (await createTag({ ...lake, catalog: lost }, table, 'x', idOf(1))).table
    const dropped = failing(lake.catalog, 'after', () => new Error('connection reset'))
    table = (await dropTag({ ...lake, catalog: dropped }, table, 'x')).table
    expect((await lake.catalog.load('trades'))!.metadata.refs['x']).toBeUndefined()
  })

  test('a rollback is a new snapshot with the old files, and the positions and ledger of the table', async () => {
    const row = { source: null, hour: 1, accepted: 1, committed: 1, deduplicated: 0, deadLettered: 0 }
    await store('d')
    const request = { table, dataFiles: [dataFile(table, 'd')], from: at(3), to: at(9) }
    table = (await appendFiles(lake, { ...request, ledger: { rows: [row], sources: new Map() } })).table
    const before = table
    const result = await rollbackTo(lake, table, idOf(0), { summary: { 'freshet.by': 'me' } })
    table = result.table
    expect(await filesOf()).toEqual(['a'])
    expect(tablePositions(table.metadata)).toEqual(at(9))
    expect(table.metadata.properties[ledgerKey]).toBe(before.metadata.properties[ledgerKey])
    expect(result).toMatchObject({ removed: { files: 3, rows: 30 }, restored: { files: 0, rows: 0 } })
    expect(result.snapshot).toMatchObject({ 'sequence-number': 5, 'parent-snapshot-id': idOf(0) })
    expect(result.snapshot.summary).toEqual({
      operation: 'overwrite',
      'total-records': '10',
      'total-files-size': '1000',
      'total-data-files': '1',
      'total-delete-files': '0',
      'total-position-deletes': '0',
      'total-equality-deletes': '0',
      'freshet.by': 'me',
      [rolledBackToKey]: String(idOf(0)),
      [rolledBackFromKey]: String(before.metadata['current-snapshot-id']),
      'freshet.positions': '{"0":"9"}',
    })
  })

  test('loading goes on after a rollback, and one can go forward again', async () => {
    const newest = idOf(2)
    const properties = (_base: unknown, { removed }: { removed: { rows: number } }): Record<string, string> => ({
      'freshet.gone': String(removed.rows),
    })
    table = (await rollbackTo(lake, table, idOf(0), { properties })).table
    expect(table.metadata.properties['freshet.gone']).toBe('20')
    await add('d')
    expect([await filesOf(), tablePositions(table.metadata)]).toEqual([['a', 'd'], at(4)])
    const forward = await rollbackTo(lake, table, newest)
    expect(await filesOf(forward.table)).toEqual(['a', 'b', 'c'])
    expect(forward).toMatchObject({ removed: { files: 1, rows: 10 }, restored: { files: 2, rows: 20 } })
  })

  test('files that were deleted since come back', async () => {
    const before = idOf(2)
    await store('abc')
    const remove = ['a', 'b', 'c'].map((name) => dataFile(table, name).path)
    table = (await rewriteFiles(lake, { table, remove, add: [dataFile(table, 'abc')], operation: 'replace' })).table
    expect(await filesOf()).toEqual(['abc'])
    table = (await rollbackTo(lake, table, before)).table
    expect(await filesOf()).toEqual(['a', 'b', 'c'])
    // What went can be removed again, of the same manifests.
    table = (await rewriteFiles(lake, { table, remove: remove.slice(0, 1), add: [], operation: 'delete' })).table
    expect(await filesOf()).toEqual(['b', 'c'])
  })

  test('a snapshot that is not there, or whose files are gone, is refused, and nothing changes', async () => {
    await expect(rollbackTo(lake, table, 5n)).rejects.toMatchObject({ code: 'not_found' })
    await lake.store.delete([keyOf(table, dataFile(table, 'a').path)])
    await expect(rollbackTo(lake, table, idOf(0))).rejects.toMatchObject({
      code: 'corrupt_table',
      message: expect.stringContaining('a.parquet') as string,
    })
    expect(await lake.catalog.load('trades')).toEqual(table)
  })

  test('a load that comes first goes with what was loaded since; its positions stay (I3)', async () => {
    const busy = meeting(lake.catalog, () => add('d'))
    const { table: next, removed } = await rollbackTo({ ...lake, catalog: busy }, table, idOf(1))
    expect([await filesOf(next), tablePositions(next.metadata)]).toEqual([['a', 'b'], at(4)])
    expect(removed).toEqual({ files: 2, rows: 20 })
  })

  test('a snapshot that expires first cannot be gone back to', async () => {
    const expire = { olderThanMs: Number.MAX_SAFE_INTEGER, keepLast: 1 }
    const busy = meeting(lake.catalog, () => expireSnapshots(lake, table, expire))
    const late = rollbackTo({ ...lake, catalog: busy }, table, idOf(0))
    await expect(late).rejects.toMatchObject({ code: 'not_found' })
    expect(await filesOf(await lake.catalog.load('trades'))).toEqual(['a', 'b', 'c'])
  })

  test('a lost answer of a rollback is recognised', async () => {
    const lost = failing(lake.catalog, 'after', () => new Error('connection reset'))
    const { snapshot: made } = await rollbackTo({ ...lake, catalog: lost }, table, idOf(0))
    expect(currentSnapshot((await lake.catalog.load('trades'))!.metadata)).toEqual(made)
  })
})
