import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { parseMetadata } from '../../src/lake/metadata.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { Lab, trade, tradeEvents } from '../integration/engine-harness.ts'
import { loadTable, storeOf } from './lab-table.ts'
import { pythonWithPyiceberg, runPython } from './python.ts'

let lab: Lab
afterEach(() => lab.close())

test('columns of types that only others write are read, and loading goes on beside them', async () => {
  const python = await pythonWithPyiceberg()
  lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1 } } })
  let engine = await lab.start()
  await lab.post('trades', tradeEvents(5))
  await engine.committed('trades')
  await engine.stop()

  const before = await loadTable(lab.lakeDir, 'trades')
  const changed = await runPython<{ metadata: string }>(python, 'add_columns.py', {
    metadata: join(lab.lakeDir, 'trades', 'metadata', `v${before.version}.metadata.json`),
    warehouse: `file://${lab.dir}/warehouse`,
    row: { _event_id: 'theirs', _event_time: '2013-10-07T12:00:00+00:00', id: 'theirs', price: 2.5 },
  })
  const path = changed.metadata.replace('file://', '')
  const theirs = parseMetadata(await readFile(path, 'utf8'), path)
  const catalog = new FileCatalog({
    store: storeOf(lab.lakeDir),
    rootLocation: `file://${lab.lakeDir}`,
    logger: silentLogger,
  })
  await catalog.commit(before, theirs)

  engine = await lab.start()
  const sql = `SELECT id, hash, place, levels FROM trades WHERE hash IS NOT NULL`
  const row = { id: 'theirs', hash: 'AAH+/w==', place: { city: 'Oslo', zip: 150 }, levels: { '1': 1.25, '-7': null } }
  expect(await engine.sql(sql)).toEqual([row])
  await lab.post('trades', [trade('ours', '2013-10-07T13:00:00Z')])
  await engine.committed('trades')
  expect(await engine.sql(sql)).toEqual([row])
  expect(await engine.value('SELECT count(*) FROM trades WHERE place IS NULL')).toBe(6)

  const after = await loadTable(lab.lakeDir, 'trades')
  const answer = await runPython<{ rows: Record<string, unknown>[]; queries: Record<string, { ids: string[] }> }>(
    python,
    'read_types.py',
    {
      metadata: join(lab.lakeDir, 'trades', 'metadata', `v${after.version}.metadata.json`),
      columns: ['id', 'hash', 'place'],
      queries: { theirs: 'hash is not null', ours: 'place is null' },
    },
  )
  expect(answer.rows.filter((one) => one['hash'] !== null)).toEqual([
    { id: 'theirs', hash: 'AAH+/w==', place: row.place },
  ])
  expect(answer.rows).toHaveLength(7)
  expect(answer.queries['theirs']!.ids).toEqual(['theirs'])
  expect(answer.queries['ours']!.ids).toHaveLength(6)

  // Compaction could not write the column, and says so.
  const json = { 'content-type': 'application/json' }
  const asked = await engine.send(
    'POST',
    '/v1/maintenance',
    json,
    '{"table":"trades","job":"compaction","dryRun":true}',
  )
  expect(asked.text).toContain('column hash has the type fixed[4], which Freshet reads and does not write')

  // A value of the field is refused where it would be lost otherwise.
  const raw = '{"id":"filled","at":"2013-10-07T14:00:00Z","hash":"AAAAAA=="}'
  await lab.post('trades', [{ id: 'filled', time: '2013-10-07T14:00:00Z', raw }])
  await engine.caughtUp('trades')
  expect(await engine.letters('trades', 'code, message')).toEqual([
    { code: 'unreadable', message: 'Field "hash": its column has the type fixed[4], which only other engines write' },
  ])
})
