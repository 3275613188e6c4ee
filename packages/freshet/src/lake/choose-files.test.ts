import { beforeEach, expect, test } from 'vitest'
import { at, dataFile, dayValue, emptyTable, memoryLake, type Lake } from '../../test/conformance/lake-fixture.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import { chooseFiles, planFiles } from './choose-files.ts'
import { appendFiles } from './commit.ts'
import { ManifestColumns } from './manifest-columns.ts'
import { currentSnapshot } from './metadata.ts'
import type { Predicate } from './prune.ts'
import { planScan } from './scan.ts'

const days = 12
let lake: Lake
let table: LoadedTable
let reads: string[]
let store: ObjectStore

beforeEach(async () => {
  lake = memoryLake()
  table = await lake.catalog.create('trades', emptyTable())
  for (let day = 0; day < days; day++) {
    const dataFiles = ['a', 'b', 'c'].map((name) => dataFile(table, `${name}${day}`, 10, dayValue + day))
    const request = { table, dataFiles, from: at(day), to: at(day + 1) }
    table = (await appendFiles(lake, request)).table
  }
  reads = []
  store = {
    list: (prefix) => lake.store.list(prefix),
    put: (key, body) => lake.store.put(key, body),
    putIfAbsent: (key, body) => lake.store.putIfAbsent(key, body),
    delete: (keys) => lake.store.delete(keys),
    get: (key, range) => {
      reads.push(key)
      return lake.store.get(key, range)
    },
  }
})

const us = (day: number): bigint => BigInt(dayValue + day) * 86_400_000_000n
/** `_event_time` has the field id 2. */
const time = (sign: Predicate['test'], value: bigint): Predicate => ({
  fieldId: 2,
  type: 'timestamptz',
  test: sign,
  values: [value],
})
const day = (number: number): Predicate[] => [time('>=', us(number)), time('<', us(number + 1))]
const names = (files: readonly { key: string }[]): string[] =>
  files.map(({ key }) => key.split('/').at(-1)!.replace('.parquet', '')).toSorted()
const manifests = (): number => reads.filter((key) => key.endsWith('-m0.avro')).length

test("a day's query reads the manifest list and that day's manifest, and chooses its files", async () => {
  const chosen = await planFiles(store, new ManifestColumns(store), table, { wanted: [day(3)] })
  expect(names(chosen.files)).toEqual(['a3', 'b3', 'c3'])
  expect(chosen).toMatchObject({ filesTotal: 36, manifestsRead: 1, manifestsTotal: days })
  expect(reads).toHaveLength(2)
})

test('of a plan that is there, no manifest is read twice for the same columns', async () => {
  const plan = await planScan(store, table)
  const columns = new ManifestColumns(store)
  reads = []
  for (let round = 0; round < 3; round++) {
    expect(names((await chooseFiles(columns, table, plan, [day(5)])).files)).toEqual(['a5', 'b5', 'c5'])
  }
  expect(manifests()).toBe(1)
  const id: Predicate = { fieldId: 1, type: 'string', test: '=', values: ['b5'] }
  expect(names((await chooseFiles(columns, table, plan, [[...day(5), id]])).files)).toEqual(['b5'])
  expect(names((await chooseFiles(columns, table, plan, [[...day(5), id], day(5)])).files)).toEqual(['a5', 'b5', 'c5'])
  expect(manifests()).toBe(2)
})

test('a file stays if any alternative wants it; without conditions all do, with no alternative none', async () => {
  const plan = await planScan(store, table)
  const columns = new ManifestColumns(store)
  const two = await chooseFiles(columns, table, plan, [day(1), day(2)])
  expect(names(two.files)).toEqual(['a1', 'a2', 'b1', 'b2', 'c1', 'c2'])
  expect((await chooseFiles(columns, table, plan, [day(1), []])).files).toBe(plan.files)
  expect((await chooseFiles(columns, table, plan, [])).files).toEqual([])
})

test('what is known of manifests is bounded', async () => {
  const columns = new ManifestColumns(store, { rangesMax: 30 })
  const plan = await planScan(store, table)
  reads = []
  for (let round = 0; round < 2; round++) {
    for (let number = 0; number < days; number++) await chooseFiles(columns, table, plan, [day(number)])
  }
  expect(manifests()).toBe(2 * days)
  for (let round = 0; round < 5; round++) await chooseFiles(columns, table, plan, [day(days - 1)])
  expect(manifests()).toBe(2 * days)
})

test('a snapshot of the past is planned by its own list', async () => {
  const [first] = table.metadata.snapshots
  const chosen = await planFiles(store, new ManifestColumns(store), table, { snapshot: first!, wanted: [[]] })
  expect(names(chosen.files)).toEqual(['a0', 'b0', 'c0'])
  const none = await planFiles(store, new ManifestColumns(store), table, { snapshot: first!, wanted: [day(3)] })
  expect(none).toMatchObject({ files: [], filesTotal: 3, manifestsRead: 0, manifestsTotal: 1 })
})

test('a manifest that cannot be read leaves its files in', async () => {
  const plan = await planScan(store, table)
  await lake.store.delete(plan.list.map(({ path }) => path.replace('file:///lake/', '')))
  const id: Predicate = { fieldId: 1, type: 'string', test: '=', values: ['b5'] }
  const chosen = await chooseFiles(new ManifestColumns(store), table, plan, [[...day(5), id]])
  expect(names(chosen.files)).toEqual(['a5', 'b5', 'c5'])
  expect(currentSnapshot(table.metadata)).toBeDefined()
})
