import { beforeEach, describe, expect, test } from 'vitest'
import { failing, meeting } from '../../test/conformance/catalog-faults.ts'
import {
  append,
  at,
  dataFile,
  dayStartMs,
  emptyTable,
  memoryLake,
  type Lake,
} from '../../test/conformance/lake-fixture.ts'
import type { LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import { expireSnapshots, removeUnreached, type ExpireOptions } from './expire.ts'
import { currentSnapshot, tablePositions, type Snapshot } from './metadata.ts'
import { createTag, rollbackTo } from './refs.ts'
import { rewriteFiles } from './rewrite.ts'
import { planScan } from './scan.ts'
import { keyOf } from './table-paths.ts'

const minuteMs = 60_000

describe('snapshot expiry', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
  })

  /** Appends a file that is there, a minute after what came before. */
  const add = async (...names: string[]): Promise<void> => {
    for (const name of names) {
      lake.clock.ms += minuteMs
      const file = dataFile(table, name)
      await lake.store.put(keyOf(table, file.path), Buffer.alloc(file.bytes))
      const from = tablePositions(table.metadata)
      table = (await appendFiles(lake, { table, dataFiles: [file], from, to: at(Number(from.get(0) ?? 0n) + 1) })).table
    }
  }
  const replace = async (names: string[], by: string): Promise<void> => {
    lake.clock.ms += minuteMs
    const file = dataFile(table, by, names.length * 10)
    await lake.store.put(keyOf(table, file.path), Buffer.alloc(file.bytes))
    const remove = names.map((name) => dataFile(table, name).path)
    table = (await rewriteFiles(lake, { table, remove, add: [file], operation: 'replace' })).table
  }
  const expire = async (
    options: Partial<ExpireOptions>,
    deps: Lake = lake,
  ): Promise<Awaited<ReturnType<typeof expireSnapshots>>> => {
    const result = await expireSnapshots(deps, table, { olderThanMs: 0, keepLast: 1, ...options })
    table = result.table
    return result
  }
  const stored = (): string[] =>
    [...lake.store.objects.keys()]
      .filter((key) => key.endsWith('.parquet'))
      .map((key) => key.split('/').at(-1)!.replace('.parquet', ''))
      .toSorted()
  const ages = (): number[] =>
    table.metadata.snapshots.map((snapshot) => (snapshot['timestamp-ms'] - dayStartMs) / minuteMs)
  const snapshot = (index: number): Snapshot => table.metadata.snapshots[index]!
  const everything = { olderThanMs: Number.MAX_SAFE_INTEGER }
  /** Every kept snapshot can be planned, and what it plans is there. */
  const expectWhole = async (): Promise<void> => {
    for (const each of table.metadata.snapshots) {
      const { files } = await planScan(lake.store, table, { snapshot: each })
      expect(String(files.length)).toBe(each.summary['total-data-files'])
      for (const { key } of files) expect(lake.store.objects.has(key)).toBe(true)
    }
  }

  test('age decides, and the newest stay however old', async () => {
    await add('a', 'b', 'c', 'd', 'e')
    await expire({ olderThanMs: dayStartMs + 3 * minuteMs })
    expect(ages()).toEqual([3, 4, 5])
    await expire({ ...everything, keepLast: 2 })
    expect(ages()).toEqual([4, 5])
    await expire({ ...everything, keepLast: 0 })
    expect(ages()).toEqual([5])
    expect(table.metadata['snapshot-log'].map((entry) => entry['snapshot-id'])).toEqual([snapshot(0)['snapshot-id']])
    expect(stored()).toEqual(['a', 'b', 'c', 'd', 'e'])
    await expectWhole()
  })

  test('nothing to expire is no commit', async () => {
    await add('a', 'b')
    const { version } = table
    expect(await expire({})).toMatchObject({ expired: [], removed: [] })
    expect(table.version).toBe(version)
  })

  test('files that only expired snapshots have are removed: lists, manifests, data files', async () => {
    await add('a', 'b', 'c')
    await replace(['a', 'b'], 'ab')
    await add('d')
    const before = new Set(lake.store.objects.keys())
    const { expired, removed } = await expire({ ...everything, keepLast: 1 })
    expect(expired).toHaveLength(4)
    expect(stored()).toEqual(['ab', 'c', 'd'])
    const gone = [...before].filter((key) => !lake.store.objects.has(key))
    expect(removed.toSorted()).toEqual(gone.filter((key) => !key.endsWith('.json')).toSorted())
    // Lists of four snapshots; the manifests of a and b, and the one that said that they went.
    expect(removed.filter((key) => key.includes('snap-'))).toHaveLength(4)
    expect(removed.filter((key) => key.endsWith('-m0.avro'))).toHaveLength(3)
    await expectWhole()
  })

  test('a data file stays for as long as one kept snapshot has it', async () => {
    await add('a', 'b')
    await replace(['a'], 'a2')
    await replace(['b'], 'b2')
    await expire({ ids: [snapshot(0)['snapshot-id'], snapshot(1)['snapshot-id']] })
    expect(stored()).toEqual(['a2', 'b', 'b2'])
    await expectWhole()
    await expire(everything)
    expect(stored()).toEqual(['a2', 'b2'])
  })

  test('what a tag names stays, with its files, until the tag has gone or is too old', async () => {
    await add('a', 'b')
    await replace(['a', 'b'], 'ab')
    table = (await createTag(lake, table, 'before', snapshot(1)['snapshot-id'])).table
    table = (await createTag(lake, table, 'short', snapshot(0)['snapshot-id'], { maxAgeMs: 10 * minuteMs })).table
    await expire(everything)
    expect(ages()).toEqual([1, 2, 3])
    expect(stored()).toEqual(['a', 'ab', 'b'])
    lake.clock.ms += 11 * minuteMs
    await expire(everything)
    expect([ages(), Object.keys(table.metadata.refs)]).toEqual([
      [2, 3],
      ['main', 'before'],
    ])
    await expectWhole()
  })

  test('another branch keeps its own newest, and more where it asks for more', async () => {
    await add('a', 'b', 'c', 'd')
    const refs = {
      ...table.metadata.refs,
      audit: { 'snapshot-id': snapshot(2)['snapshot-id'], type: 'branch' as const, 'min-snapshots-to-keep': 2 },
    }
    table = await lake.catalog.commit(table, { ...table.metadata, refs })
    await expire(everything)
    expect(ages()).toEqual([2, 3, 4])
  })

  test('a snapshot that no branch leads to is kept while it is young', async () => {
    await add('a', 'b', 'c')
    table = (await rollbackTo(lake, table, snapshot(0)['snapshot-id'])).table
    await expire({ olderThanMs: dayStartMs + 3 * minuteMs })
    expect(ages()).toEqual([3, 3])
    expect(stored()).toEqual(['a', 'b', 'c'])
    await expire(everything)
    expect(stored()).toEqual(['a'])
    await expectWhole()
  })

  test('files that a rollback brought back are kept, whatever deleted them', async () => {
    await add('a', 'b')
    await replace(['a', 'b'], 'ab')
    table = (await rollbackTo(lake, table, snapshot(1)['snapshot-id'])).table
    await expire(everything)
    expect(stored()).toEqual(['a', 'b'])
    await expectWhole()
  })

  test('snapshots named go whatever their age; those that a tag or main holds are refused', async () => {
    await add('a', 'b', 'c')
    const ids = table.metadata.snapshots.map((each) => each['snapshot-id'])
    await expire({ ids: [ids[1]!, 1n] })
    expect(ages()).toEqual([1, 3])
    const refused = { code: 'invalid_request' }
    await expect(expire({ ids: [ids[2]!] })).rejects.toMatchObject(refused)
    table = (await createTag(lake, table, 'kept', ids[0]!)).table
    await expect(expire({ ids: [ids[0]!] })).rejects.toMatchObject(refused)
  })

  test('log positions stay what they are, also where an expired snapshot was what said them', async () => {
    await add('a', 'b')
    const parent = currentSnapshot(table.metadata)!
    const { 'freshet.positions': _ours, ...summary } = parent.summary
    const foreign: Snapshot = { ...parent, 'snapshot-id': 7n, 'parent-snapshot-id': parent['snapshot-id'], summary }
    const { metadata } = table
    table = await lake.catalog.commit(table, {
      ...metadata,
      snapshots: [...metadata.snapshots, foreign],
      'current-snapshot-id': 7n,
      refs: { main: { 'snapshot-id': 7n, type: 'branch' } },
      properties: { 'freshet.positions': '{"0":"9"}' },
    })
    expect(tablePositions(table.metadata)).toEqual(at(2))
    await expire(everything)
    expect(table.metadata.snapshots).toHaveLength(1)
    expect(tablePositions(table.metadata)).toEqual(at(2))
  })

  test("another engine's statistics of expired snapshots go with them", async () => {
    await add('a', 'b')
    const statistics = [0, 1].map((index) => ({
      'snapshot-id': snapshot(index)['snapshot-id'],
      'statistics-path': `${table.metadata.location}/metadata/${index}.stats`,
    }))
    for (const index of [0, 1]) await lake.store.put(`trades/metadata/${index}.stats`, Buffer.from('x'))
    table = await lake.catalog.commit(table, { ...table.metadata, statistics } as typeof table.metadata)
    await expire(everything)
    expect(table.metadata).toMatchObject({ statistics: [statistics[1]] })
    expect([...lake.store.objects.keys()].filter((key) => key.endsWith('.stats'))).toEqual(['trades/metadata/1.stats'])
  })

  test('files are removed only when the readers that began before have ended', async () => {
    await add('a')
    await replace(['a'], 'a2')
    const seen: string[][] = []
    const ready = async (): Promise<void> => {
      seen.push(stored())
      expect((await lake.catalog.load('trades'))!.metadata.snapshots).toHaveLength(1)
    }
    await expire({ ...everything, ready })
    expect(seen).toEqual([['a', 'a2']])
    expect(stored()).toEqual(['a2'])
  })

  test('manifests of other partitions are not read for it', async () => {
    for (let day = 0; day < 5; day++) {
      const file = { ...dataFile(table, `d${day}`), partition: { _event_time_day: day } }
      table = (await appendFiles(lake, { table, dataFiles: [file], from: at(day), to: at(day + 1) })).table
    }
    const path = dataFile(table, 'd3').path
    const add3 = { ...dataFile(table, 'new'), partition: { _event_time_day: 3 } }
    table = (await rewriteFiles(lake, { table, remove: [path], add: [add3], operation: 'replace' })).table
    const reads = lake.store.reads.length
    await expire(everything)
    const manifests = lake.store.reads.slice(reads).filter((key) => key.endsWith('-m0.avro'))
    // The one that goes (looked for, read), and the two of its day: what was added, what was deleted.
    expect(manifests).toHaveLength(4)
  })

  test('a commit that comes first is kept', async () => {
    await add('a', 'b', 'c')
    const busy = meeting(lake.catalog, () => append(lake, table, 'd', 4))
    await expire({ ...everything, keepLast: 2 }, { ...lake, catalog: busy })
    expect(table.metadata.snapshots.map((each) => each.summary['total-data-files'])).toEqual(['3', '4'])
    expect(tablePositions(table.metadata)).toEqual(at(4))
  })

  test('a tag that comes first protects its snapshot', async () => {
    await add('a', 'b')
    await replace(['a', 'b'], 'ab')
    const id = snapshot(1)['snapshot-id']
    const busy = meeting(lake.catalog, () => createTag(lake, table, 'late', id))
    await expire(everything, { ...lake, catalog: busy })
    expect(ages()).toEqual([2, 3])
    await expectWhole()
  })

  test('a lost answer is recognised, and the files go', async () => {
    await add('a')
    await replace(['a'], 'a2')
    const lost = failing(lake.catalog, 'after', () => new Error('connection reset'))
    await expire(everything, { ...lake, catalog: lost })
    expect([ages(), stored()]).toEqual([[2], ['a2']])
  })

  test('a crash before the commit leaves all as it was; one after it leaves only what nothing refers to', async () => {
    await add('a')
    await replace(['a'], 'a2')
    const objects = new Map(lake.store.objects)
    const broken = failing(lake.catalog, 'before', () => new Error('crashed'))
    await expect(expire(everything, { ...lake, catalog: broken })).rejects.toThrow('crashed')
    expect(lake.store.objects).toEqual(objects)

    const ready = (): Promise<void> => Promise.reject(new Error('crashed'))
    await expect(expire({ ...everything, ready })).rejects.toThrow('crashed')
    table = (await lake.catalog.load('trades'))!
    expect([ages(), stored()]).toEqual([[2], ['a', 'a2']])
    await expectWhole()
    // What is left can be removed by name; what is live cannot.
    const keys = [...lake.store.objects.keys()].filter((key) => !key.includes('.json') && !key.includes('hint'))
    const removed = await removeUnreached(lake, table, keys)
    expect(removed.filter((key) => key.endsWith('.parquet'))).toEqual([keyOf(table, dataFile(table, 'a').path)])
    expect(stored()).toEqual(['a2'])
    await expectWhole()
  })

  test('files that cannot be removed only take space', async () => {
    await add('a')
    await replace(['a'], 'a2')
    lake.store.delete = () => Promise.reject(new Error('disk gone'))
    expect((await expire(everything)).removed).toEqual([])
    await expectWhole()
  })

  test('a writer whose base has expired under it goes on from the newest state', async () => {
    await add('a', 'b')
    const old = table
    await replace(['a'], 'a2')
    await expire(everything)
    const { table: next, conflicts } = await append(lake, old, 'c', 3)
    expect(conflicts).toBe(1)
    const { files } = await planScan(lake.store, next)
    expect(files.map((file) => file.key.split('/').at(-1))).toEqual(['c.parquet', 'a2.parquet', 'b.parquet'])
  })
})
