import { access, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Column } from '../../src/config/plan.ts'
import { expireSnapshots } from '../../src/lake/expire.ts'
import { currentSnapshot, parseMetadata, tablePositions } from '../../src/lake/metadata.ts'
import { findOrphans } from '../../src/lake/orphans.ts'
import { createTag, rollbackTo } from '../../src/lake/refs.ts'
import { rewriteFiles } from '../../src/lake/rewrite.ts'
import { rewriteManifests } from '../../src/lake/rewrite-manifests.ts'
import { planScan, type ScanFile } from '../../src/lake/scan.ts'
import { verifyTable } from '../../src/lake/verify-table.ts'
import { pythonWithPyiceberg, runPython } from './python.ts'
import { TableWriter } from './table-writer.ts'

interface Answer {
  snapshots: number
  refs: Record<string, [string, string]>
  manifests: [number, number, number][]
  queries: Record<string, { files: number; rows: { _event_id: string }[] }>
}

const columns: Column[] = [{ name: 'price', type: { kind: 'double' } }]
/** Events `from` to `to`, one an hour from 2013-10-07 00:00 on. */
const select = (from: number, to: number): string => `select 'id-' || i as _event_id,
  timestamptz '2013-10-07 00:00:00+00' + to_hours(i) as _event_time, timestamptz '2013-10-07 00:00:00+00' as _received_at,
  'nyse' as _source, null::varchar as _tenant, i::double as price from range(${from}, ${to}) r(i)`
const upTo = (end: number, from = 0): number[] => Array.from({ length: end - from }, (_, i) => from + i)
const secondDay = "_event_time >= '2013-10-08T00:00:00+00:00' and _event_time < '2013-10-09T00:00:00+00:00'"

/** Each test goes on from the table that the one before left. */
describe('pyiceberg reads tables after upkeep', () => {
  let folder: string
  let python: string
  let writer: TableWriter
  let tagged: bigint

  beforeAll(async () => {
    python = await pythonWithPyiceberg()
    folder = await mkdtemp(join(tmpdir(), 'freshet-upkeep-'))
    writer = await TableWriter.create(folder, columns, { by: 'event_time', unit: 'day' })
    // Three days, and late events of the first two.
    for (let i = 0; i < 72; i += 12) await writer.append(columns, select(i, i + 12))
    for (let i = 0; i < 4; i++)
      await writer.append(
        columns,
        `(${select(i, i + 1)}) union all (${select(24 + i, 25 + i)})`.replaceAll("'id-'", "'late-'"),
      )
  }, 300_000)

  afterAll(async () => {
    writer?.close()
    if (folder !== undefined) await rm(folder, { recursive: true })
  })

  const read = (snapshot: bigint | null = null): Promise<Answer> => {
    const query = (filter: string | null): object => ({
      filter,
      columns: ['_event_id'],
      snapshot: snapshot && String(snapshot),
    })
    const queries = { all: query(null), secondDay: query(secondDay) }
    return runPython<Answer>(python, 'read_table.py', { metadata: writer.metadataFile, queries })
  }
  const idsOf = ({ queries }: Answer, query = 'all'): string[] =>
    queries[query]!.rows.map((row) => row._event_id).toSorted()
  const ids = (numbers: readonly number[], prefix = 'id'): string[] => numbers.map((number) => `${prefix}-${number}`)
  const sorted = (...lists: string[][]): string[] => lists.flat().toSorted()
  const first = sorted(ids(upTo(72)), ids([0, 1, 2, 3, 24, 25, 26, 27], 'late'))
  const filesOfDay = async (day: number): Promise<ScanFile[]> => {
    const { files } = await planScan(writer.deps.store, writer.table)
    return files.filter(({ partitionValue }) => partitionValue === 15_985 + day)
  }
  const rowsOf = (files: readonly ScanFile[]): string =>
    `select * from read_parquet([${files.map(({ key }) => `'${join(folder, 'lake', key)}'`).join(', ')}], hive_partitioning = false) order by _event_time`
  const replace = async (files: readonly ScanFile[], where = 'true'): Promise<void> => {
    const add = await writer.write(`select * from (${rowsOf(files)}) where ${where}`)
    const operation = where === 'true' ? 'replace' : 'overwrite'
    const request = { table: writer.table, remove: files.map(({ path }) => path), add, operation } as const
    writer.table = (await rewriteFiles(writer.deps, request)).table
  }
  const expectVerified = async (): Promise<void> => {
    const { catalog, store } = writer.deps
    const { findings } = await verifyTable({ catalog, store, name: 'trades', placeOf: (key) => key })
    expect(findings).toEqual([])
  }

  test('a compacted day has one file, and the rows are the same', async () => {
    const before = await read()
    expect([idsOf(before), before.queries['secondDay']!.files]).toEqual([first, 6])
    tagged = currentSnapshot(writer.table.metadata)!['snapshot-id']
    writer.table = (await createTag(writer.deps, writer.table, 'before', tagged)).table
    await replace(await filesOfDay(1))
    const after = await read()
    expect(idsOf(after)).toEqual(first)
    expect([idsOf(after, 'secondDay').length, after.queries['secondDay']!.files]).toEqual([28, 1])
    expect(after.refs).toEqual({
      main: ['branch', String(writer.table.metadata['current-snapshot-id'])],
      before: ['tag', String(tagged)],
    })
    expect(after.manifests.reduce((sum, [, , deleted]) => sum + deleted, 0)).toBe(6)
    await expectVerified()
  })

  test('rows that were taken out are gone, and an earlier snapshot still has them', async () => {
    await replace(await filesOfDay(0), "_event_id not like 'late-%'")
    const remove = (await filesOfDay(2)).map(({ path }) => path)
    writer.table = (
      await rewriteFiles(writer.deps, { table: writer.table, remove, add: [], operation: 'delete' })
    ).table
    expect(idsOf(await read())).toEqual(sorted(ids(upTo(48)), ids([24, 25, 26, 27], 'late')))
    expect(idsOf(await read(tagged))).toEqual(first)
    await expectVerified()
  })

  test('regrouped manifests list the same files, and a filter reads those of its day', async () => {
    for (let i = 100; i < 118; i += 2)
      await writer.append(
        columns,
        `(${select(i - 100, i - 99)}) union all (${select(i - 20, i - 19)})`.replaceAll("'id-'", `'new-${i}-'`),
      )
    const before = await read()
    const policy = { smallManifestsMax: 100, targetBytes: 8 * 1024 * 1024, filesMax: 4 }
    const { snapshot, table } = await rewriteManifests(writer.deps, writer.table, { policy })
    expect(snapshot).toBeDefined()
    writer.table = table
    const after = await read()
    expect([idsOf(after), idsOf(after, 'secondDay')]).toEqual([idsOf(before), idsOf(before, 'secondDay')])
    expect(after.queries['secondDay']!.files).toBe(before.queries['secondDay']!.files)
    expect(after.manifests.every(([added, existing, deleted]) => added === 0 && existing > 0 && deleted === 0)).toBe(
      true,
    )
    await expectVerified()
  })

  test('a table that was rolled back has its old rows, and goes on from there', async () => {
    const positions = tablePositions(writer.table.metadata)
    writer.table = (await rollbackTo(writer.deps, writer.table, tagged)).table
    expect(tablePositions(writer.table.metadata)).toEqual(positions)
    expect(idsOf(await read())).toEqual(first)
    await writer.append(columns, select(200, 202))
    expect(idsOf(await read())).toEqual(sorted(first, ids([200, 201])))
    await expectVerified()
  })

  test('what pyiceberg appends and deletes after that is kept by rewrites of its manifests', async () => {
    const { metadata } = await runPython<{ metadata: string }>(python, 'change_table.py', {
      metadata: writer.metadataFile,
      warehouse: `file://${folder}/warehouse`,
      append: [
        { _event_id: 'id-300', _event_time: '2013-10-08T12:00:00+00:00', price: 12 },
        { _event_id: 'id-301', _event_time: '2013-10-09T06:00:00+00:00', price: 30 },
      ],
      delete: "_event_id = 'id-5'",
    })
    const path = metadata.replace('file://', '')
    writer.table = await writer.deps.catalog.commit(writer.table, parseMetadata(await readFile(path, 'utf8'), path))
    const expected = sorted(
      first.filter((id) => id !== 'id-5'),
      ids([200, 201, 300, 301]),
    )
    await replace(await filesOfDay(1))
    expect(idsOf(await read())).toEqual(expected)
    await rewriteManifests(writer.deps, writer.table, {
      policy: { smallManifestsMax: 100, targetBytes: 8 * 1024 * 1024, filesMax: 2 },
    }).then(({ table }) => (writer.table = table))
    expect(idsOf(await read())).toEqual(expected)
    await expectVerified()
  })

  test('after expiry only the tagged and the current snapshot are there, with all their files and no others', async () => {
    const all = await read()
    const { files } = await planScan(writer.deps.store, writer.table)
    const options = { olderThanMs: Number.MAX_SAFE_INTEGER, keepLast: 1 }
    const { table, removed } = await expireSnapshots(writer.deps, writer.table, options)
    writer.table = table
    expect(removed.filter((key) => key.endsWith('.parquet')).length).toBeGreaterThan(5)
    const after = await read()
    expect([after.snapshots, idsOf(after)]).toEqual([2, idsOf(all)])
    expect(idsOf(await read(tagged))).toEqual(first)
    for (const { key } of files) await access(join(folder, 'lake', key))
    const orphans = await findOrphans(writer.deps, writer.table, { olderThanMs: Number.MAX_SAFE_INTEGER })
    // The metadata that pyiceberg wrote under a name of its own.
    expect(orphans.every(({ key }) => /\/metadata\/\d+-.*\.metadata\.json$/.test(key))).toBe(true)
    await expectVerified()
  })
})
