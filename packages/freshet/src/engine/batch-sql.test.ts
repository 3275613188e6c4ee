import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Column } from '../config/plan.ts'
import { openBatchSql, type BatchSql } from './batch-sql.ts'

let dir: string
let database: BatchSql

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batch-sql-'))
  database = await openBatchSql({ memoryBytes: 256 * 2 ** 20, tmpDir: dir, threads: 2 })
})

afterEach(() => {
  database.close()
  rmSync(dir, { recursive: true, force: true })
})

function linesOf(events: readonly Record<string, unknown>[]): Buffer {
  const lines = events.map((event, index) => {
    const time = new Date(Date.UTC(2020, 0, 1) + index * 1000).toISOString()
    return JSON.stringify({ _event_id: `e${index}`, _event_time: time, _received_at: time, ...event })
  })
  // A frame's line may stand between events.
  return Buffer.from(['{"_frame":{"length":1}}', ...lines, ''].join('\n'))
}

const columns: Column[] = [
  { name: 'symbol', type: { kind: 'string' } },
  { name: 'size', type: { kind: 'long' } },
  { name: 'price', type: { kind: 'decimal', precision: 18, scale: 4 } },
]
const trades = linesOf([
  { symbol: 'A', size: 1, price: '10.5000' },
  { symbol: 'B', size: 2, price: '0.0001' },
  { symbol: 'A', size: 3 },
])

async function rowsOf(sql: string, lines = trades, own: readonly Column[] | null = columns): Promise<string[]> {
  const made = await database.run({ sql, lines, columns: own, timeoutMs: 20_000 })
  return made.toString().split('\n').slice(0, -1)
}

test('rows come as JSON, their event first, in the order of the events, without what is NULL', async () => {
  expect(await rowsOf('SELECT price * 2 AS twice, _event_id FROM batch ORDER BY size DESC')).toEqual([
    '{"_event_id":"e0","twice":21.0000}',
    '{"_event_id":"e1","twice":0.0002}',
    '{"_event_id":"e2"}',
  ])
})

test('one event may become many, and many one', async () => {
  const many = 'SELECT _event_id, unnest([size, -size]) AS size FROM batch WHERE size > 1'
  expect(await rowsOf(many)).toEqual([
    '{"_event_id":"e1","size":-2}',
    '{"_event_id":"e1","size":2}',
    '{"_event_id":"e2","size":-3}',
    '{"_event_id":"e2","size":3}',
  ])
  const one = 'SELECT symbol, sum(size) AS size, max(_event_time) AS at FROM batch GROUP BY symbol;'
  expect(await rowsOf(one)).toEqual([
    '{"symbol":"A","size":4,"at":"2020-01-01T00:00:02Z"}',
    '{"symbol":"B","size":2,"at":"2020-01-01T00:00:01Z"}',
  ])
  expect(await rowsOf('SELECT * FROM batch WHERE false')).toEqual([])
})

test('the same batch gives the same bytes', async () => {
  const events = linesOf(Array.from({ length: 5000 }, (_, index) => ({ symbol: `s${index % 700}`, size: index })))
  const sql = 'SELECT symbol, list(size) AS sizes FROM (SELECT * FROM batch ORDER BY size) GROUP BY symbol'
  const first = await rowsOf(sql, events)
  expect(first.length).toBe(700)
  for (let again = 0; again < 5; again++) expect(await rowsOf(sql, events)).toEqual(first)
})

test('without declared columns they are those of the events, and a field that none of them has is NULL', async () => {
  const lines = linesOf([
    { a: 1, deep: { b: [1.5, 2] } },
    { a: 2, 'odd name': '2020-01-01' },
  ])
  const sql = 'SELECT _event_id, a, deep, "odd name" AS odd, absent, coalesce(other, \'none\') AS other FROM batch'
  expect(await rowsOf(sql, lines, null)).toEqual([
    '{"_event_id":"e0","a":1,"deep":{"b":[1.5,2.0]},"other":"none"}',
    '{"_event_id":"e1","a":2,"odd":"2020-01-01","other":"none"}',
  ])
})

test.each([
  ['two statements', 'SELECT 1; SELECT 2', 'forbidden_sql'],
  ['a change', 'DELETE FROM batch', 'forbidden_sql'],
  ['an EXPLAIN', 'EXPLAIN SELECT * FROM batch', 'forbidden_sql'],
  ['a file', "SELECT * FROM read_text('/etc/hostname')", 'forbidden_sql'],
  ['another table', 'SELECT * FROM trades', 'forbidden_sql'],
  ['the past', 'SELECT * FROM batch AT (VERSION => 1)', 'forbidden_sql'],
  ['completeness', "SELECT complete_through('batch') FROM batch", 'forbidden_sql'],
  ['no SQL', 'SELEC 1', 'invalid_sql'],
])('%s is refused before there are events', async (_, sql, code) => {
  await expect(database.check(sql)).rejects.toMatchObject({ code })
  await expect(rowsOf(sql)).rejects.toMatchObject({ code })
})

test('mistakes that only show with events are said', async () => {
  await database.check('SELECT * FROM batch')
  await expect(rowsOf('SELECT sum(symbol) FROM batch')).rejects.toMatchObject({ code: 'invalid_sql' })
  await expect(rowsOf('SELECT size, symbol AS Size FROM batch')).rejects.toMatchObject({
    message: expect.stringContaining('two columns the name'),
  })
})

test('a statement that takes too long is stopped, and the next one runs', async () => {
  const sql = 'SELECT count(*) AS n FROM batch, range(100000000) a, range(1000) b'
  const late = database.run({ sql, lines: trades, columns, timeoutMs: 100 })
  await expect(late).rejects.toMatchObject({ code: 'query_timeout' })
  expect(await rowsOf('SELECT count(*) AS n FROM batch')).toEqual(['{"n":3}'])
})
