/** The engine's socket: SQL in all its forms, system tables, status and metrics. */
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Lab, streamPlan, trade, tradeEvents, trades, until, type LabEngine } from './engine-harness.ts'

let lab: Lab
let engine: LabEngine

beforeAll(async () => {
  lab = await Lab.open({
    streams: {
      trades,
      notes: streamPlan('notes', { id: null, time: null, partition: { by: 'received_at', unit: 'month' } }),
    },
    plan: { sql: { rowsMax: 1000 } },
  })
  engine = await lab.start()
  await lab.post('trades', tradeEvents(20))
  await lab.post('trades', tradeEvents(10, { prefix: 'late', day: '2013-10-01' }))
  await engine.caughtUp('trades')
  await engine.stop()
  engine = await lab.start()
  await lab.post('trades', [
    ...tradeEvents(25),
    { id: 'bad', time: '2013-10-07T00:00:00Z', raw: '{"id":"bad","size":1,"size":2}' },
  ])
  await lab.post('notes', [{ id: 'n1', fields: { text: 'hello', o: { p: [1, 2] } } }])
  for (const stream of ['trades', 'notes', 'trades_dead_letters']) await engine.caughtUp(stream)
})

afterAll(() => lab.close())

describe('system tables', () => {
  test('freshet.streams shows each stream as it is now', async () => {
    const rows = await engine.sql('select * from freshet.streams order by name')
    expect(rows.map(({ name }) => name)).toEqual(['notes', 'trades', 'trades_dead_letters'])
    expect(rows[1]).toMatchObject({
      name: 'trades',
      declared: true,
      schema: 'declared',
      id_field: 'id',
      time_field: 'at',
      partition: 'day of event_time',
      rows: 35,
      hot_rows: 5,
      committed_rows: 30,
      files: 2,
      duplicates: 20,
      dead_letters: 1,
      problem: null,
      snapshot_id: expect.any(Number),
      last_commit_at: expect.stringMatching(/^\d{4}-.*Z$/),
    })
    expect(rows[0]).toMatchObject({
      schema: 'inferred',
      id_field: null,
      time_field: null,
      partition: 'month of received_at',
      rows: 1,
      hot_rows: 1,
      files: 0,
      snapshot_id: null,
    })
    const { log_end, checkpoint, lag_bytes, bytes } = rows[1] as Record<string, number>
    expect(lag_bytes).toBe(log_end! - checkpoint!)
    expect(lag_bytes).toBeGreaterThan(0)
    expect(bytes).toBeGreaterThan(0)
    await lab.post('trades', [trade('t0', '2013-10-07T00:00:00Z')])
    await engine.caughtUp('trades')
    expect(await engine.value("select duplicates from freshet.streams where name = 'trades'")).toBe(21)
  })

  test('freshet.snapshots shows what each commit added, and the log position it reached', async () => {
    const [snapshot, ...others] = await engine.sql("select * from freshet.snapshots where stream = 'trades'")
    expect(others).toEqual([])
    expect(snapshot).toMatchObject({
      operation: 'append',
      parent_id: null,
      added_rows: 30,
      added_files: 2,
      total_rows: 30,
      total_files: 2,
    })
    expect(JSON.parse(String(snapshot!['positions']))).toEqual({
      0: String(await engine.value("select checkpoint from freshet.streams where name = 'trades'")),
    })
  })

  test('freshet.files shows where the rows are, and can be joined', async () => {
    const files = await engine.sql(
      'select f.*, s.operation from freshet.files f join freshet.snapshots s using (stream, snapshot_id) order by partition',
    )
    expect(files).toMatchObject([
      {
        stream: 'trades',
        partition: '2013-10-01',
        rows: 10,
        min_event_time: '2013-10-01T00:00:00.000Z',
        max_event_time: '2013-10-01T00:00:09.000Z',
        operation: 'append',
      },
      { stream: 'trades', partition: '2013-10-07', rows: 20 },
    ])
    expect(String(files[0]!['path']).startsWith(join(lab.lakeDir, 'trades', 'data'))).toBe(true)
  })

  test('can be read by many at once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => engine.value('select count(*) from freshet.streams, freshet.files')),
    )
    expect(answers).toEqual(Array(8).fill(6))
  })
})

describe('streams', () => {
  test('have their system columns first, then their own', async () => {
    const columns = await engine.sql('describe trades')
    expect(columns.map((row) => [row['column_name'], row['column_type']])).toEqual([
      ['_event_id', 'VARCHAR'],
      ['_event_time', 'TIMESTAMP WITH TIME ZONE'],
      ['_received_at', 'TIMESTAMP WITH TIME ZONE'],
      ['_source', 'VARCHAR'],
      ['_tenant', 'VARCHAR'],
      ['id', 'VARCHAR'],
      ['at', 'TIMESTAMP WITH TIME ZONE'],
      ['price', 'DOUBLE'],
      ['size', 'BIGINT'],
    ])
  })

  test('that nobody declared appear with their first event, and are there after a restart', async () => {
    await lab.post('surprise', [{ id: 's1', fields: { x: 1 } }])
    await until(
      'the stream is there',
      async () => (await engine.query({ sql: 'select x from surprise' })).status === 200,
    )
    await engine.caughtUp('surprise')
    expect(await engine.sql('select x from surprise')).toEqual([{ x: 1 }])
    expect(await engine.value("select declared from freshet.streams where name = 'surprise'")).toBe(false)
  })
})

describe('POST /v1/sql', () => {
  test('takes the statement as text, with parameters and format in the address', async () => {
    for (const type of ['text/plain', 'application/sql; charset=utf-8']) {
      const answer = await engine.send(
        'POST',
        '/v1/sql?p.id=t3&format=ndjson',
        { 'content-type': type },
        'select id from trades where id = $id',
      )
      expect([answer.status, answer.text]).toEqual([200, '{"id":"t3"}\n'])
      expect(answer.headers['content-type']).toBe('application/x-ndjson; charset=utf-8')
    }
  })

  test.each([
    ['text/csv', 'text/csv; charset=utf-8; header=present', 'n\r\n1\r\n'],
    ['application/x-ndjson', 'application/x-ndjson; charset=utf-8', '{"n":1}\n'],
    [
      'application/json',
      'application/json; charset=utf-8',
      '{"columns":[{"name":"n","type":"INTEGER"}],"rows":[{"n":1}],"rowCount":1}\n',
    ],
    [
      '*/*',
      'application/json; charset=utf-8',
      '{"columns":[{"name":"n","type":"INTEGER"}],"rows":[{"n":1}],"rowCount":1}\n',
    ],
  ])('answers Accept: %s', async (accept, type, text) => {
    const headers = { 'content-type': 'application/json', accept }
    const answer = await engine.send('POST', '/v1/sql', headers, JSON.stringify({ sql: 'select 1 as n' }))
    expect([answer.status, answer.headers['content-type'], answer.text]).toEqual([200, type, text])
  })

  test('sends Parquet with its length, and leaves no file behind', async () => {
    const answer = await engine.query({ sql: 'select * from trades', format: 'parquet' })
    expect(answer.headers['content-type']).toBe('application/vnd.apache.parquet')
    expect(Number(answer.headers['content-length'])).toBe(answer.body.length)
    expect(answer.body.subarray(-4).toString()).toBe('PAR1')
    const scratch = (await readdir(lab.dir)).find((name) => name.startsWith('tmp-'))!
    await until('its file is gone', async () => {
      const names = await readdir(join(lab.dir, scratch))
      return !names.some((name) => name.startsWith('result-'))
    })
  })

  test.each([
    ['select 1; select 2', 403, 'forbidden_sql'],
    ["select * from '/etc/passwd'", 403, 'forbidden_sql'],
    ['select * from tail.trades_1', 403, 'forbidden_sql'],
    ['selec 1', 400, 'invalid_sql'],
    ['select nope from trades', 400, 'invalid_sql'],
    ['select * from range(1001)', 200, undefined],
  ])('%s is answered %i', async (sql, status, code) => {
    const answer = await engine.query({ sql })
    expect(answer.status).toBe(status)
    if (code === undefined) return
    expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8')
    expect(JSON.parse(answer.text)).toMatchObject({ code, status, type: `urn:freshet:error:${code}` })
  })

  test.each([
    ['{', 'application/json', 400, 'invalid_json'],
    ['{}', 'application/json', 400, 'invalid_request'],
    ['null', 'application/json', 400, 'invalid_request'],
    ['{"sql":"select 1","params":[1]}', 'application/json', 400, 'invalid_request'],
    ['{"sql":"select 1","format":"xml"}', 'application/json', 400, 'invalid_request'],
    ['{"sql":"select 1","format":"constructor"}', 'application/json', 400, 'invalid_request'],
    ['select 1', 'text/html', 415, 'unsupported_media_type'],
    [`{"sql":"${'x'.repeat(1 << 20)}"}`, 'application/json', 413, 'body_too_large'],
  ])('a body is answered as it deserves: %#', async (body, type, status, code) => {
    const answer = await engine.send('POST', '/v1/sql', { 'content-type': type }, body)
    expect([answer.status, JSON.parse(answer.text)]).toEqual([status, expect.objectContaining({ code })])
  })

  test('is stopped when its client goes, and the others go on', async () => {
    const endless = {
      sql: 'select count(*) from range(10000000) a, range(10000000) b where hash(a.range + b.range) = 0',
    }
    const gone = new AbortController()
    const asked = Array.from({ length: 4 }, () => engine.query(endless, gone.signal).catch(() => 'gone'))
    const fifth = engine.value('select 5')
    await until('they are under way', async () => (await engine.status('trades')).rows > 0)
    gone.abort()
    expect(await Promise.all(asked)).toEqual(Array(4).fill('gone'))
    expect(await fifth).toBe(5)
  })

  test('whose answer is broken off is no harm to the engine', async () => {
    const answer = engine.query({ sql: 'select * from range(5000)', format: 'csv' })
    await expect(answer).rejects.toThrow(/aborted|hang up|ECONNRESET/)
    expect(await engine.value('select 1')).toBe(1)
  })
})

describe('other paths', () => {
  test('GET /v1/status has the figures of each stream', async () => {
    const status = await engine.status('trades')
    expect(status).toMatchObject({
      name: 'trades',
      declared: true,
      rows: 35,
      hotRows: 5,
      files: 2,
      deadLetters: 1,
      problem: null,
    })
    expect(status.loaded).toBe(status.logEnd)
    expect(Number(status.logEnd) - Number(status.checkpoint)).toBe(status.lagBytes)
    expect(status.freshnessMs).toEqual({ p50: expect.any(Number), p99: expect.any(Number) })
    expect(status.lastCommitAt).toMatch(/Z$/)
  })

  test('GET /metrics is Prometheus text', async () => {
    const { text, headers } = await engine.send('GET', '/metrics')
    expect(headers['content-type']).toContain('text/plain; version=0.0.4')
    expect(text).toMatch(/^freshet_engine_rows\{stream="trades"\} 35$/m)
    expect(text).toMatch(/^freshet_engine_hot_rows\{stream="trades"\} 5$/m)
    expect(text).toMatch(/^freshet_engine_events_dead_lettered_total\{stream="trades"\} 1$/m)
    expect(text).toMatch(/^freshet_engine_stuck\{stream="trades"\} 0$/m)
  })

  test('GET /readyz says yes; anything else is a problem', async () => {
    expect(await engine.send('GET', '/readyz')).toMatchObject({
      status: 200,
      text: '{"ready":true,"catchingUp":false}',
    })
    expect((await engine.send('GET', '/nope')).status).toBe(404)
    expect((await engine.send('DELETE', '/v1/sql')).status).toBe(404)
  })
})

test('a damaged table does not keep the others away', async () => {
  const other = await Lab.open()
  try {
    let running = await other.start()
    await other.post('trades', tradeEvents(5))
    await other.post('extra', [{ id: 'e', fields: { a: 1 } }])
    for (const stream of ['trades', 'extra']) {
      await until(`${stream} is there`, async () => (await running.query({ sql: `from ${stream}` })).status === 200)
      await running.caughtUp(stream)
    }
    await running.stop()
    const metadata = join(other.lakeDir, 'extra', 'metadata')
    for (const name of await readdir(metadata)) {
      if (name.endsWith('.json')) await writeFile(join(metadata, name), '{"format-version":')
    }
    await rm(join(metadata, 'version-hint.text'), { force: true })
    running = await other.start()
    expect(await running.value('select count(*) from trades')).toBe(5)
    expect((await running.query({ sql: 'from extra' })).status).toBe(403)
  } finally {
    await other.close()
  }
})
