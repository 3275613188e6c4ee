import { beforeEach, describe, expect, test } from 'vitest'
import { failing } from '../../test/conformance/catalog-faults.ts'
import { append, at, dataFile, emptyTable, memoryLake, type Lake } from '../../test/conformance/lake-fixture.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { Catalog, LoadedTable } from './catalog.ts'
import { appendFiles, type AppendRequest } from './commit.ts'
import { readManifest, readManifestList } from './manifest.ts'
import {
  currentSchema,
  currentSnapshot,
  evolveTable,
  tablePositions,
  withSchema,
  type TableMetadata,
} from './metadata.ts'
import { planScan } from './scan.ts'
import { columnsOf } from './schema.ts'
import { keyOf } from './table-paths.ts'

describe('appending to a table', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
  })

  const filesOf = async (): Promise<string[]> => {
    const loaded = (await lake.catalog.load('trades'))!
    return (await planScan(lake.store, loaded)).files.map((file) => file.key.split('/').at(-1)!).toSorted()
  }
  const load = async (): Promise<LoadedTable> => (await lake.catalog.load('trades'))!
  const request = (name: string, from: number, to: number, base = table): AppendRequest => ({
    table: base,
    dataFiles: [dataFile(base, name)],
    from: at(from),
    to: at(to),
  })
  const conflictCode = { code: 'commit_conflict' }

  test('files and positions enter in one snapshot (I3)', async () => {
    const { table: next, snapshot, conflicts } = await append(lake, table, 'a', 100)
    expect(conflicts).toBe(0)
    expect(await filesOf()).toEqual(['a.parquet'])
    expect(tablePositions(next.metadata)).toEqual(at(100))
    expect(await load()).toEqual(next)
    expect(snapshot.summary).toEqual({
      operation: 'append',
      'added-data-files': '1',
      'added-records': '10',
      'added-files-size': '1000',
      'changed-partition-count': '1',
      'total-records': '10',
      'total-files-size': '1000',
      'total-data-files': '1',
      'total-delete-files': '0',
      'total-position-deletes': '0',
      'total-equality-deletes': '0',
      'freshet.positions': '{"0":"100"}',
    })
    const second = await append(lake, next, 'b', 200)
    expect(second.snapshot.summary).toMatchObject({ 'total-records': '20', 'total-data-files': '2' })
    expect(second.snapshot['parent-snapshot-id']).toBe(snapshot['snapshot-id'])
    expect(second.table.metadata['snapshot-log'].map((entry) => entry['snapshot-id'])).toEqual([
      snapshot['snapshot-id'],
      second.snapshot['snapshot-id'],
    ])
  })

  test('snapshot ids fit a double, sequence numbers count up', async () => {
    const first = await append(lake, table, 'a', 1)
    const second = await append(lake, first.table, 'b', 2)
    expect(first.snapshot['snapshot-id']).toBeLessThan(2n ** 53n)
    expect([first, second].map((result) => result.snapshot['sequence-number'])).toEqual([1, 2])
    expect(
      (await planScan(lake.store, second.table)).files.map((file) => file.sequenceNumber).toSorted((a, b) => a - b),
    ).toEqual([1, 2])
  })

  test('a commit without files moves the positions on and keeps the files', async () => {
    const first = await append(lake, table, 'a', 100)
    const { table: next } = await appendFiles(lake, { table: first.table, dataFiles: [], from: at(100), to: at(250) })
    expect(tablePositions(next.metadata)).toEqual(at(250))
    expect(await filesOf()).toEqual(['a.parquet'])
    expect(currentSnapshot(next.metadata)!.summary).toMatchObject({ 'added-records': '0', 'total-records': '10' })
  })

  test('summary fields of the caller are kept, but cannot change the positions', async () => {
    const summary = { 'freshet.duplicates': '3', 'freshet.positions': 'x' }
    const { snapshot } = await appendFiles(lake, { ...request('a', 0, 5), summary })
    expect(snapshot.summary).toMatchObject({ 'freshet.duplicates': '3', 'freshet.positions': '{"0":"5"}' })
  })

  test('time never goes back in the table, even when the clock does', async () => {
    const first = await append(lake, table, 'a', 1)
    lake.clock.ms -= 3_600_000
    const second = await append(lake, first.table, 'b', 2)
    expect(second.snapshot['timestamp-ms']).toBe(first.snapshot['timestamp-ms'])
    expect(second.table.metadata['last-updated-ms']).toBe(first.table.metadata['last-updated-ms'])
  })

  test('an evolved schema enters with the files that have it', async () => {
    const columns = [...columnsOf(currentSchema(table.metadata)), { name: 'venue', type: { kind: 'string' as const } }]
    const evolution = evolveTable(table.metadata, columns)!
    const { table: next, snapshot } = await appendFiles(lake, { ...request('a', 0, 1), evolution })
    expect(columnsOf(currentSchema(next.metadata))).toEqual(columns)
    expect(snapshot['schema-id']).toBe(1)
    expect(evolveTable(next.metadata, columns)).toBeUndefined()
  })

  test("conflict before: positions that are not the table's are refused at once, and nothing is written", async () => {
    await append(lake, table, 'a', 100)
    const keys = [...lake.store.objects.keys()]
    await expect(appendFiles(lake, { ...request('b', 0, 100, await load()) })).rejects.toMatchObject(conflictCode)
    expect([...lake.store.objects.keys()]).toEqual(keys)
  })

  test('conflict after: a second loader of the same positions loads nothing, and leaves no files (I3, I5)', async () => {
    await append(lake, table, 'a', 100)
    const keys = [...lake.store.objects.keys()].toSorted()
    await expect(appendFiles(lake, request('b', 0, 100))).rejects.toMatchObject(conflictCode)
    expect(await filesOf()).toEqual(['a.parquet'])
    expect([...lake.store.objects.keys()].toSorted()).toEqual(keys)
  })

  test("another engine's commit in between is no reason to give up: the load is rebased", async () => {
    const first = await append(lake, table, 'a', 100)
    const foreign = foreignSnapshot(first.table.metadata)
    await lake.catalog.commit(first.table, foreign)
    const { table: next, conflicts } = await appendFiles(lake, request('b', 100, 200, first.table))
    expect(conflicts).toBe(1)
    expect(await filesOf()).toEqual(['a.parquet', 'b.parquet'])
    expect(currentSnapshot(next.metadata)!['parent-snapshot-id']).toBe(foreign['current-snapshot-id'])
    expect(next.metadata['last-sequence-number']).toBe(3)
    const plan = await planScan(lake.store, next)
    expect(plan.files.find((file) => file.key.endsWith('b.parquet'))?.sequenceNumber).toBe(3)
  })

  test('a rebase that would mix two evolutions is refused', async () => {
    const columns = columnsOf(currentSchema(table.metadata))
    const ours = evolveTable(table.metadata, [...columns, { name: 'ours', type: { kind: 'long' } }])!
    const theirs = evolveTable(table.metadata, [...columns, { name: 'theirs', type: { kind: 'string' } }])!
    await lake.catalog.commit(table, withSchema(table.metadata, theirs))
    await expect(appendFiles(lake, { ...request('a', 0, 1), evolution: ours })).rejects.toMatchObject(conflictCode)
    expect(await filesOf()).toEqual([])
  })

  test('a load without new columns is rebased on a schema that another writer changed', async () => {
    const evolution = evolveTable(table.metadata, [
      ...columnsOf(currentSchema(table.metadata)),
      { name: 'x', type: { kind: 'long' } },
    ])!
    await lake.catalog.commit(table, withSchema(table.metadata, evolution))
    const { table: next } = await appendFiles(lake, request('a', 0, 1))
    expect(currentSchema(next.metadata)['schema-id']).toBe(1)
    expect(await filesOf()).toEqual(['a.parquet'])
  })

  test('a lost answer: the commit that was made is recognised and not made again', async () => {
    const lost = failing(lake.catalog, 'after', () => new Error('connection reset'))
    const { table: next } = await appendFiles({ ...lake, catalog: lost }, request('a', 0, 100))
    expect(tablePositions(next.metadata)).toEqual(at(100))
    expect(await filesOf()).toEqual(['a.parquet'])
  })

  test('a commit that failed but can be seen is not believed before a conflict says that it will stay (I7)', async () => {
    const lost = failing(lake.catalog, 'after', () => new Error('the folder could not be synced'))
    let tries = 0
    const broken: Catalog = {
      ...lost,
      commit: (base, next) => {
        if (++tries === 2) throw new Error('nor could it be synced again')
        return lost.commit(base, next)
      },
    }
    const outcome = appendFiles({ ...lake, catalog: broken }, request('a', 0, 100))
    await expect(outcome).rejects.toThrow('nor could it be synced again')
    expect(tries).toBe(2)
  })

  test('a lost answer whose repetition met a conflict with itself is recognised too', async () => {
    const lost = failing(lake.catalog, 'after', () => new FreshetError('commit_conflict', 'taken'))
    await appendFiles({ ...lake, catalog: lost }, request('a', 0, 100))
    expect(await filesOf()).toEqual(['a.parquet'])
  })

  test('a lost answer is recognised when others have committed on top since', async () => {
    const lost = failing(
      lake.catalog,
      'after',
      () => new Error('timeout'),
      async () => {
        const now = await load()
        await lake.catalog.commit(now, foreignSnapshot(now.metadata))
      },
    )
    const { snapshot, table: next } = await appendFiles({ ...lake, catalog: lost }, request('a', 0, 100))
    expect(snapshot.summary['freshet.positions']).toBe('{"0":"100"}')
    expect(next.metadata['current-snapshot-id']).not.toBe(snapshot['snapshot-id'])
    expect(await filesOf()).toEqual(['a.parquet'])
  })

  test('an error before the commit was made is passed on, and the load can be made again', async () => {
    const broken = failing(lake.catalog, 'before', () => new Error('disk gone'))
    await expect(appendFiles({ ...lake, catalog: broken }, request('a', 0, 100))).rejects.toThrow('disk gone')
    expect(await filesOf()).toEqual([])
    await appendFiles(lake, request('a', 0, 100))
    expect(await filesOf()).toEqual(['a.parquet'])
  })

  test('a crash between any two writes leaves the table whole, before or after (I3)', async () => {
    const first = await append(lake, table, 'a', 100)
    for (let writes = 0; ; writes++) {
      let left = writes
      const crash = (): void => {
        if (left-- === 0) throw new Error('crashed')
      }
      const crashing = memoryLake()
      for (const [key, object] of lake.store.objects) crashing.store.objects.set(key, object)
      const { store } = crashing
      const put = store.put.bind(store)
      const putIfAbsent = store.putIfAbsent.bind(store)
      store.put = async (key, body) => (crash(), put(key, body))
      store.putIfAbsent = async (key, body) => (crash(), putIfAbsent(key, body))
      const made = await appendFiles(crashing, request('b', 100, 200, first.table)).then(
        () => true,
        () => false,
      )
      left = Number.POSITIVE_INFINITY
      const after = (await crashing.catalog.load('trades'))!
      const files = (await planScan(store, after)).files.length
      expect([files, tablePositions(after.metadata).get(0)]).toEqual(made ? [2, 200n] : [1, 100n])
      if (made && writes > 3) break
    }
  })

  test('of two concurrent loaders exactly one wins', async () => {
    const results = await Promise.allSettled([
      appendFiles(lake, request('a', 0, 100)),
      appendFiles(lake, request('b', 0, 100)),
    ])
    expect(results.map((result) => result.status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(await filesOf()).toHaveLength(1)
  })

  test('many loaders of different spans: every span is loaded once at most, and positions never skip (I3, I5)', async () => {
    const loader = async (name: string): Promise<void> => {
      for (let at0 = Number(tablePositions((await load()).metadata).get(0) ?? 0n); at0 < 50;) {
        const base = await load()
        const from = Number(tablePositions(base.metadata).get(0) ?? 0n)
        if (from >= 50) return
        await appendFiles(lake, request(`${name}-${from}`, from, from + 5, base)).catch((error: unknown) => {
          expect(error).toMatchObject(conflictCode)
        })
        at0 = from
      }
    }
    await Promise.all(['a', 'b', 'c', 'd', 'e'].map(loader))
    const spans = (await filesOf()).map((file) => Number(/-(\d+)\./.exec(file)![1])).toSorted((a, b) => a - b)
    expect(spans).toEqual([0, 5, 10, 15, 20, 25, 30, 35, 40, 45])
    expect(tablePositions((await load()).metadata)).toEqual(at(50))
  })

  test("small manifests are merged, so a snapshot's list does not grow with history", async () => {
    const deps = { ...lake, merge: { smallManifestsMax: 10, targetBytes: 8 * 1024 * 1024, filesMax: 2000 } }
    let now = table
    for (let index = 0; index < 45; index++) {
      now = (await append(deps, now, `f${index}`, index + 1)).table
      const list = await readManifestList(lake.store, keyOf(now, currentSnapshot(now.metadata)!['manifest-list']))
      expect(list.length).toBeLessThanOrEqual(10)
      expect(list.reduce((sum, manifest) => sum + manifest.addedRows + manifest.existingRows, 0)).toBe((index + 1) * 10)
    }
    const plan = await planScan(lake.store, now)
    expect(plan.files.map((file) => file.sequenceNumber).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 45 }, (_, index) => index + 1),
    )
    expect(new Set(plan.files.map((file) => file.snapshotId)).size).toBe(45)
    const snapshotIds = new Set(now.metadata.snapshots.map((snapshot) => snapshot['snapshot-id']))
    expect(plan.files.every((file) => snapshotIds.has(file.snapshotId))).toBe(true)
  })

  test('merged manifests stay below the target size', async () => {
    const deps = { ...lake, merge: { smallManifestsMax: 4, targetBytes: 12_000, filesMax: 2000 } }
    let now = table
    for (let index = 0; index < 40; index++) now = (await append(deps, now, `f${index}`, index + 1)).table
    const list = await readManifestList(lake.store, keyOf(now, currentSnapshot(now.metadata)!['manifest-list']))
    expect(list.every((manifest) => manifest.bytes <= 12_000)).toBe(true)
    expect(list.some((manifest) => manifest.existingFiles > 1)).toBe(true)
    expect((await planScan(lake.store, now)).files).toHaveLength(40)
  })

  test('a merge reads and writes a bounded number of files again', async () => {
    const deps = { ...lake, merge: { smallManifestsMax: 4, targetBytes: 8 * 1024 * 1024, filesMax: 10 } }
    let now = table
    for (let index = 0; index < 60; index++) {
      const reads = lake.store.reads.length
      now = (await append(deps, now, `f${index}`, index + 1)).table
      expect(lake.store.reads.slice(reads).filter((key) => key.endsWith('-m0.avro')).length).toBeLessThanOrEqual(10)
    }
    const list = await readManifestList(lake.store, keyOf(now, currentSnapshot(now.metadata)!['manifest-list']))
    expect(list.every((manifest) => manifest.addedFiles + manifest.existingFiles <= 10)).toBe(true)
    expect(list.length).toBeLessThan(20)
    expect(await filesOf()).toHaveLength(60)
  })

  test('only the newest snapshots stay in the metadata, files of older ones go, rows stay', async () => {
    const deps = {
      ...lake,
      snapshotsMax: 5,
      merge: { smallManifestsMax: 3, targetBytes: 8 * 1024 * 1024, filesMax: 2000 },
    }
    let now = table
    for (let index = 0; index < 30; index++) now = (await append(deps, now, `f${index}`, index + 1)).table
    expect(now.metadata.snapshots).toHaveLength(5)
    expect(now.metadata['snapshot-log']).toHaveLength(5)
    expect(await filesOf()).toHaveLength(30)
    for (const snapshot of now.metadata.snapshots) {
      const { files } = await planScan(lake.store, now, { snapshot })
      expect(String(files.length * 10)).toBe(snapshot.summary['total-records'])
    }
    const live = new Set<string>()
    for (const snapshot of now.metadata.snapshots) {
      live.add(keyOf(now, snapshot['manifest-list']))
      for (const manifest of await readManifestList(lake.store, keyOf(now, snapshot['manifest-list'])))
        live.add(keyOf(now, manifest.path))
    }
    const stored = [...lake.store.objects.keys()].filter((key) => key.endsWith('.avro'))
    expect(stored.filter((key) => !live.has(key))).toEqual([])
  })

  test('a commit to a table of many files reads and writes as much as one to a table of few', async () => {
    const deps = { ...lake, merge: { smallManifestsMax: 1000, targetBytes: 8 * 1024 * 1024, filesMax: 2000 } }
    const many = Array.from({ length: 2000 }, (_, index) => dataFile(table, `bulk-${index}`))
    const big = await appendFiles(deps, { table, dataFiles: many, from: at(0), to: at(1) })
    const before = lake.store.reads.length
    const size = lake.store.objects.size
    const { table: next } = await append(deps, big.table, 'one', 2)
    expect(lake.store.reads.slice(before).filter((key) => key.endsWith('.avro'))).toHaveLength(1)
    expect(lake.store.objects.size - size).toBe(3)
    const list = await readManifestList(lake.store, keyOf(next, currentSnapshot(next.metadata)!['manifest-list']))
    expect(
      (await readManifest(lake.store, keyOf(next, list[0]!.path), list[0]!)).map((entry) => entry.file.path),
    ).toHaveLength(1)
  })
})

/** A snapshot as another engine makes it: same files, a 63-bit id, no positions. */
function foreignSnapshot(metadata: TableMetadata): TableMetadata {
  const parent = currentSnapshot(metadata)!
  const id = 8_000_000_000_000_000_001n
  const sequenceNumber = metadata['last-sequence-number'] + 1
  const { 'freshet.positions': _ours, ...summary } = parent.summary
  const snapshot = {
    ...parent,
    'snapshot-id': id,
    'parent-snapshot-id': parent['snapshot-id'],
    'sequence-number': sequenceNumber,
    summary,
  }
  return {
    ...metadata,
    'last-sequence-number': sequenceNumber,
    snapshots: [...metadata.snapshots, snapshot],
    'current-snapshot-id': id,
    refs: { main: { 'snapshot-id': id, type: 'branch' } },
  }
}
