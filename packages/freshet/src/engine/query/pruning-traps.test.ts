/** What could make files be left out that have rows of the answer, one by one. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { plainColumns as columns, QueryLake, type Found, type SqlRow } from '../../../test/support/query-lake.ts'

let lake: QueryLake
let number = 0

beforeAll(async () => {
  lake = await QueryLake.open()
})

afterAll(() => lake.close())

const noon = "timestamptz '2013-10-07 12:00:00+00'"
const many = (letter: string, length: number): string => `'${letter.repeat(length)}'`

interface Trap {
  /** Each a file of its own, or several in one. */
  rows: (SqlRow | SqlRow[])[]
  /** Of `select 1 from @T`; or a whole query. */
  where?: string
  sql?: string
  /** Rows of the answer. */
  count: number
  /** Files that are read for it. */
  files: number
}

const traps: [string, Trap][] = [
  [
    'NaN is above all numbers',
    { rows: [[{ x: "'NaN'" }, { x: '1' }], { x: '1' }], where: 'x > 5', count: 1, files: 1 },
  ],
  ['infinity is, too', { rows: [{ x: "'inf'" }, { x: '1' }], where: 'x > 5', count: 1, files: 1 }],
  ['the two zeros are equal', { rows: [{ x: '-0.0::double' }, { x: '1' }], where: 'x >= 0.0', count: 2, files: 2 }],
  ['and in lists', { rows: [{ x: '0.0' }, { x: '1' }], where: 'x in (-0.0::double)', count: 1, files: 1 }],
  ['a fraction is no number', { rows: [{ n: '6' }, { n: '5' }, { n: '9' }], where: 'n > 5.5', count: 2, files: 3 }],
  ['nor in lists', { rows: [{ n: '6' }, { n: '5' }], where: 'n in (5.5, 6)', count: 1, files: 2 }],
  [
    'large whole numbers as doubles',
    { rows: [{ n: '9007199254740993' }], where: 'n = 9007199254740992::double', count: 1, files: 1 },
  ],
  [
    'a float is a tenth as far as floats go',
    { rows: [{ f: '0.1' }, { f: '0.2' }], where: 'f <= 0.1', count: 1, files: 1 },
  ],
  [
    'texts that are cut',
    {
      rows: [{ s: many('a', 17) }, { s: many('b', 17) }],
      where: `s > ${many('a', 16)} and s < 'b'`,
      count: 1,
      files: 1,
    },
  ],
  [
    'beginnings that are longer than bounds',
    { rows: [{ s: many('a', 30) }, { s: many('b', 30) }], where: `s like '${'a'.repeat(20)}%'`, count: 1, files: 1 },
  ],
  ['a pattern without an end', { rows: [{ s: "'a'" }, { s: "'b'" }], where: "s like 'a'", count: 1, files: 1 }],
  ['a pattern without a beginning', { rows: [{ s: "'xa'" }, { s: "'b'" }], where: "s like '_a%'", count: 1, files: 2 }],
  ['a backslash is a character', { rows: [{ s: "'\\x'" }, { s: "'%'" }], where: "s like '\\%'", count: 1, files: 1 }],
  [
    'texts are ordered by code point',
    { rows: [{ s: "'\u{10ffff}'" }, { s: "'\uffff'" }], where: "s > '\uffff'", count: 1, files: 1 },
  ],
  [
    'a list is of one type',
    { rows: [{ n: '9007199254740992' }], where: 'n in (9007199254740993, 2::double)', count: 1, files: 1 },
  ],
  ['nulls', { rows: [{ n: 'NULL' }, { n: '1' }], where: 'n is null', count: 1, files: 1 }],
  ['no nulls', { rows: [{ n: 'NULL' }, { n: '1' }], where: 'n is not null', count: 1, files: 1 }],
  ['nulls meet no comparison', { rows: [{ n: 'NULL' }, { n: '1' }], where: 'n < 9', count: 1, files: 1 }],
  [
    'the date of a time',
    {
      rows: [
        "'2013-10-06 23:59:59.999999+00'",
        "'2013-10-07 00:00:00+00'",
        "'2013-10-07 23:59:59.999999+00'",
        "'2013-10-08 00:00:00+00'",
      ].map((time) => ({ _event_time: `timestamptz ${time}` })),
      where: "_event_time::date = '2013-10-07'",
      count: 2,
      files: 2,
    },
  ],
  [
    'the date of a time, before 1970 and in a list',
    {
      rows: ["'1969-12-30 23:59:59.5'", "'1969-12-31 00:00:00'", "'1970-01-01 00:00:00'", "'1970-01-02 00:00:00'"].map(
        (time) => ({
          l: `timestamp ${time}`,
        }),
      ),
      where: "l::date in ('1969-12-31', '1970-01-01')",
      count: 2,
      files: 2,
    },
  ],
  [
    'a text with a clock is a date where a date is compared',
    { rows: [{ l: "timestamp '2013-10-07 01:00:00'" }], where: "l::date >= '2013-10-07 12:00:00'", count: 1, files: 1 },
  ],
  [
    'the beginning of an hour, a month and a year',
    {
      rows: ["'2013-10-31 23:59:59'", "'2013-11-01 00:10:00'", "'2013-11-01 01:00:00'"].map((time) => ({
        l: `timestamp ${time}`,
      })),
      where:
        "date_trunc('hour', l) = '2013-11-01' and date_trunc('month', l) > '2013-10-01' and date_trunc('year', l) <= '2013-01-01'",
      count: 1,
      files: 1,
    },
  ],
  [
    'a unit that is not known, and the date of a text',
    {
      rows: [
        { l: "timestamp '2013-10-07'", s: "'2013-10-07'" },
        { l: "timestamp '2023-10-07'", s: "'2013-10-08'" },
      ],
      where: "date_trunc('decade', l) = '2010-01-01' and s::date = '2013-10-07'",
      count: 1,
      files: 2,
    },
  ],
  [
    'days before 1970',
    { rows: [{ d: "date '1969-12-31'" }, { d: "date '1970-01-01'" }], where: "d < '1970-01-01'", count: 1, files: 1 },
  ],
  [
    'hours before 1970',
    {
      rows: [
        { _event_time: "timestamptz '1969-12-31 23:30:00+00'" },
        { _event_time: "timestamptz '1970-01-01 00:30:00+00'" },
      ],
      where: "_event_time < '1970-01-01'",
      count: 1,
      files: 1,
    },
  ],
  ['null is no constant', { rows: [{ n: '1' }], where: 'n = NULL', count: 0, files: 1 }],
  [
    'a name that the select list has for something else',
    {
      rows: [
        { i: '1', n: '9' },
        { i: '9', n: '1' },
      ],
      sql: 'select i as n from @T where n > 5',
      count: 1,
      files: 2,
    },
  ],
  [
    'rows that a join leaves without a partner',
    {
      rows: [{ n: '1' }, { n: 'NULL' }],
      sql: 'select 1 from (values (1), (2)) a(i) left join @T z on a.i = z.n where z.n is null',
      count: 1,
      files: 2,
    },
  ],
  [
    'rows that a full join leaves without a partner',
    {
      rows: [{ n: '1' }, { n: 'NULL' }],
      sql: 'select 1 from @T a full join (values (1), (2)) z(i) on a.n = z.i where a.n is null',
      count: 2,
      files: 2,
    },
  ],
  [
    'the nearest row among all',
    {
      rows: [
        { i: '1', n: '1', s: "'k'" },
        { i: '2', n: '9', s: "'k'" },
      ],
      sql: "select 1 from (values (2, 'k')) a(i, s) asof join @T z on a.s = z.s and a.i >= z.i where z.n < 5",
      count: 0,
      files: 2,
    },
  ],
  [
    'the condition of an outer join is none on its rows',
    {
      rows: [{ n: '1' }, { n: '9' }],
      sql: 'select 1 from @T a left join (select 1 as k) on a.n > 5',
      count: 2,
      files: 2,
    },
  ],
  [
    'that of an inner join is',
    { rows: [{ n: '1' }, { n: '9' }], sql: 'select 1 from @T a join (select 1 as k) on a.n > 5', count: 1, files: 1 },
  ],
  [
    'rows by their places',
    {
      rows: [{ i: '1' }, { i: '2' }],
      sql: 'select 1 from (values (1), (2)) v(k) positional join @T a where a.i = 1 and k = 2',
      count: 1,
      files: 2,
    },
  ],
  [
    'a sample',
    { rows: [{ i: '1' }, { i: '2' }], sql: 'select 1 from @T tablesample 100% where i = 2', count: 1, files: 2 },
  ],
  [
    'columns that were given other names',
    {
      rows: [
        { i: '1', n: '9' },
        { i: '9', n: '1' },
      ],
      sql: 'select 1 from @T as t(a, b, c, d, e, i, n) where n > 5',
      count: 1,
      files: 2,
    },
  ],
  [
    'a table of the same name in a query around it',
    {
      rows: [
        { i: '1', n: '9' },
        { i: '9', n: '1' },
      ],
      sql: 'select 1 from @T o where exists (select 1 from @T where o.n > 5 and @T.i = o.i)',
      count: 1,
      files: 2,
    },
  ],
  [
    'a common table expression of the same name',
    {
      rows: [{ i: '1' }, { i: '9' }],
      sql: 'with @T as (select i + 1 as i from main.@T) select 1 from @T where i > 9',
      count: 1,
      files: 2,
    },
  ],
  [
    'several references to one stream',
    {
      rows: [{ i: '1' }, { i: '5' }, { i: '9' }],
      sql: 'select 1 from @T where i = 1 union all select 1 from @T where i = 9',
      count: 2,
      files: 2,
    },
  ],
  [
    'the time of the query',
    { rows: [{ _event_time: 'now() + interval 1 day' }, {}], where: '_event_time > now()', count: 1, files: 1 },
  ],
  [
    'the date of the query',
    {
      rows: [{ _event_time: 'now() + interval 3 days' }, {}],
      where: '_event_time > current_date + 1',
      count: 1,
      files: 1,
    },
  ],
  [
    'a column called as the date is',
    {
      rows: [{ _event_time: 'now()', d: "date '2030-01-01'" }, {}],
      sql: 'select 1 from (select _event_time, d as current_date from @T) where _event_time < current_date',
      count: 1,
      files: 2,
    },
  ],
]

describe('is not taken in by', () => {
  test.each(traps)('%s', async (_, { rows, where: condition, sql, count, files }) => {
    const name = `t${++number}`
    await lake.addStream(name, columns, { by: 'event_time', unit: 'hour' })
    for (const one of rows)
      await lake.append(
        name,
        [one].flat().map((own) => ({ _event_time: noon, ...own })),
      )
    const asked = (sql ?? `select 1 from @T where ${condition}`).replaceAll('@T', name)
    expect((await lake.answerOf(asked, name, false)).answer).toHaveLength(count)
    const found = await lake.answerOf(asked, name, true)
    expect(found.answer).toHaveLength(count)
    expect(found.scans.map((scan) => scan.files)).toEqual([files])
  })
})

test('a column that has become wider keeps its older values in another field', async () => {
  const name = `t${++number}`
  await lake.addStream(name, [{ name: 'v', type: { kind: 'long' } }], { by: 'event_time', unit: 'day' })
  await lake.append(name, [{ _event_time: noon, v: '7' }])
  await lake.append(name, [{ _event_time: noon, v: "'text'" }], [{ name: 'v', type: { kind: 'string' } }])
  expect((await lake.answerOf(`select v from ${name} where v = '7'`, name, true)).answer).toEqual([{ v: '7' }])
})

test('what is hot is wider than the files', async () => {
  const name = `t${++number}`
  await lake.addStream(name, [{ name: 'v', type: { kind: 'long' } }], { by: 'event_time', unit: 'day' })
  await lake.append(name, [{ _event_time: noon, v: '9' }])
  await lake.addHot(name, [{ _event_time: noon, v: "'10'" }], [{ name: 'v', type: { kind: 'string' } }])
  const where = (condition: string): Promise<Found> =>
    lake.answerOf(`select v from ${name} where ${condition}`, name, true)
  expect((await where("v < '8'")).answer).toEqual([{ v: '10' }])
  expect((await where("v > '8'")).answer).toEqual([{ v: '9' }])
})

test('constants that cannot be had leave the query as it is', async () => {
  const name = `t${++number}`
  await lake.addStream(name, columns, { by: 'event_time', unit: 'day' })
  await lake.append(name, [{ _event_time: noon, s: "'5'" }])
  await expect(lake.rows(`select 1 from ${name} where _event_time > 5 + 1`)).rejects.toMatchObject({
    code: 'invalid_sql',
  })
  await expect(lake.rows(`select 1 from ${name} where n = 'x'`)).rejects.toMatchObject({ code: 'invalid_sql' })
  expect(await lake.rows(`select s from ${name} where n is null and s > '4'`)).toEqual([{ s: '5' }])
})

test('parameters are constants', async () => {
  const name = `t${++number}`
  await lake.addStream(name, columns, { by: 'event_time', unit: 'day' })
  for (const n of [1, 2, 3]) await lake.append(name, [{ _event_time: `${noon} + interval ${n} days`, n: `${n}` }])
  const asked = { parameters: { n: 2, since: '2013-10-09', days: '2 days', bare: 1.5 } }
  const sql = `select n from ${name} where n >= $n and _event_time >= $since::date and _event_time > timestamptz '2013-10-07' + $days::interval and n > $bare`
  expect(await lake.rows(`${sql} order by n`, asked)).toEqual([{ n: 2 }, { n: 3 }])
  expect(await lake.filesOf(sql, asked)).toEqual([
    expect.stringMatching(/: 2 of 3 files, \d+ of \d+ bytes, 2 of 3 manifests$/),
  ])
})
