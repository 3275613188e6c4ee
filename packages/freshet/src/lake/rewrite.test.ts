import { beforeEach, describe, expect, test } from 'vitest'
import { failing, meeting } from '../../test/conformance/catalog-faults.ts'
import {
  append,
  at,
  dataFile,
  dayValue,
  emptyTable,
  memoryLake,
  type Lake,
} from '../../test/conformance/lake-fixture.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import type { DataFile } from './data-file.ts'
import { ledgerKey, readLedger } from './ledger.ts'
import { entryStatus, readManifest, readManifestList, type ManifestEntry, type ManifestFile } from './manifest.ts'
import { currentSchema, currentSnapshot, evolveTable, tablePositions, withPartition, withSchema } from './metadata.ts'
import { rewriteFiles, type RewriteRequest } from './rewrite.ts'
import { planScan } from './scan.ts'
import { columnsOf } from './schema.ts'
import { sourcesKey } from './sources.ts'
import { keyOf } from './table-paths.ts'

const conflictCode = { code: 'commit_conflict' }

describe('rewriting files of a table', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
    for (const [index, name] of ['a', 'b', 'c'].entries()) table = (await append(lake, table, name, index + 1)).table
  })

  const load = async (): Promise<LoadedTable> => (await lake.catalog.load('trades'))!
  const pathOf = (name: string): string => dataFile(table, name).path
  const filesOf = async (of?: LoadedTable): Promise<string[]> => {
    const { files } = await planScan(lake.store, of ?? (await load()))
    return files.map((file) => file.key.split('/').at(-1)!.replace('.parquet', '')).toSorted()
  }
  const listOf = (of: LoadedTable): Promise<ManifestFile[]> =>
    readManifestList(lake.store, keyOf(of, currentSnapshot(of.metadata)!['manifest-list']))
  const entriesOf = async (of: LoadedTable): Promise<Map<string, ManifestEntry>> => {
    const entries = new Map<string, ManifestEntry>()
    for (const manifest of await listOf(of)) {
      for (const entry of await readManifest(lake.store, keyOf(of, manifest.path), manifest))
        entries.set(entry.file.path.split('/').at(-1)!.replace('.parquet', ''), entry)
    }
    return entries
  }
  const replace = (names: readonly string[], by: readonly DataFile[], base = table): RewriteRequest => ({
    table: base,
    remove: names.map(pathOf),
    add: by,
    operation: 'replace',
  })
  const merged = (name = 'ab', rows = 20): DataFile => dataFile(table, name, rows)

  test('removed files are deleted entries, added ones are as old as the plan, the others are as they were', async () => {
    const before = await entriesOf(table)
    const { table: next, snapshot, conflicts } = await rewriteFiles(lake, replace(['a', 'b'], [merged()]))
    expect(conflicts).toBe(0)
    expect(await filesOf()).toEqual(['ab', 'c'])
    const entries = await entriesOf(next)
    const id = snapshot['snapshot-id']
    const { file, ...rest } = before.get('a')!
    // Its bounds are values of rows that may have been erased.
    const unbounded = { ...file, lowerBounds: new Map(), upperBounds: new Map() }
    expect(entries.get('a')).toEqual({ ...rest, file: unbounded, status: entryStatus.deleted, snapshotId: id })
    expect(entries.get('b')).toMatchObject({ status: entryStatus.deleted, sequenceNumber: 2, fileSequenceNumber: 2 })
    expect(entries.get('c')).toEqual(before.get('c'))
    expect(entries.get('ab')).toMatchObject({
      status: entryStatus.added,
      sequenceNumber: 3,
      fileSequenceNumber: 4,
      snapshotId: id,
    })
    expect(await load()).toEqual(next)
    const added = (await listOf(next)).find((manifest) => manifest.addedFiles > 0)!
    expect(added).toMatchObject({ sequenceNumber: 4, minSequenceNumber: 3 })
  })

  test('the summary says what came, what went and what there is', async () => {
    const { snapshot } = await rewriteFiles(lake, {
      ...replace(['a', 'b'], [merged('ab', 15)]),
      operation: 'overwrite',
      summary: { 'freshet.job': 'erase', 'freshet.positions': 'x' },
    })
    expect(snapshot.summary).toEqual({
      operation: 'overwrite',
      'added-data-files': '1',
      'added-records': '15',
      'added-files-size': '1500',
      'deleted-data-files': '2',
      'deleted-records': '20',
      'removed-files-size': '2000',
      'changed-partition-count': '1',
      'total-records': '25',
      'total-files-size': '2500',
      'total-data-files': '2',
      'total-delete-files': '0',
      'total-position-deletes': '0',
      'total-equality-deletes': '0',
      'freshet.job': 'erase',
      'freshet.positions': '{"0":"3"}',
    })
  })

  test('positions, ledger and sources stay what the table has (I3, I6)', async () => {
    const row = { source: 's', hour: 1, accepted: 5, committed: 4, deduplicated: 1, deadLettered: 0 }
    const sources = new Map([['s', { lastEventMs: 1, reportedThroughMs: 2, lastArrivalMs: 3 }]])
    const request = {
      table,
      dataFiles: [dataFile(table, 'd')],
      from: at(3),
      to: at(9),
      ledger: { rows: [row], sources },
    }
    table = (await appendFiles(lake, request)).table
    const { table: next } = await rewriteFiles(lake, replace(['a', 'd'], [merged()]))
    expect(tablePositions(next.metadata)).toEqual(at(9))
    for (const key of [ledgerKey, sourcesKey, 'freshet.positions'])
      expect(next.metadata.properties[key]).toBe(table.metadata.properties[key])
    expect((await readLedger(lake.store, next)).totals).toMatchObject({ accepted: 5, committed: 4 })
    const loaded = await append(lake, next, 'e', 12)
    expect(tablePositions(loaded.table.metadata)).toEqual(at(12))
  })

  test('properties and ledger rows of the caller enter in the same commit', async () => {
    const row = { source: null, hour: 1, accepted: 1, committed: 0, deduplicated: 1, deadLettered: 0 }
    const { table: next } = await rewriteFiles(lake, {
      ...replace(['a'], []),
      operation: 'delete',
      ledger: { rows: [row], sources: new Map() },
      properties: (base) => ({ 'freshet.removed': String(base['last-sequence-number']) }),
    })
    expect(next.metadata.properties['freshet.removed']).toBe('3')
    expect((await readLedger(lake.store, next)).totals.accepted).toBe(1)
  })

  test('deleted entries leave the table with the next rewrite or merge of their manifest', async () => {
    const first = await rewriteFiles(lake, replace(['a', 'b', 'c'], [merged('abc', 30)]))
    expect((await listOf(first.table)).map((manifest) => [manifest.addedFiles, manifest.deletedFiles])).toEqual([
      [1, 0],
      [0, 3],
    ])
    const second = await append(lake, first.table, 'd', 4)
    expect([...(await entriesOf(second.table)).keys()].toSorted()).toEqual(['abc', 'd'])
    const third = await rewriteFiles(lake, { ...replace(['d'], [], second.table), operation: 'delete' })
    expect((await entriesOf(third.table)).get('d')?.status).toBe(entryStatus.deleted)
  })

  test('manifests of many small commits become one when their files are rewritten', async () => {
    for (let index = 0; index < 60; index++) table = (await append(lake, table, `m${index}`, index + 4)).table
    const names = Array.from({ length: 60 }, (_, index) => `m${index}`)
    const { table: next } = await rewriteFiles(lake, replace(names, [merged('m', 600)]))
    expect(await listOf(next)).toHaveLength(1 + 1 + 3)
    expect(await filesOf()).toEqual(['a', 'b', 'c', 'm'])
  })

  test('what is read and written does not grow with the table: only manifests with removed files are touched', async () => {
    const one = memoryLake()
    let big = await one.catalog.create('trades', emptyTable())
    for (let day = 0; day < 40; day++) {
      const dataFiles = Array.from({ length: 50 }, (_, index) => onDay(big, `d${day}-${index}`, dayValue + day))
      big = (await appendFiles(one, { table: big, dataFiles, from: at(day), to: at(day + 1) })).table
    }
    const remove = [0, 1, 2].map((index) => onDay(big, `d7-${index}`, dayValue + 7).path)
    const reads = one.store.reads.length
    const objects = one.store.objects.size
    const add = [onDay(big, 'new', dayValue + 7)]
    const { table: next } = await rewriteFiles(one, { table: big, remove, add, operation: 'replace' })
    const read = one.store.reads.slice(reads).filter((key) => key.endsWith('.avro'))
    expect(read.filter((key) => key.endsWith('-m0.avro'))).toHaveLength(1)
    // Manifest of what is added, manifest rewritten, list, metadata.
    expect(one.store.objects.size - objects).toBe(4)
    expect((await planScan(one.store, next)).files).toHaveLength(40 * 50 - 2)
  })

  test('a file that its folder says nothing of is found all the same', async () => {
    const file = {
      ...dataFile(table, 'odd'),
      path: `${table.metadata.location}/data/x/odd.parquet`,
      partition: { _event_time_day: 3 },
    }
    table = (await appendFiles(lake, { table, dataFiles: [file], from: at(3), to: at(4) })).table
    table = (await append(lake, table, 'd', 5)).table
    await rewriteFiles(lake, { table, remove: [file.path], add: [], operation: 'delete' })
    expect(await filesOf()).toEqual(['a', 'b', 'c', 'd'])
  })

  test('an append that came first is kept: the rewrite is made on top of it', async () => {
    await append(lake, table, 'd', 4)
    const { table: next } = await rewriteFiles(lake, replace(['a', 'b'], [merged()]))
    expect(await filesOf()).toEqual(['ab', 'c', 'd'])
    expect(tablePositions(next.metadata)).toEqual(at(4))
    expect((await entriesOf(next)).get('ab')).toMatchObject({ sequenceNumber: 3, fileSequenceNumber: 5 })
  })

  test('an append in the middle is kept too, and the positions are those it came to (I3)', async () => {
    const busy = meeting(lake.catalog, async () => void (await append(lake, table, 'd', 4)))
    const { table: next, conflicts } = await rewriteFiles({ ...lake, catalog: busy }, replace(['a', 'b'], [merged()]))
    expect(conflicts).toBe(1)
    expect(await filesOf()).toEqual(['ab', 'c', 'd'])
    expect(tablePositions(next.metadata)).toEqual(at(4))
    expect(currentSnapshot(next.metadata)!.summary).toMatchObject({ 'total-records': '40', 'total-data-files': '3' })
    const unused = [...lake.store.objects.keys()].filter((key) => key.endsWith('-m0.avro'))
    const used = new Set<string>()
    for (const snapshot of next.metadata.snapshots)
      for (const manifest of await readManifestList(lake.store, keyOf(next, snapshot['manifest-list'])))
        used.add(keyOf(next, manifest.path))
    expect(unused.filter((key) => !used.has(key))).toEqual([])
  })

  test('another rewrite of one of its files is a conflict, and nothing changes or is left', async () => {
    const first = await rewriteFiles(lake, replace(['b', 'c'], [merged('bc')]))
    const objects = [...lake.store.objects.keys()]
    await expect(rewriteFiles(lake, replace(['a', 'b'], [merged()]))).rejects.toMatchObject(conflictCode)
    expect(await load()).toEqual(first.table)
    expect([...lake.store.objects.keys()]).toEqual(objects)
  })

  test('so it is when it comes in the middle', async () => {
    const busy = meeting(lake.catalog, async () => void (await rewriteFiles(lake, replace(['b', 'c'], [merged('bc')]))))
    await expect(rewriteFiles({ ...lake, catalog: busy }, replace(['a', 'b'], [merged()]))).rejects.toMatchObject(
      conflictCode,
    )
    expect(await filesOf()).toEqual(['a', 'bc'])
  })

  test('of concurrent rewrites and loads, no row is lost or doubled', async () => {
    const results = await Promise.allSettled([
      rewriteFiles(lake, replace(['a', 'b'], [merged()])),
      rewriteFiles(lake, replace(['b', 'c'], [merged('bc')])),
      append(lake, table, 'd', 4),
      rewriteFiles(lake, { ...replace(['a'], []), operation: 'delete' }),
    ])
    // A load gives up at a conflict only when its positions were taken; rewrites never move them.
    expect(results[2].status).toBe('fulfilled')
    const files = await filesOf()
    expect(files).toContain('d')
    const holds = (letter: string): number => files.filter((name) => name.includes(letter)).length
    expect([holds('b'), holds('c')]).toEqual([1, 1])
  })

  test('a table that was dropped and made again, or lost the partition spec, is a conflict', async () => {
    const planned = table
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
    await expect(rewriteFiles(lake, replace(['a'], [merged()], planned))).rejects.toMatchObject(conflictCode)
  })

  test('a schema that evolves meanwhile is no reason to give up', async () => {
    const columns = [...columnsOf(currentSchema(table.metadata)), { name: 'x', type: { kind: 'long' as const } }]
    await lake.catalog.commit(table, withSchema(table.metadata, evolveTable(table.metadata, columns)!))
    const { table: next, snapshot } = await rewriteFiles(lake, replace(['a', 'b'], [merged()]))
    expect(snapshot['schema-id']).toBe(1)
    expect(await filesOf(next)).toEqual(['ab', 'c'])
  })

  test('files of an earlier partition spec are removed from its manifests; new ones may be of either', async () => {
    table = await lake.catalog.commit(table, withPartition(table.metadata, { by: 'event_time', unit: 'hour' }))
    const hour = { ...merged('h'), partition: { _event_time_hour: dayValue * 24 } }
    const { table: next } = await rewriteFiles(lake, {
      ...replace(['a', 'b'], []),
      add: [hour, { ...merged('day', 10), specId: 0 }],
    })
    const { files } = await planScan(lake.store, next)
    expect(
      files.map((file) => `${file.partition?.unit} ${file.partitionValue}`).toSorted((a, b) => (a < b ? -1 : 1)),
    ).toEqual([`day ${dayValue}`, `day ${dayValue}`, `hour ${dayValue * 24}`])
  })

  test('mistakes of the caller are refused before anything is written', async () => {
    const objects = [...lake.store.objects.keys()]
    const file = merged()
    for (const request of [
      replace([], [file]),
      replace(['a', 'a'], [file]),
      replace(['a'], [dataFile(table, 'a')]),
      replace(['a'], [file, file]),
      { ...replace(['a'], [file]), operation: 'delete' as const },
    ]) {
      await expect(rewriteFiles(lake, request)).rejects.toMatchObject({ code: 'internal' })
    }
    expect([...lake.store.objects.keys()]).toEqual(objects)
  })

  test('a lost answer: the rewrite that was made is recognised and not made again', async () => {
    for (const error of [new Error('connection reset'), new FreshetError('commit_conflict', 'taken')]) {
      const lost = failing(lake.catalog, 'after', () => error)
      const { snapshot } = await rewriteFiles(
        { ...lake, catalog: lost },
        replace([error.message === 'taken' ? 'c' : 'a'], []),
      )
      expect(currentSnapshot((await load()).metadata)).toEqual(snapshot)
    }
    expect(await filesOf()).toEqual(['b'])
  })

  test('an error before the commit is passed on, and the rewrite can be made again', async () => {
    const broken = failing(lake.catalog, 'before', () => new Error('disk gone'))
    await expect(rewriteFiles({ ...lake, catalog: broken }, replace(['a', 'b'], [merged()]))).rejects.toThrow(
      'disk gone',
    )
    expect(await filesOf()).toEqual(['a', 'b', 'c'])
    await rewriteFiles(lake, replace(['a', 'b'], [merged()]))
    expect(await filesOf()).toEqual(['ab', 'c'])
  })

  test('a crash between any two writes leaves the table whole, before or after (I3)', async () => {
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
      const made = await rewriteFiles(crashing, replace(['a', 'b'], [merged()])).then(
        () => true,
        () => false,
      )
      left = Number.POSITIVE_INFINITY
      const after = (await crashing.catalog.load('trades'))!
      const names = (await planScan(store, after)).files.map((file) => file.key.split('/').at(-1)!).toSorted()
      const whole = made ? ['ab.parquet', 'c.parquet'] : ['a.parquet', 'b.parquet', 'c.parquet']
      expect([names, tablePositions(after.metadata)]).toEqual([whole, at(3)])
      if (made && writes > 4) break
    }
  })
})

/** A file of a day, in the folder of that day. */
function onDay(table: LoadedTable, name: string, day: number): DataFile {
  const file = dataFile(table, name, 10, day)
  const text = new Date(day * 86_400_000).toISOString().slice(0, 10)
  return { ...file, path: file.path.replace('2013-10-07', text) }
}
