import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FreshetError } from '../../runtime/errors.ts'
import { Database } from '../duckdb.ts'
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

const admitted = [
  'select 1',
  'SELECT * FROM trades',
  'select * from main.trades',
  'select * from "trades"',
  'select * from TRADES t where T.price > 1',
  'from trades',
  'from trades select symbol where price > 1',
  'table trades',
  'values (1, 2), (3, 4)',
  'select * from (values (1, 2)) v(a, b)',
  'select * from trades; ',
  'select 1;;',
  '/* a */ select 1 -- b',
  'select $symbol, $n::int',
  'select * from trades where symbol = $symbol',
  'select symbol, count(*), sum(price) filter (where price > 1) from trades group by all having count(*) > 0 order by all limit 3 offset 0',
  'select distinct on (symbol) symbol, price from trades order by price',
  "select count(distinct symbol), string_agg(symbol, ',' order by symbol) from trades",
  'select symbol, row_number() over (partition by symbol order by price) from trades qualify row_number() over (order by price) = 1',
  'select sum(price) over w from trades window w as (order by price rows between 1 preceding and current row)',
  'select lag(price) over (order by id), first_value(price) over (order by id) from trades',
  "select o.p, o['p'], trades.o.p from trades",
  'select id, unnest(tags) from trades',
  'select t.id, u.tag from trades t, unnest(t.tags) as u(tag)',
  'select list_transform(tags, x -> upper(x)) from trades',
  'select list_transform(tags, lambda x: upper(x)) from trades',
  "select [upper(x) for x in tags if x <> 'y'] from trades",
  "select tags[1], tags[1:2], {'a': 1}, map {'k': 2} from trades",
  'select * from trades t, lateral (select t.price * 2 as twice)',
  'select * from trades t join clicks c using (id)',
  'select * from trades t left join clicks c on t.id = c.id full join clicks d on d.id = c.id',
  'select * from trades natural join clicks',
  'select * from trades t asof join trades u on t.symbol = u.symbol and t.price >= u.price',
  'select * from trades positional join clicks',
  'select * from trades t semi join clicks c on t.id = c.id',
  'select * from trades cross join range(3) r',
  'with x as (select * from trades) select count(*) from x',
  'with x as materialized (select * from trades) select count(*) from x join x y using (id)',
  'with a as (select 1 as n), b as (select n + 1 as n from a) select * from b',
  'with recursive t(n) as (select 1 union all select n + 1 from t where n < 5) select sum(n) from t',
  'with recursive t as (select 1 as n union select n + 1 from t where n < 5) select * from t',
  'with trades as (select 1 as one) select one from trades',
  'with duckdb_tables as (select 1 as one) select one from duckdb_tables',
  'select * from (with x as (select 1 as a) select * from x) y',
  'with x as (with y as (select 1 as a) select * from y) select * from x',
  'select * from trades union all by name select * from clicks',
  "(select id from trades) union (select id from clicks) except (select 'z') intersect (select 'a')",
  'select * from trades where id in (select id from clicks) and exists (select 1 from clicks c where c.id = trades.id)',
  'select (select max(price) from trades) as m, array(select id from trades)',
  'select * from trades where price > all (select 0) or price = any (select price from trades)',
  'select * from trades order by (select count(*) from clicks) limit (select 1)',
  "select case when price > 1 then 'a' else 'b' end, price between 1 and 2, price is null, not (price > 1) from trades",
  'select cast(price as decimal(10, 2)), price::varchar, try_cast(symbol as int) from trades',
  "select * exclude (tags), columns('p.*') from trades",
  'select * replace (price * 2 as price), * rename (symbol as s) from trades limit 1',
  "select symbol like 'S%', symbol ilike 's%', symbol similar to 'S.*', symbol ~ 'S', regexp_matches(symbol, 'S') from trades",
  "select date_trunc('day', now()), current_date, interval 1 day, timestamp '2020-01-01', extract(year from now())",
  "select time_bucket(interval '1 minute', now()), strftime(now(), '%Y'), epoch_ms(now())",
  "select '{\"a\": 1}' ->> '$.a', json_extract_string('{\"a\": 1}', 'a'), to_json(o) from trades",
  'select * from json_each(\'{"a": 1}\')',
  'select symbol collate nocase from trades',
  'select #1 from trades',
  'select id from trades group by 1 order by 1',
  'select symbol, grouping(symbol), count(*) from trades group by rollup (symbol)',
  'select symbol, count(*) from trades group by grouping sets ((symbol), ())',
  'select * from trades using sample 1 rows',
  'select * from trades tablesample 10%',
  "from (pivot trades on symbol in ('SPY', 'QQQ') using sum(price) group by id)",
  "select * from (select symbol, price from trades) pivot (sum(price) for symbol in ('SPY', 'QQQ'))",
  'unpivot (select id, symbol from trades) on id, symbol into name k value v',
  'describe trades',
  'describe select * from trades',
  'summarize trades',
  'summarize select price from trades',
  'select * from (describe trades)',
  'show trades',
  'explain select * from trades',
  'EXPLAIN ANALYZE select * from trades',
  'select * from generate_series(1, 3)',
  'select * from freshet.streams s join FRESHET.Files f on true',
  'select version(), pi(), uuid()',
]

describe('admits and DuckDB runs', () => {
  test.each(admitted)('%s', async (sql) => {
    const { sql: checked } = await admit(connection, sql, context)
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

/** FROM items that reach something other than streams. */
const hidden = [
  "read_csv('outside.csv')",
  "read_csv_auto('outside.csv')",
  "READ_PARQUET('x.parquet')",
  "parquet_scan('x.parquet')",
  "parquet_metadata('x.parquet')",
  "parquet_schema('x.parquet')",
  "read_json('x.json')",
  "read_json_auto('x.json')",
  "read_ndjson('x.json')",
  "read_text('outside.csv')",
  "read_blob('outside.csv')",
  "sniff_csv('outside.csv')",
  "glob('*')",
  "'outside.csv'",
  '"outside.csv"',
  "'x.parquet'",
  'tail.secret',
  '"tail"."secret"',
  'tail.trades_1',
  'TAIL.TRADES_1',
  'memory.tail.trades_1',
  'memory.main.trades',
  'freshet.secrets',
  'duckdb_tables()',
  'duckdb_settings()',
  'main.duckdb_settings()',
  'duckdb_secrets()',
  'duckdb_tables',
  'duckdb_columns',
  'duckdb_views',
  'pragma_database_list',
  "pragma_table_info('trades')",
  'pragma_database_size()',
  'information_schema.tables',
  'pg_catalog.pg_class',
  'pg_class',
  'pg_tables',
  'sqlite_master',
  'sqlite_schema',
  'sqlite_temp_master',
  'system.main.duckdb_tables',
  'temp.sqlite_master',
  "query('select 1')",
  "query_table('trades')",
  "query_table(['trades'])",
  "json_execute_serialized_sql(json_serialize_sql('select 1'))",
  'test_all_types()',
  'repeat_row(1, 2, num_rows = 3)',
  "histogram('trades', price)",
  'checkpoint()',
  "seq_scan('trades')",
  'arrow_scan(1, 2, 3)',
  'unknown_table',
  'main.unknown_table',
  "getenv('HOME')",
  'trades at (version => 1)',
]

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

const functions = [
  "getenv('HOME')",
  "current_setting('memory_limit')",
  "getvariable('x')",
  "nextval('s')",
  "currval('s')",
  "json_serialize_sql('select 1')",
  "json_execute_serialized_sql('{}')",
  "json_deserialize_sql('{}')",
  "json_serialize_plan('select 1')",
  'current_database()',
  'current_schema()',
  'current_schemas(true)',
  'current_query()',
  'txid_current()',
  'pg_get_viewdef(1)',
  "has_table_privilege('a', 'b')",
  'pg_table_is_visible(1)',
  "obj_description(1, 'x')",
  "in_search_path('memory', 'main')",
  "read_csv('x')",
  "read_text('x')",
  "write_log('x')",
  "parse_duckdb_log_message('a', 'b')",
  'sleep_ms(1000)',
  'add_parquet_key(1)',
  "main.getenv('HOME')",
  'system.main.abs(1)',
  'pg_catalog.abs(1)',
  'ABS(1)+"getenv"(\'HOME\')',
  'no_such_function(1)',
]

test.each(functions)('refuses the function %s', async (call) => {
  for (const sql of [
    `select ${call}`,
    `select * from trades where (${call}) is null`,
    `select list_transform([1], x -> ${call})`,
    `select count(*) over (order by ${call})`,
  ])
    expect(['forbidden_sql', 'invalid_sql'], sql).toContain((await refusalOf(sql)).code)
})

const statements = [
  '',
  '  ',
  ';',
  '-- nothing',
  'select 1; select 2',
  'select 1; drop view trades',
  "select 1;/**/copy trades to 'x'",
  'explain select 1; select 2',
  "copy trades to 'x.csv'",
  "copy (select 1) to 'x.csv'",
  "copy trades from 'x.csv'",
  "attach 'x.db'",
  'detach memory',
  'use tail',
  'install httpfs',
  'load httpfs',
  "set memory_limit = '1GB'",
  'set variable x = 1',
  'reset all',
  'pragma database_list',
  'pragma version',
  'call pragma_version()',
  "call read_csv('x')",
  'create table x as select 1',
  'create temp table x as select 1',
  'create view x as select 1',
  'create macro f(x) as x',
  'create function f(x) as x',
  'create sequence s',
  'create type t as int',
  'create secret (type s3)',
  'insert into trades values (1)',
  'insert into tail.trades_1 select * from trades',
  'update trades set price = 1',
  'delete from trades',
  'truncate trades',
  'merge into trades using clicks on true when matched then delete',
  'drop view trades',
  'alter table trades rename to x',
  "comment on view trades is 'x'",
  "export database 'x'",
  "import database 'x'",
  'vacuum',
  'analyze',
  'checkpoint',
  'begin',
  'commit',
  'prepare p as select 1',
  'execute p',
  'deallocate p',
  'show tables',
  'show all tables',
  'show databases',
  'describe',
  'explain create table x as select 1',
  "explain copy trades to 'x'",
  'explain explain select 1',
  'explain analyze insert into trades values (1)',
  'explain (format json) select 1',
  'select * into x from trades',
  'with x as (delete from trades returning *) select * from x',
  'pivot trades on symbol using sum(price)',
  'select 1 \0 from x',
  'select /* unfinished',
  "select 'unfinished",
  'select $$unfinished',
]

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
      for (const name of tablesOf(passed.sql))
        expect(readable, sql).toContain(
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
