import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { currentSnapshot } from '../../src/lake/metadata.ts'
import { requestErasure } from '../integration/erasure-lab.ts'
import { Lab, until, type LabEngine } from '../integration/engine-harness.ts'
import { loadTable } from './lab-table.ts'
import { pythonWithPyiceberg, runPython } from './python.ts'
import { eventsFor, rowsFor, typed } from './typed-stream.ts'

interface Answer {
  rows: Record<string, unknown>[]
  queries: Record<string, { files: number; ids: string[] }>
}

/** The tests go on from each other's table. */
describe('pyiceberg reads every type as it was sent', () => {
  let lab: Lab
  let engine: LabEngine
  let python: string
  const columns = typed.columns!

  beforeAll(async () => {
    python = await pythonWithPyiceberg()
    lab = await Lab.open({ streams: { typed }, plan: { lake: { flushIntervalMs: 1 } } })
    engine = await lab.start()
    for (const event of eventsFor(columns)) {
      await lab.post('typed', [event])
      await engine.committed('typed')
    }
  }, 300_000)
  afterAll(() => lab?.close())

  async function read(queries: Record<string, string> = {}): Promise<Answer> {
    const table = await loadTable(lab.lakeDir, 'typed')
    const metadata = join(lab.lakeDir, 'typed', 'metadata', `v${table.version}.metadata.json`)
    return runPython<Answer>(python, 'read_types.py', { metadata, columns: columns.map(({ name }) => name), queries })
  }
  const byId = (rows: readonly Record<string, unknown>[]): Record<string, unknown>[] =>
    rows.toSorted((a, b) => (String(a['id']) < String(b['id']) ? -1 : 1))
  // pyiceberg makes empty lists of the lists of structs that are null.
  const expected = byId(rowsFor(columns)).map((row) => (row['id'] === 'nulls' ? { ...row, parts: [] } : row))

  test('after compaction, from one file whose bounds enclose all of them', async () => {
    const started = await engine.send(
      'POST',
      '/v1/maintenance',
      {},
      JSON.stringify({ table: 'typed', job: 'compaction' }),
    )
    const { run } = JSON.parse(started.text) as { run: number }
    await until('the compaction is done', async () => {
      const { text } = await engine.send('GET', `/v1/maintenance/${run}`)
      return (JSON.parse(text) as { state: string }).state === 'done'
    })
    const { summary } = currentSnapshot((await loadTable(lab.lakeDir, 'typed')).metadata)!
    expect(summary).toMatchObject({ operation: 'replace', 'total-data-files': '1' })
    const answer = await read({
      decimal: "dec18 = '12345678901234.5678'",
      time: "tm >= '13:30:00.123456'",
      none: 'i > 2147483646',
    })
    expect(byId(answer.rows)).toEqual(expected)
    expect(answer.queries).toEqual({
      decimal: { files: 1, ids: ['typical'] },
      time: { files: 1, ids: ['highest', 'typical'] },
      none: { files: 1, ids: ['highest'] },
    })
  })

  test('after an erasure, without the rows that were erased', async () => {
    const { status, body } = await requestErasure(lab, engine, "u = '0191f4a0-0000-7000-8000-000000000001'", {
      stream: 'typed',
    })
    expect(status, JSON.stringify(body)).toBe(202)
    await until('the erasure is done', async () => {
      const { text } = await engine.send('GET', `/v1/erasures/${body.id}`)
      return (JSON.parse(text) as { state: string }).state === 'done'
    })
    const { rows } = await read()
    expect(byId(rows)).toEqual(expected.filter(({ id }) => id !== 'typical'))
  })
})
