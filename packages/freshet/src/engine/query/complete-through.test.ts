import { describe, expect, test } from 'vitest'
import { PassThrough } from 'node:stream'
import { bytesOf, database, rowsOf, runnerWith } from '../../../test/support/query-lab.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { QueryRunner } from './run.ts'

const at = Date.parse('2013-10-07T20:00:00.123Z')
const streams = new Set(['numbers', 'orders', 'quiet'])

function runner(find: () => Promise<ReadonlyMap<string, number>>): QueryRunner {
  return runnerWith({ completeThrough: find, context: () => ({ streams, systemTables: new Set() }) })
}

const known = (): QueryRunner =>
  runner(
    async () =>
      new Map([
        ['numbers', at],
        ['orders', -1],
      ]),
  )

/** The only value of a statement, or the error it was refused with. */
async function valueOf(sql: string, parameters: Record<string, unknown> = {}): Promise<unknown> {
  const [row] = await rowsOf(sql, { runner: known(), parameters })
  return Object.values(row!)[0]
}

async function headersOf(sql: string, by: QueryRunner = known()): Promise<Readonly<Record<string, string>>> {
  let headers: Readonly<Record<string, string>> = {}
  const request = { sql, parameters: {}, format: 'json', signal: new AbortController().signal } as const
  const out = new PassThrough({ highWaterMark: 1 << 26 })
  await by.run(request, { begin: (given) => ((headers = given), out) })
  return headers
}

describe('complete_through', () => {
  test('says how far a stream is complete, null where nobody can say', async () => {
    expect(await valueOf("select complete_through('numbers')")).toBe('2013-10-07T20:00:00.123Z')
    expect(await valueOf("select complete_through('NUMBERS')")).toBe('2013-10-07T20:00:00.123Z')
    expect(await valueOf("select main.complete_through('orders')")).toBe('1969-12-31T23:59:59.999Z')
    expect(await valueOf("select complete_through('quiet')")).toBeNull()
    expect(await valueOf('select complete_through(null)')).toBeNull()
    const nobody = runner(async () => new Map())
    expect(await rowsOf("select complete_through('numbers') as t", { runner: nobody })).toEqual([{ t: null }])
  })

  test('is a timestamp like any other', async () => {
    expect(await valueOf("select typeof(complete_through('numbers'))")).toBe('TIMESTAMP WITH TIME ZONE')
    expect(await valueOf("select complete_through('numbers') - interval 1 hour")).toBe('2013-10-07T19:00:00.123Z')
    expect(
      await valueOf("select count(*) from numbers where n < 10 and to_timestamp(n) < complete_through('numbers')"),
    ).toBe(10)
  })

  test('takes the name from wherever it comes', async () => {
    expect(await valueOf('select complete_through($s)', { s: 'numbers' })).toBe('2013-10-07T20:00:00.123Z')
    const each = "select n, complete_through(n) as t from (values ('numbers'), ('quiet'), ('nothing')) as v(n)"
    expect(await rowsOf(each, { runner: known() })).toEqual([
      { n: 'numbers', t: '2013-10-07T20:00:00.123Z' },
      { n: 'quiet', t: null },
      { n: 'nothing', t: null },
    ])
  })

  test('works in every form of the answer', async () => {
    const sql = "select complete_through('numbers') as t"
    expect((await bytesOf(sql, { runner: known(), format: 'csv' })).toString()).toContain('2013-10-07T20:00:00.123Z')
    expect((await bytesOf(sql, { runner: known(), format: 'parquet' })).subarray(0, 4).toString()).toBe('PAR1')
    expect((await bytesOf(`explain ${sql}`, { runner: known() })).toString()).toContain('rowCount')
  })

  test('is asked for once in a statement, before its snapshot', async () => {
    let asked = 0
    const moving = runner(async () => new Map([['numbers', at + 1000 * asked++]]))
    const sql =
      "select complete_through('numbers') as a, (select complete_through('numbers')) as b from numbers limit 1"
    expect(await rowsOf(sql, { runner: moving })).toEqual([
      { a: '2013-10-07T20:00:00.123Z', b: '2013-10-07T20:00:00.123Z' },
    ])
    expect(asked).toBe(1)
  })

  test.each([
    ["select complete_through('number')", 'forbidden_sql', 'Did you mean "numbers"?'],
    ["select complete_through('dead_letters')", 'forbidden_sql', undefined],
    ["select complete_through('numbers''; drop table x; --')", 'forbidden_sql', undefined],
    ["select complete_through('')", 'forbidden_sql', undefined],
    ['select complete_through(42)', 'invalid_sql', undefined],
    ["select complete_through(['numbers'])", 'invalid_sql', undefined],
    ['select complete_through()', 'invalid_sql', undefined],
    ["select complete_through('numbers', 'orders')", 'invalid_sql', undefined],
    ["select complete_through('numbers') over ()", 'invalid_sql', undefined],
    ["select complete_through(distinct 'numbers')", 'invalid_sql', undefined],
    ["select * from complete_through('numbers')", 'forbidden_sql', undefined],
    ["select freshet.complete_through('numbers')", 'forbidden_sql', undefined],
    ["select temp.complete_through('numbers')", 'forbidden_sql', undefined],
    ["select memory.main.complete_through('numbers')", 'forbidden_sql', undefined],
    ["select getvariable('freshet_complete_through')", 'forbidden_sql', undefined],
    ["set variable freshet_complete_through = map {'numbers': now()}", 'forbidden_sql', undefined],
    ['create macro complete_through(x) as now()', 'forbidden_sql', undefined],
  ])('%s is refused', async (sql, code, hint) => {
    await expect(rowsOf(sql, { runner: known() })).rejects.toMatchObject({ code, ...(hint && { hint }) })
  })

  test('what another query was told is not known to the next one', async () => {
    await rowsOf("select complete_through('numbers')", { runner: known() })
    const nobody = runner(async () => new Map())
    expect(await rowsOf("select complete_through('numbers') as t", { runner: nobody })).toEqual([{ t: null }])
  })

  test('names of streams are data in it', async () => {
    const odd = runner(
      async () =>
        new Map([
          ["it's", at],
          ['numbers', at],
        ]),
    )
    expect(await rowsOf("select complete_through('numbers') is not null as t", { runner: odd })).toEqual([{ t: true }])
  })

  test('a registry that cannot be read refuses those who ask, and only those', async () => {
    const broken = runner(() => Promise.reject(new FreshetError('sites_unavailable', 'It is damaged.')))
    await expect(rowsOf("select complete_through('numbers')", { runner: broken })).rejects.toMatchObject({
      code: 'sites_unavailable',
    })
    expect(await rowsOf('select count(*) as n from numbers', { runner: broken })).toEqual([{ n: 1_000_000 }])
    expect(await headersOf('select 1 from numbers limit 1', broken)).not.toHaveProperty('freshet-complete-through')
  })
})

describe('the header', () => {
  test('names the streams that are read and are known, in order', async () => {
    await database.with(async (connection) => {
      await connection.run('CREATE OR REPLACE VIEW main.orders AS SELECT 1 AS n')
      await connection.run('CREATE OR REPLACE VIEW main.quiet AS SELECT 1 AS n')
    })
    expect(await headersOf('select * from orders join quiet using (n) join numbers using (n)')).toMatchObject({
      'freshet-complete-through': 'numbers=2013-10-07T20:00:00.123Z, orders=1969-12-31T23:59:59.999Z',
    })
    expect(await headersOf('select * from quiet')).not.toHaveProperty('freshet-complete-through')
    expect(await headersOf('select 1')).not.toHaveProperty('freshet-complete-through')
  })

  test('stays small', async () => {
    const names = Array.from({ length: 100 }, (_, index) => `${'s'.repeat(60)}${String(index).padStart(3, '0')}`)
    await database.with(async (connection) => {
      for (const name of names) await connection.run(`CREATE VIEW main.${name} AS SELECT 1 AS n`)
    })
    const by = runnerWith({
      completeThrough: async () => new Map(names.map((name) => [name, at])),
      context: () => ({ streams: new Set(names), systemTables: new Set() }),
    })
    const sql = names.map((name) => `select * from ${name}`).join(' union all ')
    const header = (await headersOf(sql, by))['freshet-complete-through']!
    expect(header.length).toBeLessThan(4096)
    expect(header.split(', ')).toHaveLength(40)
  })
})
