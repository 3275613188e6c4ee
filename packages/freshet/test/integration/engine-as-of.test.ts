/** The engine's socket: streams as they were, and what EXPLAIN says of files, in every format. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Lab, trade, type Answer, type LabEngine } from './engine-harness.ts'

let lab: Lab
let engine: LabEngine
let snapshot: string
let committedAt: string

beforeAll(async () => {
  lab = await Lab.open()
  // A stop commits what is hot.
  for (const day of ['2013-10-07', '2013-10-08']) {
    engine = await lab.start()
    await lab.post('trades', [trade(`t${day}`, `${day}T12:00:00.000Z`)])
    await engine.caughtUp('trades')
    await engine.stop()
  }
  engine = await lab.start()
  await lab.post('trades', [trade('hot', '2013-10-09T12:00:00.000Z')])
  await engine.caughtUp('trades')
  const [first] = await engine.sql(
    "select snapshot_id::varchar as id, committed_at as at from freshet.snapshots where stream = 'trades' order by committed_at",
  )
  snapshot = String(first!['id'])
  committedAt = String(first!['at'])
})

afterAll(() => lab.close())

const count = 'select count(*) as n from trades'
const ask = (body: Record<string, unknown>): Promise<Answer> =>
  engine.send('POST', '/v1/sql', { 'content-type': 'application/json' }, JSON.stringify(body))

describe('asOf', () => {
  test('is a snapshot, a time, or nothing', async () => {
    const answers = await Promise.all(
      [undefined, null, snapshot, Number(snapshot), committedAt].map((asOf) => ask({ sql: count, asOf })),
    )
    const counts = answers.map(({ text }) => (JSON.parse(text) as { rows: { n: number }[] }).rows[0]!.n)
    expect(counts).toEqual([3, 3, 1, 1, 1])
  })

  test('stands in the address of a plain statement', async () => {
    const path = `/v1/sql?asOf=${encodeURIComponent(committedAt)}&format=csv`
    const { text } = await engine.send('POST', path, { 'content-type': 'application/sql' }, count)
    expect(text).toBe('n\r\n1\r\n')
  })

  test.each(['ndjson', 'csv', 'parquet'])('works in %s', async (format) => {
    const { status, body } = await ask({ sql: 'select _event_id as id from trades', asOf: snapshot, format })
    expect(status).toBe(200)
    if (format === 'ndjson') expect(body.toString()).toBe('{"id":"t2013-10-07"}\n')
    if (format === 'csv') expect(body.toString()).toBe('id\r\nt2013-10-07\r\n')
    if (format === 'parquet') expect(body.subarray(0, 4).toString()).toBe('PAR1')
  })

  test('in Parquet, with a parameter that only says when', async () => {
    const { status } = await ask({
      sql: 'select size from trades at (version => $id)',
      params: { id: snapshot },
      format: 'parquet',
    })
    expect(status).toBe(200)
  })

  test.each([
    ['', 400, 'invalid_request'],
    [12.5, 400, 'invalid_request'],
    [['x'], 400, 'invalid_request'],
    ['yesterday', 400, 'invalid_request'],
    ['1999-01-01', 404, 'unknown_snapshot'],
    ['7', 404, 'unknown_snapshot'],
  ])('%j is answered %i', async (asOf, status, code) => {
    const answer = await ask({ sql: count, asOf })
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.text)).toMatchObject({ code, hint: expect.any(String) })
  })

  test('system tables are of the present', async () => {
    const answer = await ask({ sql: "select rows from freshet.streams where name = 'trades'", asOf: snapshot })
    expect(JSON.parse(answer.text)).toMatchObject({ rows: [{ rows: 3 }] })
  })
})

describe('EXPLAIN', () => {
  const files = async (sql: string): Promise<string[]> =>
    (await engine.sql(sql)).filter((row) => row['explain_key'] === 'files').map((row) => String(row['explain_value']))

  test.each(['explain', 'EXPLAIN ANALYZE'])('%s says which files are read', async (explain) => {
    expect(await files(`${explain} select * from trades where _event_time >= date '2013-10-08'`)).toEqual([
      expect.stringMatching(/^trades: 1 of 2 files, \d+ of \d+ bytes, 1 of 2 manifests\n$/),
    ])
  })

  test('of each moment', async () => {
    const sql = `explain select * from trades, (select count(*) from trades at (version => ${snapshot}))`
    expect((await files(sql)).toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
      expect.stringMatching(
        new RegExp(`^trades as of snapshot ${snapshot}: 1 of 1 files, (\\d+) of \\1 bytes, 1 of 1 manifests\\n$`),
      ),
      expect.stringMatching(/^trades: 2 of 2 files, (\d+) of \1 bytes, 2 of 2 manifests\n$/),
    ])
  })

  test('is text in CSV, too', async () => {
    const { text } = await engine.query({ sql: 'explain select * from trades', format: 'csv' })
    expect(text).toContain('\r\nfiles,"trades: 2 of 2 files')
  })
})
