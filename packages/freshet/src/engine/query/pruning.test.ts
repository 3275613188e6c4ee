/** Files that are left out have no row that matters: whatever the table and the query, the answer is that of all files. */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { plainColumns as columns, QueryLake, type SqlRow } from '../../../test/support/query-lake.ts'

let lake: QueryLake

beforeAll(async () => {
  lake = await QueryLake.open()
})

afterAll(() => lake.close())

const ends = ['Z', 'a', 'aaaaaaaaaaaaaaaa', 'aaaaaaaaaaaaaaaab', 'é', '日本', '\u{10ffff}', '%', '_', "o'k", '']
const texts = fc
  .tuple(fc.constantFrom(...ends), fc.constantFrom(...ends))
  .map(([a, b]) => `'${`${a}${b}`.replaceAll("'", "''")}'`)
const whole = fc.constantFrom('-9223372036854775808', '-1', '0', '1', '7', '9007199254740993', '9223372036854775807')
const small = fc.constantFrom('-2147483648', '-1', '0', '1', '7', '2147483647')
const fractions = fc.constantFrom('-1.5', '-0.0', '0.0', '0.1', '1.5', '16777217', '1e300', "'NaN'", "'inf'", "'-inf'")
const floats = fc.constantFrom('-1.5', '-0.0', '0.0', '0.1', '1.5', '16777216', '1e30', "'NaN'", "'inf'")
const days = fc.constantFrom('1900-01-01', '1969-12-31', '1970-01-01', '1970-01-02', '2013-10-07', '2013-10-08')
const clocks = fc.constantFrom('00:00:00', '00:00:00.000001', '12:30:00', '23:59:59.999999')
const times = fc.tuple(days, clocks).map(([day, clock]) => `${day} ${clock}`)
const decimals = fc.constantFrom('-9999999999.99', '-0.01', '0', '0.01', '12.34', '9999999999.99')

/** Values of each column, as SQL. */
const values: Record<string, fc.Arbitrary<string>> = {
  n: whole,
  i: small,
  x: fractions.map((text) => `${text}::double`),
  f: floats.map((text) => `${text}::float`),
  s: texts,
  d: days.map((day) => `date '${day}'`),
  l: times.map((time) => `timestamp '${time}'`),
  c: clocks.map((clock) => `time '${clock}'`),
  p: decimals,
  b: fc.constantFrom('true', 'false'),
  _event_time: times.map((time) => `timestamptz '${time}+00'`),
}

/** What else they may be compared with. */
const others: Record<string, fc.Arbitrary<string>> = {
  n: fc.oneof(
    fractions,
    decimals,
    whole.map((text) => `'${text}'`),
    fc.constant('9007199254740992::double'),
  ),
  i: fc.oneof(whole, fractions, decimals),
  x: fc.oneof(
    whole,
    decimals,
    fractions,
    floats.map((text) => `${text}::float`),
  ),
  f: fc.oneof(whole, decimals, fractions),
  s: fc.constantFrom("''", "'a'", "'b'", "upper('a')", "'日'"),
  d: fc.oneof(
    times.map((time) => `timestamp '${time}'`),
    days.map((day) => `'${day}'`),
  ),
  l: fc.oneof(
    days.map((day) => `date '${day}'`),
    times.map((time) => `'${time}'`),
  ),
  c: clocks.map((clock) => `'${clock}'`),
  p: fc.oneof(whole, fractions, fc.constantFrom('12.345', '12.34::double', '1e5')),
  b: fc.constant("'true'"),
  _event_time: fc.oneof(
    days.map((day) => `date '${day}'`),
    times.map((time) => `'${time}'`),
    times.map((time) => `timestamp '${time}' + interval 1 hour`),
    fc.constantFrom('now()', 'current_date', "date_trunc('day', timestamptz '2013-10-07 12:00:00+00')", 'NULL'),
  ),
}

const names = Object.keys(values)
const row = fc.record(
  Object.fromEntries(
    Object.entries(values).map(([name, own]) => [
      name,
      name === '_event_time' ? own : fc.option(own, { freq: 4, nil: 'NULL' }),
    ]),
  ),
) as fc.Arbitrary<SqlRow>

const constant = (name: string): fc.Arbitrary<string> =>
  fc.oneof({ weight: 3, arbitrary: values[name]! }, { weight: 2, arbitrary: others[name]! })

/** Conditions on columns of the relation that `q` qualifies. */
function condition(q: string): fc.Arbitrary<string> {
  const simple = fc.constantFrom(...names).chain((name) => {
    const column = `${q}${name}`
    const value = constant(name)
    const sign = fc.constantFrom('=', '<', '<=', '>', '>=')
    return fc.oneof(
      fc.tuple(sign, value).map(([op, other]) => `${column} ${op} ${other}`),
      fc.tuple(sign, value).map(([op, other]) => `${other} ${op} ${column}`),
      fc.tuple(values[name]!, values[name]!).map(([a, b]) => `${column} between ${a} and ${b}`),
      fc.array(values[name]!, { minLength: 1, maxLength: 3 }).map((list) => `${column} in (${list.join(', ')})`),
      fc.constantFrom(`${column} is null`, `${column} is not null`),
      fc.tuple(sign, value).map(([op, other]) => `not (${column} ${op} ${other})`),
    )
  })
  const floored = fc
    .tuple(
      fc.constantFrom(`${q}_event_time`, `${q}l`, `${q}d`),
      fc.constantFrom('second', 'hour', 'day', 'week', 'month', 'quarter', 'year', 'decade'),
      fc.constantFrom('=', '<', '<=', '>', '>='),
      fc.oneof(
        times.map((time) => `'${time}'`),
        times.map((time) => `timestamp '${time}'`),
        days.map((day) => `date '${day}'`),
        days.map((day) => `'${day}'`),
      ),
      fc.constantFrom('cast', 'trunc', 'in'),
    )
    .map(([column, unit, op, other, form]) => {
      if (form === 'in') return `${column}::date in (${other}, date '1970-01-01')`
      return form === 'cast' ? `${column}::date ${op} ${other}` : `${other} ${op} date_trunc('${unit}', ${column})`
    })
  const like = texts.map((text) => `${q}s like ${text.slice(0, -1)}%'`)
  const begins = texts.map((text) => `starts_with(${q}s, ${text})`)
  return fc.oneof({ weight: 8, arbitrary: simple }, { weight: 2, arbitrary: floored }, like, begins)
}

const where = (q: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 4, arbitrary: fc.array(condition(q), { minLength: 1, maxLength: 3 }).map((all) => all.join(' and ')) },
    { weight: 1, arbitrary: fc.tuple(condition(q), condition(q)).map((all) => all.join(' or ')) },
  )

const numbers = '(values (-1), (0), (1), (7), (8)) z(i)'
const joins = fc.constantFrom('join', 'left join', 'right join', 'full join', 'semi join', 'anti join', 'cross join')

/** `@T` is the stream. */
const query: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: where('').map((text) => `select _event_id from @T where ${text} order by all`) },
  { weight: 2, arbitrary: where('a.').map((text) => `select _event_id from main.@T a where ${text} order by all`) },
  where('@T.').map((text) => `select count(*) as n, sum(hash(_event_id)) as h from @T where ${text}`),
  fc.tuple(joins, condition('a.'), condition('a.'), condition('z.')).map(([join, on, first, second]) => {
    const visible = join === 'semi join' || join === 'anti join' ? first : `${first} and ${second}`
    const both = join === 'cross join' ? '' : `on a.i = z.i and ${on}`
    return `select count(*) as n, sum(hash(a._event_id)) as h from @T a ${join} @T z ${both} where ${visible}`
  }),
  fc.tuple(joins, condition('a.'), condition('a.'), fc.boolean()).map(([join, on, one, isFirst]) => {
    const both = join === 'cross join' ? '' : `on a.i = z.i and ${on}`
    const [left, right] = isFirst || join.endsWith('i join') ? ['@T a', numbers] : [numbers, '@T a']
    return `select count(*) as n, sum(hash(a.n)) as h from ${left} ${join} ${right} ${both} where ${one}`
  }),
  fc.tuple(fc.constantFrom('asof join', 'asof left join'), condition('a.'), condition('z.')).map(([join, one, two]) => {
    return `select count(*) as n, sum(hash(z.d)) as h from @T a ${join} @T z on a.b = z.b and a.d >= z.d where ${one} and ${two}`
  }),
  fc.tuple(condition(''), condition('@T.')).map(([one, two]) => {
    return `with w as (select * from @T where ${one}) select count(*) as n from w, @T where w.i = @T.i and ${two}`
  }),
  fc.tuple(condition('@T.'), condition('o.')).map(([one, two]) => {
    const inner = `select 1 from @T where ${one} and @T.i = o.i and ${two}`
    return `select _event_id from @T o where exists (${inner}) order by all`
  }),
  fc.tuple(condition(''), condition('')).map(([one, two]) => {
    return `select _event_id from @T where ${one} union all select 'x' from @T where ${two} order by all`
  }),
  // Names that mean something else than a column of the stream.
  whole.map(
    (value) =>
      `select -i as n, count(*) as c from (select i, n + 1 as n from @T) where n > ${value} group by n, i order by all`,
  ),
  whole.map((value) => `select -i as i, n as j from @T where i > ${value} and j > ${value} order by all`),
  whole.map((value) => `select t.n from @T as t(a, b, c, d, e, n) where n is not null and t.f < ${value} order by all`),
)

const table = fc.record({
  appends: fc.array(
    fc.record({
      rows: fc.array(row, { minLength: 1, maxLength: 3 }),
      unit: fc.constantFrom('hour' as const, 'day' as const, 'month' as const),
      /** Columns that came later. */
      late: fc.boolean(),
    }),
    { minLength: 2, maxLength: 6 },
  ),
  hot: fc.array(row, { maxLength: 2 }),
})

const without = (rows: readonly SqlRow[], name: string): SqlRow[] =>
  rows.map((one) => Object.fromEntries(Object.entries(one).filter(([key]) => key !== name)))

let number = 0

test('rows with pruning are rows without, in random tables, for random queries', async () => {
  let pruned = 0
  let asked = 0
  await fc.assert(
    fc.asyncProperty(table, fc.array(query, { minLength: 60, maxLength: 60 }), async ({ appends, hot }, queries) => {
      const name = `t${++number}`
      const early = columns.filter((column) => column.name !== 'n')
      await lake.addStream(name, early, { by: 'event_time', unit: 'day' })
      let hasN = false
      for (const { rows, unit, late } of appends) {
        await lake.repartition(name, { by: 'event_time', unit })
        hasN ||= late
        await lake.append(name, hasN ? rows : without(rows, 'n'), hasN ? columns : early)
      }
      if (!hasN) await lake.append(name, [{ _event_time: "timestamptz '2013-10-07'", n: '1' }], columns)
      await lake.addHot(name, hot)
      for (const text of queries) {
        const sql = text.replaceAll('@T', name)
        const expected = await lake.answerOf(sql, name, false)
        const found = await lake.answerOf(sql, name, true)
        expect(found.answer, sql).toEqual(expected.answer)
        if (expected.answer === undefined) continue
        asked++
        if (found.scans.some((scan) => scan.files < scan.filesTotal)) pruned++
      }
    }),
    { numRuns: 8 },
  )
  // It is no use to be right by reading everything.
  expect(pruned / asked).toBeGreaterThan(0.25)
}, 300_000)
