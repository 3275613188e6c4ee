import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Column } from '../../src/config/plan.ts'
import { readLedger } from '../../src/lake/ledger.ts'
import { parseMetadata, tablePositions } from '../../src/lake/metadata.ts'
import { planScan } from '../../src/lake/scan.ts'
import { tableSources } from '../../src/lake/sources.ts'
import { pythonWithPyiceberg, runPython } from './python.ts'
import { TableWriter } from './table-writer.ts'

const columns: Column[] = [{ name: 'price', type: { kind: 'double' } }]
const select = (from: number, to: number): string => `select 'id-' || i as _event_id,
  timestamptz '2013-10-07 00:00:00+00' + to_hours(i) as _event_time, timestamptz '2013-10-07 00:00:00+00' as _received_at,
  'nyse' as _source, null::varchar as _tenant, i::double as price from range(${from}, ${to}) r(i)`

describe('a table that pyiceberg writes to as well', () => {
  let folder: string
  let python: string
  let writer: TableWriter

  beforeAll(async () => {
    python = await pythonWithPyiceberg()
    folder = await mkdtemp(join(tmpdir(), 'freshet-shared-'))
    writer = await TableWriter.create(folder, columns, { by: 'event_time', unit: 'day' })
    for (let i = 0; i < 3; i++) await writer.append(columns, select(i * 4, i * 4 + 4))
  }, 300_000)

  afterAll(async () => {
    writer?.close()
    if (folder !== undefined) await rm(folder, { recursive: true })
  })

  const idsOf = async (): Promise<number[]> => {
    const plan = await planScan(writer.deps.store, writer.table)
    const files = plan.files.map((file) => `'${join(folder, 'lake', file.key)}'`)
    const rows = await writer.query(`select _event_id as id from read_parquet([${files.join(', ')}])`)
    return rows.map((row) => Number(String(row['id']).slice(3))).toSorted((a, b) => a - b)
  }
  const upTo = (end: number): number[] => Array.from({ length: end }, (_, i) => i)

  test('its appends and deletes are seen, its ids keep 63 bits, and our loads and ledger go on where they were', async () => {
    const changed = await runPython<{ metadata: string }>(python, 'change_table.py', {
      metadata: writer.metadataFile,
      warehouse: `file://${folder}/warehouse`,
      append: [
        { _event_id: 'id-12', _event_time: '2013-10-07T12:00:00+00:00', price: 12 },
        { _event_id: 'id-30', _event_time: '2013-10-08T06:00:00+00:00', price: 30 },
      ],
      delete: "_event_id = 'id-5'",
    })
    const path = changed.metadata.replace('file://', '')
    const theirs = parseMetadata(await readFile(path, 'utf8'), path)
    writer.table = await writer.deps.catalog.commit(writer.table, theirs)

    const after = (await writer.deps.catalog.load('trades'))!
    expect(after.metadata['current-snapshot-id']).toBe(theirs['current-snapshot-id'])
    expect(await idsOf()).toEqual([...upTo(13).filter((id) => id !== 5), 30])
    expect(tablePositions(after.metadata)).toEqual(new Map([[0, 3000n]]))

    const counted = (await readLedger(writer.deps.store, after)).rows.length
    expect(counted).toBeGreaterThan(400)
    expect(after.metadata.properties['freshet.ledger']).toContain('ledger-')

    // Enough of ours for a merge, which then writes their entries too.
    for (let i = 0; i < 6; i++) await writer.append(columns, select(100 + i, 101 + i))
    const expected = [...upTo(13).filter((id) => id !== 5), 30, 100, 101, 102, 103, 104, 105]
    expect(await idsOf()).toEqual(expected)
    const ledger = await readLedger(writer.deps.store, writer.table)
    expect(ledger.begun).toEqual({ positions: new Map(), rows: 0 })
    expect(ledger.totals.committed).toBe(12 + 6)
    expect(ledger.rows.length).toBe(counted + 6 * 200)
    expect(tableSources(writer.table.metadata).get('site-0')?.reportedThroughMs).toBe(9000)

    const query = { filter: null, columns: ['_event_id'], snapshot: null }
    const answer = await runPython<{ queries: { all: { rows: { _event_id: string }[] } } }>(python, 'read_table.py', {
      metadata: writer.metadataFile,
      queries: { all: query },
    })
    const ids = answer.queries.all.rows.map((row) => Number(row._event_id.slice(3))).toSorted((a, b) => a - b)
    expect(ids).toEqual(expected)
  })
})
