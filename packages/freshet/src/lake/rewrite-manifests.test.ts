import { beforeEach, describe, expect, test } from 'vitest'
import { failing, meeting } from '../../test/conformance/catalog-faults.ts'
import { append, at, dataFile, emptyTable, memoryLake, type Lake } from '../../test/conformance/lake-fixture.ts'
import type { LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import { readManifest, readManifestList, type ManifestEntry, type ManifestFile } from './manifest.ts'
import type { MergePolicy } from './merge-manifests.ts'
import { currentSnapshot, tablePositions, withPartition } from './metadata.ts'
import { rewriteFiles } from './rewrite.ts'
import { rewriteManifests } from './rewrite-manifests.ts'
import { planScan } from './scan.ts'
import { keyOf } from './table-paths.ts'

const policy: MergePolicy = { smallManifestsMax: 1000, targetBytes: 8 * 1024 * 1024, filesMax: 20 }

describe('regrouping manifests', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = Object.assign(memoryLake(), { merge: policy })
    table = await lake.catalog.create('trades', emptyTable())
  })

  /** Commits one file for each day. */
  const load = async (...days: (number | null)[]): Promise<void> => {
    const from = tablePositions(table.metadata)
    const to = at(Number(from.get(0) ?? 0n) + 1)
    const dataFiles = days.map((day, index) => ({
      ...dataFile(table, `d${day}-${to.get(0)}-${index}`, 10),
      partition: { _event_time_day: day },
    }))
    table = (await appendFiles(lake, { table, dataFiles, from, to })).table
  }
  const regroup = async (options = {}): Promise<Awaited<ReturnType<typeof rewriteManifests>>> => {
    const result = await rewriteManifests(lake, table, options)
    table = result.table
    return result
  }
  const listOf = (of = table): Promise<ManifestFile[]> =>
    readManifestList(lake.store, keyOf(of, currentSnapshot(of.metadata)!['manifest-list']))
  const rangesOf = async (): Promise<string[]> =>
    (await listOf()).map(({ partitions, existingFiles, addedFiles }) => {
      const [{ lower, upper, containsNull }] = partitions as [(typeof partitions & object)[number]]
      return `${containsNull ? 'null ' : ''}${lower?.readInt32LE()}..${upper?.readInt32LE()} ${existingFiles + addedFiles}`
    })
  const entriesOf = async (of = table): Promise<Map<string, ManifestEntry>> => {
    const entries = new Map<string, ManifestEntry>()
    for (const manifest of await listOf(of))
      for (const entry of await readManifest(lake.store, keyOf(of, manifest.path), manifest))
        entries.set(entry.file.path, entry)
    return entries
  }
  const days = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index)

  test('a day is in one manifest again, however its files came in', async () => {
    for (let time = 0; time < 10; time++) await load(...days(0, 10))
    const before = await entriesOf()
    const { snapshot, replaced, created, entries } = await regroup()
    expect({ replaced, created, entries }).toEqual({ replaced: 10, created: 10, entries: 100 })
    expect(await rangesOf()).toEqual(
      days(0, 10)
        .toReversed()
        .map((day) => `${day}..${day} 10`),
    )
    const after = await entriesOf()
    expect(new Map([...after].map(([path, entry]) => [path, { ...entry, status: 1 }]))).toEqual(before)
    expect([...after.values()].every(({ status }) => status === 0)).toBe(true)
    expect(snapshot!.summary).toEqual({
      operation: 'replace',
      'added-data-files': '0',
      'added-records': '0',
      'added-files-size': '0',
      'changed-partition-count': '0',
      'total-records': '1000',
      'total-files-size': '100000',
      'total-data-files': '100',
      'total-delete-files': '0',
      'total-position-deletes': '0',
      'total-equality-deletes': '0',
      'manifests-created': '10',
      'manifests-replaced': '10',
      'manifests-kept': '0',
      'entries-processed': '100',
      'freshet.positions': '{"0":"10"}',
    })
    expect(
      (await listOf()).map(({ minSequenceNumber, sequenceNumber }) => [minSequenceNumber, sequenceNumber]),
    ).toEqual(Array.from({ length: 10 }, () => [1, 11]))
    const { version } = table
    expect(await regroup()).toMatchObject({ snapshot: undefined, replaced: 0, created: 0 })
    expect(table.version).toBe(version)
  })

  test('small days share a manifest, a large one has several, and they are not so small that appends merge them again', async () => {
    for (let time = 0; time < 50; time++) await load(7, time % 7)
    await regroup()
    const expected = ['7..7 17', '7..7 17', '7..7 16', '6..6 7', '4..5 14', '2..3 14', '0..1 15']
    expect(await rangesOf()).toEqual(expected)
    expect((await planScan(lake.store, table)).files).toHaveLength(100)
    const { created } = await regroup()
    expect(created).toBe(0)
  })

  test('what is in order, and other partitions, stay as they are', async () => {
    for (let day = 0; day < 5; day++) await load(...Array.from({ length: 15 }, () => day))
    for (let time = 0; time < 12; time++) await load(50, 51)
    const before = new Set((await listOf()).map(({ path }) => path))
    const { replaced } = await regroup()
    expect(replaced).toBe(12)
    expect((await listOf()).filter(({ path }) => before.has(path))).toHaveLength(5)
    expect(await rangesOf()).toEqual(['4..4 15', '3..3 15', '2..2 15', '1..1 15', '0..0 15', '51..51 12', '50..50 12'])
  })

  test('a few small manifests with late files are not worth a commit, many are', async () => {
    for (let day = 0; day < 3; day++) await load(...Array.from({ length: 15 }, () => day))
    for (let time = 0; time < 8; time++) await load(0, 2)
    expect(await regroup()).toMatchObject({ snapshot: undefined })
    await load(0, 2)
    expect((await regroup()).replaced).toBe(12)
    expect((await rangesOf()).map((range) => range.split(' ')[0])).toEqual(['2..2', '2..2', '1..1', '0..0', '0..0'])
  })

  test('rows without the time come first', async () => {
    for (let time = 0; time < 10; time++) await load(null, null, 100)
    await regroup()
    expect(await rangesOf()).toEqual(['100..100 10', 'null undefined..undefined 20'])
    expect(await regroup()).toMatchObject({ snapshot: undefined })
  })

  test('one commit writes a bounded number of entries, and the next ones go on with the rest', async () => {
    for (let time = 0; time < 20; time++) await load(...days(0, 10))
    const counts: number[] = []
    for (let run = 0; run < 40; run++) {
      const { snapshot, entries } = await regroup({ filesMax: 60 })
      if (snapshot === undefined) break
      counts.push(entries)
    }
    expect(Math.max(...counts)).toBeLessThanOrEqual(80)
    expect(counts.length).toBeLessThan(40)
    expect((await planScan(lake.store, table)).files).toHaveLength(200)
  })

  test('manifests of each partition spec are regrouped by themselves', async () => {
    for (let time = 0; time < 10; time++) await load(1, 2)
    table = await lake.catalog.commit(table, withPartition(table.metadata, { by: 'event_time', unit: 'hour' }))
    for (let time = 0; time < 10; time++) {
      const dataFiles = [24, 25].map((hour) => ({
        ...dataFile(table, `h${hour}-${time}`),
        partition: { _event_time_hour: hour },
      }))
      table = (await appendFiles(lake, { table, dataFiles, from: at(10 + time), to: at(11 + time) })).table
    }
    await regroup()
    expect((await listOf()).map(({ specId }) => specId).toSorted((a, b) => a - b)).toEqual([0, 0, 1, 1])
    const { files } = await planScan(lake.store, table)
    expect(files.filter(({ partition }) => partition?.unit === 'hour')).toHaveLength(20)
  })

  test('files that went stay away, and their deleted entries go', async () => {
    for (let time = 0; time < 10; time++) await load(1, 2)
    const { files } = await planScan(lake.store, table)
    table = (await rewriteFiles(lake, { table, remove: [files[0]!.path], add: [], operation: 'delete' })).table
    for (let time = 0; time < 3; time++) await load(1, 2)
    await regroup()
    const left = await planScan(lake.store, table)
    expect(left.files.map(({ path }) => path)).not.toContain(files[0]!.path)
    expect([...(await entriesOf()).keys()]).not.toContain(files[0]!.path)
    expect(left.files).toHaveLength(25)
  })

  test('a load that comes first is kept, and a rewrite too; nothing that was written in vain is left', async () => {
    for (let time = 0; time < 10; time++) await load(1, 2)
    const { files } = await planScan(lake.store, table)
    const busy = meeting(lake.catalog, async () => {
      const { table: next } = await append(lake, table, 'late', 11)
      await rewriteFiles(lake, { table: next, remove: [files[0]!.path], add: [], operation: 'delete' })
    })
    const before = new Set(lake.store.objects.keys())
    const { table: next } = await rewriteManifests({ ...lake, catalog: busy }, table)
    const { files: after } = await planScan(lake.store, next)
    expect(after).toHaveLength(20)
    expect(tablePositions(next.metadata)).toEqual(at(11))
    const used = new Set<string>()
    for (const snapshot of next.metadata.snapshots) {
      used.add(keyOf(next, snapshot['manifest-list']))
      for (const { path } of await readManifestList(lake.store, keyOf(next, snapshot['manifest-list'])))
        used.add(keyOf(next, path))
    }
    const fresh = [...lake.store.objects.keys()].filter((key) => !before.has(key) && key.endsWith('.avro'))
    expect(fresh.filter((key) => !used.has(key))).toEqual([])
  })

  test('a lost answer is recognised; an error before the commit changes nothing', async () => {
    for (let time = 0; time < 10; time++) await load(1, 2)
    const broken = failing(lake.catalog, 'before', () => new Error('disk gone'))
    await expect(rewriteManifests({ ...lake, catalog: broken }, table)).rejects.toThrow('disk gone')
    expect(await lake.catalog.load('trades')).toEqual(table)
    const lost = failing(lake.catalog, 'after', () => new Error('connection reset'))
    const { snapshot } = await rewriteManifests({ ...lake, catalog: lost }, table)
    expect((await lake.catalog.load('trades'))!.metadata['current-snapshot-id']).toBe(snapshot!['snapshot-id'])
  })
})
