import { expect, test } from 'vitest'
import { at, dataFile, emptyTable, memoryLake, type Lake } from '../../test/conformance/lake-fixture.ts'
import type { LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import { dropDeletedBounds, hasDeletedBounds, isManifestWith } from './deleted-bounds.ts'
import { encodeRawManifest, entryStatus, readManifestList, readRawManifest } from './manifest.ts'
import { currentSnapshot } from './metadata.ts'
import { rewriteFiles } from './rewrite.ts'
import { planScan } from './scan.ts'
import { keyOf } from './table-paths.ts'

const secret = Buffer.from('secret-17')
const isMeant = (bound: Buffer): boolean => bound.includes(secret)

/** A table of two files in one manifest, of which one had the secret in its bounds and was removed. */
async function removedFile(): Promise<{ lake: Lake; before: LoadedTable; table: LoadedTable }> {
  const lake = memoryLake()
  const created = await lake.catalog.create('trades', emptyTable())
  const bounds = new Map([[1, secret]])
  const files = [{ ...dataFile(created, 'a', 3), lowerBounds: bounds, upperBounds: bounds }, dataFile(created, 'b', 4)]
  const { table: before } = await appendFiles(lake, { table: created, dataFiles: files, from: at(0), to: at(1) })
  const remove = [files[0]!.path]
  const { table } = await rewriteFiles(lake, { table: before, remove, add: [], operation: 'delete' })
  return { lake, before, table }
}

test('our own entries of removed files have no bounds', async () => {
  const { lake, table, before } = await removedFile()
  expect(await hasDeletedBounds(lake, table, currentSnapshot(table.metadata)!, isMeant)).toBe(false)
  const unchanged = await dropDeletedBounds(lake, table, isMeant)
  expect(unchanged.version).toBe(table.version)
  // Those of a live file are of its own rows.
  expect(await hasDeletedBounds(lake, before, currentSnapshot(before.metadata)!, isMeant)).toBe(false)
})

test("another engine's are found, and dropped with their entries", async () => {
  const { lake, table } = await removedFile()
  const snapshot = currentSnapshot(table.metadata)!
  const [manifest] = await readManifestList(lake.store, keyOf(table, snapshot['manifest-list']))
  const key = keyOf(table, manifest!.path)
  const raw = await readRawManifest(lake.store, key, manifest!)
  const entries = raw.entries.map((entry) =>
    entry.status === entryStatus.deleted
      ? { ...entry, data_file: { ...entry.data_file, lower_bounds: [{ key: 1, value: secret }] } }
      : entry,
  )
  const bytes = encodeRawManifest(raw, entries)
  await lake.store.put(key, bytes)
  expect(isManifestWith(bytes, isMeant)).toBe(true)
  expect(isManifestWith(bytes.subarray(0, -5), isMeant)).toBe(false)
  expect(await hasDeletedBounds(lake, table, snapshot, isMeant)).toBe(true)

  const next = await dropDeletedBounds(lake, table, isMeant)
  expect(next.version).toBe(table.version + 1)
  expect(await hasDeletedBounds(lake, next, currentSnapshot(next.metadata)!, isMeant)).toBe(false)
  const { files } = await planScan(lake.store, next)
  expect(files.map(({ recordCount }) => recordCount)).toEqual([4])
})
