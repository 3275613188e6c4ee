import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FreshetError } from '../../runtime/errors.ts'
import { Database } from '../duckdb.ts'
import { admitted, functions, hidden, statements } from '../../../test/support/sql-statements.ts'
import { admit, sqlLengthMax, type GateContext } from './gate.ts'

const context: GateContext = {
  streams: new Set(['trades', 'clicks']),
  systemTables: new Set(['streams', 'files']),
}

let dir: string
let database: Database
let connection: DuckDBConnection

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'freshet-gate-'))
  for (const folder of ['tmp', 'lake']) await mkdir(join(dir, folder))
  await writeFile(join(dir, 'outside.csv'), 'secret\n1\n')
  const options = { memoryBytes: 256 << 20, spillBytesMax: 1 << 30, threads: 2 }
  database = await Database.open({
    ...options,
    tmpDir: join(dir, 'tmp'),
    lakeDir: join(dir, 'lake'),
    logDir: join(dir, 'log'),
  })
  connection = await database.connect()
  await connection.run(
    'CREATE TABLE tail.trades_1 (id VARCHAR, symbol VARCHAR, price DOUBLE, tags VARCHAR[], o STRUCT(p BIGINT))',
  )
  await connection.run(
    "INSERT INTO tail.trades_1 VALUES ('a', 'SPY', 1.5, ['x', 'y'], {'p': 1}), ('b', 'QQQ', 2.5, [], NULL)",
  )
  await connection.run('CREATE TABLE tail.secret AS SELECT 1 AS id')
  await connection.run('CREATE VIEW main.trades AS SELECT * FROM tail.trades_1')
  await connection.run('CREATE VIEW main.clicks AS SELECT id, symbol AS page FROM tail.trades_1')
  await connection.run("CREATE TABLE freshet.streams AS SELECT 'trades' AS name")
  await connection.run("CREATE TABLE freshet.files AS SELECT 'f' AS path")
})

afterAll(async () => {
  connection.closeSync()
  database.close()
  await rm(dir, { recursive: true })
})

async function refusalOf(sql: string): Promise<FreshetError> {
  try {
    await admit(connection, sql, context)
  } catch (error) {
    expect(error, sql).toBeInstanceOf(FreshetError)
    return error as FreshetError
  }
  throw new Error(`admitted: ${sql}`)
}

describe('admits and DuckDB runs', () => {
  test.each(admitted)('%s', async (sql) => {
    const { sql: checked, references } = await admit(connection, sql, context)
    for (const { view, stream, at } of references) {
      if (at) await connection.run(`CREATE OR REPLACE TEMP VIEW "${view}" AS SELECT * FROM main.${stream}`)
    }
    const statement = await connection.prepare(checked)
    for (let index = 1; index <= statement.parameterCount; index++) statement.bindVarchar(index, '1')
    expect((await statement.runAndReadAll()).columnCount).toBeGreaterThan(0)
  })

  test('system tables are named, so that they can be brought up to date', async () => {
    const { systemTables } = await admit(
      connection,
      'select * from freshet.STREAMS, (select * from freshet.files)',
      context,
    )
    expect([...systemTables].toSorted()).toEqual(['files', 'streams'])
  })
})

/** Statements with a place for a FROM item. */
const places: [string, (item: string) => string][] = [
  ['FROM', (item) => `select * from ${item}`],
  ['FROM first', (item) => `from ${item}`],
  ['a list', (item) => `select 1 from trades, ${item}`],
  ['a join', (item) => `select 1 from trades left join ${item} on true`],
  ['a nested join', (item) => `select 1 from (trades join (clicks join ${item} on true) on true)`],
  ['a subquery', (item) => `select * from (select * from (select * from ${item}))`],
  ['a scalar subquery', (item) => `select (select count(*) from ${item})`],
  ['IN', (item) => `select 1 where 1 in (select 1 from ${item})`],
  ['EXISTS', (item) => `select * from trades where exists (select 1 from ${item})`],
  ['ANY', (item) => `select 1 where 1 = any (select 1 from ${item})`],
  ['LATERAL', (item) => `select * from trades, lateral (select * from ${item})`],
  ['a set operation', (item) => `select 1 union all select 1 from ${item} except select 2`],
  ['a common table expression', (item) => `with x as (select * from ${item}) select * from x`],
  ['a nested one', (item) => `with x as (with y as (select * from ${item}) select * from y) select 1 from x`],
  ['one that is not read', (item) => `with x as materialized (select * from ${item}) select 1`],
  ['a recursive one', (item) => `with recursive t(n) as (select 1 union all select n from t, ${item}) select 1 from t`],
  ['its start', (item) => `with recursive t(n) as (select 1 from ${item} union all select n from t) select 1 from t`],
  ['ORDER BY', (item) => `select 1 from trades order by (select 1 from ${item})`],
  ['LIMIT', (item) => `select 1 limit (select 1 from ${item})`],
  ['OFFSET', (item) => `select 1 offset (select 1 from ${item})`],
  ['GROUP BY', (item) => `select 1 from trades group by (select 1 from ${item})`],
  ['HAVING', (item) => `select 1 from trades having (select true from ${item})`],
  ['QUALIFY', (item) => `select 1 from trades qualify (select true from ${item})`],
  ['FILTER', (item) => `select count(*) filter (where (select true from ${item})) from trades`],
  ['a window', (item) => `select sum(1) over (partition by (select 1 from ${item})) from trades`],
  ['a named window', (item) => `select sum(1) over w from trades window w as (order by (select 1 from ${item}))`],
  ['VALUES', (item) => `values ((select 1 from ${item}))`],
  ['a lambda', (item) => `select list_transform([1], x -> x + (select 1 from ${item}))`],
  ['a list comprehension', (item) => `select [x for x in (select [1] from ${item})]`],
  ['the arguments of a table function', (item) => `select * from range((select 1 from ${item}))`],
  ['PIVOT', (item) => `from (pivot ${item} on a in (1) using sum(b))`],
  ['PIVOT of a subquery', (item) => `select * from (select * from ${item}) pivot (sum(b) for a in (1))`],
  ['UNPIVOT', (item) => `unpivot (select * from ${item}) on a`],
  ['DESCRIBE', (item) => `describe select * from ${item}`],
  ['SUMMARIZE', (item) => `summarize select * from ${item}`],
  ['a DESCRIBE in FROM', (item) => `select * from (describe select * from ${item})`],
  ['EXPLAIN', (item) => `explain select * from ${item}`],
  ['EXPLAIN ANALYZE', (item) => `explain analyze select * from ${item}`],
  ['REPLACE', (item) => `select * replace ((select 1 from ${item}) as id) from trades`],
  ['CASE', (item) => `select case when true then (select 1 from ${item}) end`],
  ['COLUMNS', (item) => `select columns(c -> c in (select 'a' from ${item})) from trades`],
]

describe('refuses, in every place,', () => {
  test.each(places)('what is no stream: %s', async (_, statement) => {
    for (const item of hidden) {
      const error = await refusalOf(statement(item))
      expect(['forbidden_sql', 'invalid_sql'], statement(item)).toContain(error.code)
    }
  })

  test('and says so in plain places with the code for it', async () => {
    for (const item of hidden.filter((name) => !name.includes('=')))
      expect((await refusalOf(`select * from ${item}`)).code, item).toBe('forbidden_sql')
  })
})

test.each(functions)('refuses the function %s', async (call) => {
  for (const sql of [
    `select ${call}`,
    `select * from trades where (${call}) is null`,
    `select list_transform([1], x -> ${call})`,
    `select count(*) over (order by ${call})`,
  ])
    expect(['forbidden_sql', 'invalid_sql'], sql).toContain((await refusalOf(sql)).code)
})

test.each(statements)('refuses %j', async (sql) => {
  expect(['forbidden_sql', 'invalid_sql']).toContain((await refusalOf(sql)).code)
})

describe('a common table expression', () => {
  test.each([
    ['is not seen outside its query', 'select * from (with pg_class as (select 1) select 1), pg_class'],
    [
      'is not seen by the other half of a union',
      '(with pg_class as (select 1) select 1) union all select 1 from pg_class',
    ],
    ['is not seen by those before it', 'with a as (select * from pg_class), pg_class as (select 1) select * from a'],
    ['does not see itself', 'with pg_class as (select * from pg_class) select * from pg_class'],
    [
      'does not see itself although it could be recursive',
      'with recursive pg_class as (select 1 from pg_class) select * from pg_class',
    ],
    [
      'is not seen by its own start',
      'with recursive pg_class as (select 1 from pg_class union all select 1) select * from pg_class',
    ],
    ['is not reached with a schema', 'with duckdb_tables as (select 1) select * from main.duckdb_tables'],
    [
      'of a subquery in FROM is not seen in WHERE',
      'select * from (with pg_class as (select 1) select 1) where 1 in (select 1 from pg_class)',
    ],
    // Lower-cased as Unicode has it, the Kelvin sign is a k; DuckDB folds ASCII only.
    ['is not taken for another in Unicode', 'with "duc\u212Adb_tables" as (select 1) select * from duckdb_tables'],
    [
      'is not taken for another in Unicode, the other way round',
      'with x as (select 1) select * from "duc\u212Adb_tables"',
    ],
  ])('%s', async (_, sql) => {
    expect((await refusalOf(sql)).code).toBe('forbidden_sql')
  })

  test('with the name of a stream hides it, as in DuckDB', async () => {
    const { sql } = await admit(connection, 'with TRADES as (select 42 as answer) select * from trades', context)
    expect((await connection.runAndReadAll(sql)).getRows()).toEqual([[42]])
  })
})

describe('a refusal', () => {
  test('says where and what was meant', async () => {
    const error = await refusalOf('select *\n  from trade')
    expect(error).toMatchObject({
      code: 'forbidden_sql',
      message: 'There is no stream or table "trade".',
      hint: 'Did you mean "trades"?',
    })
    expect(error.extra).toEqual({ line: 2, column: 8 })
  })

  test('of a function says which one', async () => {
    const error = await refusalOf("select price,\n getenv('HOME') from trades")
    expect(error.message).toContain('"getenv"')
    expect(error.extra).toEqual({ line: 2, column: 2 })
  })

  test('of text that does not parse says where it breaks', async () => {
    const error = await refusalOf('select *\nfrom trades\nwhre price > 1 order')
    expect(error.code).toBe('invalid_sql')
    expect(error.extra).toMatchObject({ line: 3 })
  })

  test('is at its place behind letters of several bytes', async () => {
    expect((await refusalOf("select 'é日本' from trade")).extra).toEqual({ line: 1, column: 19 })
  })

  test('of a long text comes before it is parsed', async () => {
    expect((await refusalOf(`select '${'x'.repeat(sqlLengthMax)}'`)).code).toBe('invalid_sql')
  })

  test('of deep nesting is an answer', async () => {
    const deep = `select ${'('.repeat(5000)}1${')'.repeat(5000)}`
    await admit(connection, deep, context).catch((error: unknown) => expect(error).toBeInstanceOf(FreshetError))
  })
})

/** The tables, views and what is beneath them, that DuckDB would read; none when it refuses the statement. */
function tablesOf(sql: string): readonly string[] {
  try {
    return connection.getTableNames(sql.replace(/^\s*explain(\s+analyze)?\s/i, ''), true)
  } catch {
    return []
  }
}

test('a statement put together from admitted and hidden parts reads only streams, or is refused', async () => {
  const beneath = 'tail.trades_1'
  const readable = new Set([
    beneath,
    'trades',
    'clicks',
    'main.trades',
    'main.clicks',
    'freshet.streams',
    'freshet.files',
  ])
  const tokens = [
    ...new Set(admitted.join(' ').split(/\s+/)),
    ...hidden.filter((item) => !/trades_1/i.test(item)),
    ...functions.map((call) => call.split('(')[0]!),
    '(',
    ')',
    ',',
    '.',
    ';',
    '--',
    '/*',
    '*/',
    "'",
    '"',
    '$$',
    'from',
    'with',
    'as',
  ]
  const statement = fc.constantFrom(...admitted)
  const cut = fc.nat()
  const edits = fc.array(
    fc.tuple(fc.constantFrom('insert', 'remove', 'replace', 'splice'), cut, fc.constantFrom(...tokens), statement),
    { minLength: 1, maxLength: 4 },
  )
  let kept = 0
  await fc.assert(
    fc.asyncProperty(statement, edits, async (start, changes) => {
      let words = start.split(/(?<=\s)/)
      for (const [kind, seed, token, other] of changes) {
        const at = seed % (words.length + 1)
        if (kind === 'insert') words.splice(at, 0, ` ${token} `)
        else if (kind === 'remove') words.splice(at, 1)
        else if (kind === 'replace') words.splice(at, 1, ` ${token} `)
        else words = [...words.slice(0, at), ...other.split(/(?<=\s)/).slice(seed % 7)]
      }
      const sql = words.join('')
      let passed
      try {
        passed = await admit(connection, sql, context)
      } catch (error) {
        expect(error).toBeInstanceOf(FreshetError)
        expect(['forbidden_sql', 'invalid_sql']).toContain((error as FreshetError).code)
        return
      }
      kept++
      const past = passed.references.flatMap(({ view, at }) => (at ? [view] : []))
      for (const name of tablesOf(passed.sql))
        expect([...readable, ...past], sql).toContain(
          name
            .replaceAll('"', '')
            .toLowerCase()
            .replace(/ as .*/, ''),
        )
    }),
    { numRuns: 1500 },
  )
  expect(kept).toBeGreaterThan(50)
})

describe('behind the gate', () => {
  test.each([
    (file: string) => `select * from read_csv('${file}')`,
    (file: string) => `select * from '${file}'`,
    (file: string) => `select * from read_text('${file}')`,
    (file: string) => `copy (select 1) to '${file}.out'`,
    (file: string) => `attach '${file}.db' as other`,
    () => "select * from read_text('/etc/passwd')",
    () => 'set enable_external_access = true',
    () => "set allowed_directories = ['/']",
    () => 'set lock_configuration = false',
    () => 'install httpfs',
    () => 'load httpfs',
  ])('DuckDB itself keeps away from files and settings: %#', async (statement) => {
    await expect(connection.run(statement(join(dir, 'outside.csv')))).rejects.toThrow(
      /Permission|locked|disabled|allowed|Cannot/i,
    )
  })

  test('hot tables are on no search path', async () => {
    await expect(connection.run('select * from trades_1')).rejects.toThrow(/does not exist/)
  })
})
