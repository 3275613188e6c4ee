/** What tells a rollup which of its buckets may have to be corrected (I9): no change of rows is missed, and compaction is none. */
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { TableLab } from '../../../test/support/table-lab.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { rewriteFiles } from '../../lake/rewrite.ts'
import { currentSchema } from '../../lake/metadata.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { writeSelected } from '../data-files.ts'
import { literal } from '../sql-text.ts'
import { knownColumns } from '../stream-view.ts'
import { changedFiles } from './changed-files.ts'

let lab: TableLab

beforeEach(async () => {
  lab = await TableLab.open()
  await lab.commit('a', 'b')
})

afterEach(() => lab.close())

const snapshotNow = (): bigint => lab.table.table!.metadata['current-snapshot-id']!

/** Ids in files that changed, as they are on disk; undefined for all. */
async function changedIds(covered: bigint | null | undefined, table = lab.table.table!): Promise<string[] | undefined> {
  const { now, changed } = await changedFiles(lab.deps.store, table, covered)
  expect(now.files.map(({ path }) => path).toSorted()).toEqual(lab.table.files.map(({ path }) => path).toSorted())
  return changed === 'all' ? undefined : idsIn(changed)
}

async function idsIn(files: readonly ScanFile[]): Promise<string[]> {
  if (files.length === 0) return []
  const paths = files.map(({ key }) => literal(join(lab.deps.lakeDir, key)))
  return lab.deps.database.with(async (connection) => {
    const found = await connection.runAndReadAll(
      `SELECT DISTINCT _event_id FROM read_parquet([${paths.join(', ')}]) ORDER BY 1`,
    )
    return found.getRows().map(([id]) => String(id))
  })
}

/** A compaction: other files with the same rows. */
const compact = (): Promise<LoadedTable> =>
  lab.table.change(async (table) => {
    const { files } = lab.table
    const paths = files.map(({ key }) => literal(join(lab.deps.lakeDir, key)))
    const request = {
      table,
      schema: currentSchema(table.metadata),
      columns: knownColumns(table),
      select: `SELECT * FROM read_parquet([${paths.join(', ')}], hive_partitioning = false)`,
    }
    const written = await lab.deps.database.with((connection) => writeSelected(connection, lab.deps, request))
    const add = written.map(({ dataFile }) => dataFile)
    const remove = files.map(({ path }) => path)
    return (await rewriteFiles(lab.deps, { table, remove, add, operation: 'replace' })).table
  }, 'kept')

test('all files are new behind the empty table, and none behind the current snapshot', async () => {
  expect(await changedIds(null)).toEqual(['a', 'b'])
  expect(await changedIds(snapshotNow())).toEqual([])
})

test('files that came are those of every commit in between', async () => {
  const covered = snapshotNow()
  await lab.commit('c')
  await lab.commit('d')
  expect(await changedIds(covered)).toEqual(['c', 'd'])
})

test('a compaction changes nothing, and hides nothing that came before it', async () => {
  const before = snapshotNow()
  await compact()
  expect(await changedIds(before)).toEqual([])
  const covered = snapshotNow()
  await lab.commit('c')
  await compact()
  await lab.commit('d')
  expect(await changedIds(covered)).toEqual(['c', 'd'])
})

test('rows that were taken out are in the files that went', async () => {
  await lab.commit('c')
  const covered = snapshotNow()
  await lab.table.change((table) => lab.rewrite(table, lab.table.files, "_event_id <> 'b'"), 'fewer')
  expect(await changedIds(covered)).toEqual(['a', 'b', 'c'])
})

test('rows that another engine deleted by their places are named', async () => {
  const covered = snapshotNow()
  await lab.deleteRows(lab.table.files[0]!, [0])
  await lab.table.refresh()
  expect(await changedIds(covered)).toEqual(['a', 'b'])
})

test('where snapshots in between are gone, files are compared; where the covered one is, all may have changed', async () => {
  const covered = snapshotNow()
  await lab.commit('c')
  const between = snapshotNow()
  await lab.commit('d')
  const table = lab.table.table!
  const without = (id: bigint): LoadedTable => {
    const snapshots = table.metadata.snapshots.filter((snapshot) => snapshot['snapshot-id'] !== id)
    return { ...table, metadata: { ...table.metadata, snapshots } }
  }
  expect(await changedIds(covered, without(between))).toEqual(['c', 'd'])
  expect(await changedIds(covered, without(covered))).toBeUndefined()
  expect(await changedIds(undefined)).toBeUndefined()
})

test('a plan of the covered snapshot is used, and one of another snapshot is not', async () => {
  const covered = snapshotNow()
  const known = lab.table.scanned!
  await lab.commit('c')
  const fromKnown = await changedFiles(lab.deps.store, lab.table.table!, covered, known)
  expect(await idsIn(fromKnown.changed as ScanFile[])).toEqual(['c'])
  const fromOther = await changedFiles(lab.deps.store, lab.table.table!, covered, lab.table.scanned)
  expect(await idsIn(fromOther.changed as ScanFile[])).toEqual(['c'])
})
