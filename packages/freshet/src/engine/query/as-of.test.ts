/** Streams as they were: by snapshot, by tag, by time; in the statement and for all of it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { QueryLake } from '../../../test/support/query-lake.ts'
import type { Column } from '../../config/plan.ts'
import { createTag } from '../../lake/refs.ts'
import { silentLogger } from '../../runtime/logging.ts'
import { systemRandom } from '../../runtime/random.ts'
import { admit } from './gate.ts'

let lake: QueryLake
let ids: bigint[]
const time = (minutes: number): string => new Date(Date.parse('2013-10-08T00:00:00Z') + minutes * 60_000).toISOString()
const noon = "timestamptz '2013-10-07 12:00:00+00'"
const v = (kind: 'long' | 'string'): Column[] => [{ name: 'v', type: { kind } }]

beforeAll(async () => {
  lake = await QueryLake.open()
  await lake.addStream('trades', v('long'), { by: 'event_time', unit: 'day' })
  await lake.addStream('empty', v('long'), { by: 'event_time', unit: 'day' })
  // At minutes 0, 1, 2 and 3.
  await lake.append('trades', [{ _event_time: noon, v: '1' }])
  await lake.append('trades', [{ _event_time: noon, v: '2' }])
  await lake.append('trades', [{ _event_time: noon, v: '3' }], [{ name: 'late', type: { kind: 'string' } }])
  await lake.append('trades', [{ _event_time: noon, v: "'four'" }], v('string'))
  await lake.addHot('trades', [{ _event_time: noon, v: "'hot'" }])
  ids = lake.tableOf('trades').metadata.snapshots.map((snapshot) => snapshot['snapshot-id'])
  const { store, catalog, clock } = lake
  const deps = { store, catalog, clock, random: systemRandom, logger: silentLogger }
  await createTag(deps, lake.tableOf('trades'), 'audit-2013', ids[1]!)
  await lake.takeOver('trades')
})

afterAll(() => lake.close())

const valuesOf = async (from: string, asOf?: string, parameters = {}): Promise<unknown[]> => {
  const rows = await lake.rows(`select v from ${from} order by v`, { parameters, ...(asOf !== undefined && { asOf }) })
  return rows.map((row) => row['v'])
}

test('the present has all rows', async () => {
  expect(await valuesOf('trades')).toEqual(['1', '2', '3', 'four', 'hot'])
})

describe('a snapshot', () => {
  test('by its id has its rows, in the types of then, and none that are hot', async () => {
    expect(await valuesOf(`trades at (version => ${ids[0]})`)).toEqual([1])
    expect(await valuesOf(`trades at (version => ${ids[2]})`)).toEqual([1, 2, 3])
    expect(await valuesOf(`trades at (version => ${ids[3]})`)).toEqual(['1', '2', '3', 'four'])
    expect(await valuesOf(`trades at (version => '${ids[1]}')`)).toEqual([1, 2])
  })

  test('has the columns of then', async () => {
    const columns = async (id: bigint): Promise<string[]> =>
      Object.keys((await lake.rows(`select * exclude (_event_id) from trades at (version => ${id}) limit 1`))[0]!)
    const system = ['_event_time', '_received_at', '_source', '_tenant']
    expect(await columns(ids[1]!)).toEqual([...system, 'v'])
    expect(await columns(ids[2]!)).toEqual([...system, 'v', 'late'])
    await expect(lake.rows(`select late from trades at (version => ${ids[1]})`)).rejects.toMatchObject({
      code: 'invalid_sql',
      extra: { line: 1, column: 8 },
    })
  })

  test('by a tag', async () => {
    expect(await valuesOf("main.trades at (version => 'audit-2013')")).toEqual([1, 2])
    expect(await valuesOf("trades at (version => 'main')")).toEqual(['1', '2', '3', 'four'])
  })

  test.each([
    [`trades at (timestamp => '${time(0)}')`, [1]],
    [`trades at (timestamp => timestamptz '${time(1)}' + interval 59 seconds)`, [1, 2]],
    [`trades at (timestamp => timestamp '2013-10-08 00:02:00')`, [1, 2, 3]],
    ['trades at (timestamp => now())', ['1', '2', '3', 'four']],
  ])('by a time: %s', async (from, expected) => {
    expect(await valuesOf(from)).toEqual(expected)
  })

  test('by parameters, alone or with others', async () => {
    expect(await valuesOf('trades at (version => $id)', undefined, { id: String(ids[0]) })).toEqual([1])
    expect(await valuesOf('trades at (version => $id)', undefined, { id: Number(ids[0]) })).toEqual([1])
    expect(
      await valuesOf('trades at (timestamp => $at::timestamptz) where v > $v', undefined, { at: time(2), v: 1 }),
    ).toEqual([2, 3])
  })

  test('beside the present, and beside others', async () => {
    const sql = `select (select count(*) from trades) as now,
      (select count(*) from trades at (version => ${ids[0]})) as first,
      count(*) as second from trades as t at (version => ${ids[1]}) where t.v is not null`
    expect(await lake.rows(sql)).toEqual([{ now: 5, first: 1, second: 2 }])
    const join = `select old.v from trades as old at (version => ${ids[1]}) anti join trades at (version => ${ids[0]}) using (v)`
    expect(await lake.rows(join)).toEqual([{ v: 2 }])
  })

  test('under a name and names of columns', async () => {
    const sql = `select t.f from trades as t(a, b, c, d, e, f) at (version => ${ids[0]})`
    expect(await lake.rows(sql)).toEqual([{ f: 1 }])
    expect(await lake.rows(`select trades.v from trades at (version => ${ids[0]})`)).toEqual([{ v: 1 }])
    expect(await lake.rows(`select "T x".v from trades as "T x" at (version => ${ids[0]})`)).toEqual([{ v: 1 }])
  })

  test('in all formats', async () => {
    expect(await lake.filesOf(`select * from trades at (version => ${ids[1]})`)).toEqual([
      expect.stringMatching(
        new RegExp(`^trades as of snapshot ${ids[1]}: 2 of 2 files, \\d+ of \\d+ bytes, \\d+ of \\d+ manifests$`),
      ),
    ])
  })
})

describe('all streams of a statement', () => {
  test('as of a snapshot, a tag, or a time', async () => {
    expect(await valuesOf('trades', String(ids[0]))).toEqual([1])
    expect(await valuesOf('trades', 'audit-2013')).toEqual([1, 2])
    expect(await valuesOf('trades', time(2))).toEqual([1, 2, 3])
    expect(await valuesOf('trades', '2013-10-08 00:01:00')).toEqual([1, 2])
  })

  test('but those that say otherwise', async () => {
    const sql = `select (select count(*) from trades) as a, (select count(*) from trades at (version => ${ids[2]})) as b`
    expect(await lake.rows(sql, { asOf: 'audit-2013' })).toEqual([{ a: 2, b: 3 }])
  })
})

describe('what there is not', () => {
  test.each([
    ['trades at (version => 12345)', undefined, 'unknown_snapshot', /no snapshot 12345/],
    ["trades at (version => 'nowhere')", undefined, 'unknown_snapshot', /no tag "nowhere"/],
    ["trades at (timestamp => '2013-10-07')", undefined, 'unknown_snapshot', /no snapshot at 2013-10-07T00:00:00.000Z/],
    ['trades', '12345', 'unknown_snapshot', /no snapshot 12345/],
    ['trades', '2001-01-01', 'unknown_snapshot', /no snapshot at 2001/],
    ['trades', 'tomorrow', 'invalid_request', /"tomorrow"/],
    ['trades at (version => v)', undefined, 'invalid_sql', /takes a constant/],
    ['trades at (version => (select 1))', undefined, 'invalid_sql', /takes a constant/],
    ['trades at (version => random())', undefined, 'invalid_sql', /takes a constant/],
    ["trades at (timestamp => 'soon')", undefined, 'invalid_sql', /names no time/],
    ['trades at (version => NULL)', undefined, 'invalid_sql', /names no snapshot/],
    ['trades at (timestamp => 7)', undefined, 'invalid_sql', /names no time/],
  ])('%s as of %s', async (from, asOf, code, message) => {
    const error = await valuesOf(from, asOf).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
    expect((error as { hint?: string }).hint).toBeTruthy()
  })

  test('a stream without a commit has no past', async () => {
    await expect(valuesOf('empty', time(5))).rejects.toMatchObject({ code: 'unknown_snapshot' })
  })

  test('the hint says what there is', async () => {
    await expect(valuesOf('trades at (version => 1)')).rejects.toMatchObject({
      hint: `The oldest is ${ids[0]}, of ${time(0)}; freshet.snapshots lists all. Tags: audit-2013.`,
    })
  })
})

describe('the text that runs', () => {
  const context = { streams: new Set(['trades', 'a']), systemTables: new Set(['streams']) }
  const admitted = (sql: string): Promise<{ sql: string }> =>
    lake.database.with((connection) => admit(connection, sql, context))

  test.each([
    'select * from trades at (version => 5) where x > 1',
    'select * from a at(version=>5),trades',
    "select 'é', 日 from trades as t at (version => 'a) b' || ')') where x > 1",
    'select * from trades at /* ) -- */ (version => 5 -- )\n) where x > 1',
    'select * from trades\n  as t\n  at (version =>\n 5)\nwhere x > 1',
    'select * from trades as t(a, b) at (timestamp => now()) where x > 1',
    'explain select * from (select 1), trades at (version => (5))',
  ])('has the rest where it was: %s', async (sql) => {
    const { sql: text } = await admitted(sql)
    expect(text).not.toMatch(/version|timestamp/)
    const end = /(where x > 1|,trades)?$/.exec(sql)![0]
    expect(text.trimEnd().endsWith(end)).toBe(true)
    expect(text.split('\n').length).toBe(sql.split('\n').length)
    if (!sql.includes('\n')) expect(text.indexOf(end)).toBe(sql.indexOf(end))
  })

  test.each([
    ['with trades as (select 1) select * from trades at (version => 5)', /AT is for streams/],
    ['select * from freshet.streams at (version => 5)', /AT is for streams/],
    ['select * from nothing at (version => 5)', /no stream or table/],
  ])('%s', async (sql, message) => {
    await expect(admitted(sql)).rejects.toMatchObject({
      code: 'forbidden_sql',
      message: expect.stringMatching(message),
    })
  })

  test('a mistake behind an AT clause keeps its place', async () => {
    const lines = `select v\n from trades at (version => ${ids[0]})\nwhere w > 1`
    await expect(lake.rows(lines)).rejects.toMatchObject({ code: 'invalid_sql', extra: { line: 3, column: 7 } })
    const one = `select v from trades at (version => ${ids[0]}) where w > 1`
    await expect(lake.rows(one)).rejects.toMatchObject({ extra: { line: 1, column: one.indexOf('w > 1') + 1 } })
  })
})
