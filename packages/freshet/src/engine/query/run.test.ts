import { once } from 'node:events'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { bytesOf, database, dir, jsonOf, rowsOf, runnerWith, textOf } from '../../../test/support/query-lab.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { QueryRunner } from './run.ts'

describe('a result as JSON', () => {
  test.each([
    ['true', 'true'],
    ['null', 'null'],
    ['127::tinyint', '127'],
    ['9223372036854775807', '9223372036854775807'],
    ['18446744073709551615::ubigint', '18446744073709551615'],
    ['170141183460469231731687303715884105727::hugeint', '170141183460469231731687303715884105727'],
    ['340282366920938463463374607431768211455::uhugeint', '340282366920938463463374607431768211455'],
    ['12345678901234567890.123456789::decimal(38, 9)', '12345678901234567890.123456789'],
    ['-0.010::decimal(5, 3)', '-0.010'],
    ["'99999999999999999999999999999999999999999999'::bignum", '99999999999999999999999999999999999999999999'],
    ['0.1::double', '0.1'],
    ['1e300::double', '1e+300'],
    ["'nan'::double", 'null'],
    ["'-inf'::double", 'null'],
    ["'a\"b\\c' || chr(10) || '日本😀'", '"a\\"b\\\\c\\n日本😀"'],
    ["'\\xAA\\x00b'::blob", '"qgBi"'],
    ["'101'::bit", '"101"'],
    ["'4ac7a9e9-607c-4c8a-84f3-843f0191e3fd'::uuid", '"4ac7a9e9-607c-4c8a-84f3-843f0191e3fd"'],
    ["date '1969-12-31'", '"1969-12-31"'],
    ["date 'infinity'", '"infinity"'],
    ["date '-infinity'", '"-infinity"'],
    ["time '01:02:03.000004'", '"01:02:03.000004"'],
    ["timestamp '1969-12-31 23:59:59.999999'", '"1969-12-31T23:59:59.999999"'],
    ["timestamptz '1969-12-31 23:59:59.999999+00'", '"1969-12-31T23:59:59.999999Z"'],
    ["timestamptz '2020-01-01 00:00:00+02'", '"2019-12-31T22:00:00.000Z"'],
    ["timestamptz '0001-01-01 00:00:00+00'", '"0001-01-01T00:00:00.000Z"'],
    ["timestamptz '9999-12-31 23:59:59.999999+00'", '"9999-12-31T23:59:59.999999Z"'],
    ["'infinity'::timestamptz", '"infinity"'],
    ["'-infinity'::timestamp", '"-infinity"'],
    ["'infinity'::timestamp_s", '"infinity"'],
    ["'-infinity'::timestamp_ms", '"-infinity"'],
    ["'infinity'::timestamp_ns", '"infinity"'],
    ["timestamp_s '2020-01-01 00:00:01'", '"2020-01-01T00:00:01.000"'],
    ["timestamp_ms '1969-12-31 23:59:59.999'", '"1969-12-31T23:59:59.999"'],
    ["timestamp_ns '2020-01-01 00:00:00.123456789'", '"2020-01-01T00:00:00.123456789"'],
    ['interval 1 day', '"1 day"'],
    ["'b'::enum('a', 'b')", '"b"'],
    ['[1, null, 3]', '[1,null,3]'],
    ['[]', '[]'],
    ['array_value(1.5::double, 2)', '[1.5,2]'],
    ["{'a': 1, 'b': [{'c': 'x'}]}", '{"a":1,"b":[{"c":"x"}]}'],
    ["map {'k': 1, 'l': null}", '{"k":1,"l":null}'],
    ["map {1: 'a'}", '{"1":"a"}'],
    ['union_value(k := 9223372036854775807)', '9223372036854775807'],
    ['\'{"a": 1.10}\'::json', '{"a": 1.10}'],
    ["('{' || chr(10) || '\"a\": 1}')::json", '{ "a": 1}'],
    ['[9223372036854775807::hugeint]', '[9223372036854775807]'],
  ])('writes %s as %s', async (expression, json) => {
    expect(await jsonOf(expression)).toBe(json)
  })

  test('names columns and types, gives columns of one name a number, and counts rows', async () => {
    expect(JSON.parse(await textOf("select 1 as a, 'x' as a, [1.5] as b where true"))).toEqual({
      columns: [
        { name: 'a', type: 'INTEGER' },
        { name: 'a:1', type: 'VARCHAR' },
        { name: 'b', type: 'DECIMAL(2,1)[]' },
      ],
      rows: [{ a: 1, 'a:1': 'x', b: [1.5] }],
      rowCount: 1,
    })
  })

  test('is whole when it has no rows', async () => {
    expect(await textOf('select 1 as a where false')).toBe(
      '{"columns":[{"name":"a","type":"INTEGER"}],"rows":[],"rowCount":0}\n',
    )
  })
})

describe('other formats', () => {
  test('NDJSON has a line for each row', async () => {
    expect(await textOf("select n, '{\n}'::json as j from numbers order by n limit 2", { format: 'ndjson' })).toBe(
      '{"n":0,"j":{ }}\n{"n":1,"j":{ }}\n',
    )
  })

  test('CSV follows RFC 4180', async () => {
    const sql =
      "select 1 as \"a,b\", 'x\"y' as c, null as d, 'two\nlines' as e, [1, 2] as f, '\\xAA'::blob as g, timestamptz '2020-01-01 00:00:00+00' as h"
    expect(await textOf(sql, { format: 'csv' })).toBe(
      '"a,b",c,d,e,f,g,h\r\n1,"x""y",,"two\nlines","[1,2]",qg==,2020-01-01T00:00:00.000Z\r\n',
    )
  })

  test('Parquet keeps types and digits', async () => {
    const sql = `select 1 as a, 2 as a, 12345678901234567890123456789012345678::hugeint as h, [1::hugeint] as l, sum(n) as s,
      {'x': 'y'} as st, timestamptz '1969-12-31 23:59:59.999999+00' as t from numbers; `
    const file = join(dir, 'lake', 'result.parquet')
    await writeFile(file, await bytesOf(sql, { format: 'parquet' }))
    await database.with(async (connection) => {
      const result = await connection.runAndReadAll(`SELECT * REPLACE (epoch_us(t) AS t) FROM '${file}'`)
      expect(result.columnNames().slice(2)).toEqual(['h', 'l', 's', 'st', 't'])
      expect(result.columnTypes().map(String).slice(0, 5)).toEqual([
        'INTEGER',
        'INTEGER',
        'DECIMAL(38,0)',
        'DECIMAL(38,0)[]',
        'DECIMAL(38,0)',
      ])
      expect(result.getRowsJson()).toEqual([
        [1, 2, '12345678901234567890123456789012345678', ['1'], '499999500000', { x: 'y' }, '-1'],
      ])
    })
    expect((await readdir(join(dir, 'tmp'))).filter((name) => name.startsWith('result-'))).toEqual([])
  })

  test('Parquet of a statement with parameters', async () => {
    const bytes = await bytesOf('select n from numbers where n < $n', { format: 'parquet', parameters: { n: 3 } })
    expect(bytes.subarray(0, 4).toString()).toBe('PAR1')
  })
})

describe('parameters', () => {
  test('are bound by name, with the types they have', async () => {
    const sql =
      'select $s as s, $i as i, $d as d, $b as b, $z as z, $l as l, $s as again, typeof($i) as ti, typeof($d) as td'
    const parameters = { s: "it's; drop", i: 42, d: 1.5, b: true, z: null, l: ['x', null] }
    expect(await rowsOf(sql, { parameters })).toEqual([
      {
        s: "it's; drop",
        i: 42,
        d: 1.5,
        b: true,
        z: null,
        l: ['x', null],
        again: "it's; drop",
        ti: 'BIGINT',
        td: 'DOUBLE',
      },
    ])
  })

  test.each([
    [['a', 'b'], 'VARCHAR[]'],
    [[1, 2], 'BIGINT[]'],
    [[1, 2.5], 'DOUBLE[]'],
    [[true], 'BOOLEAN[]'],
    [[], 'VARCHAR[]'],
    [[null], 'VARCHAR[]'],
  ])('make a list of %j', async (l, type) => {
    expect(await rowsOf('select $l as l, typeof($l) as t', { parameters: { l } })).toEqual([{ l, t: type }])
  })

  test('serve as limit, in lists and in functions', async () => {
    const sql =
      'select n from numbers where n in (select unnest($list)) or list_contains($list, n) order by n limit $most'
    expect(await rowsOf(sql, { parameters: { list: [7, 5, 3], most: 2 } })).toEqual([{ n: 3 }, { n: 5 }])
  })

  test.each([
    ['select $a, $b', { a: 1 }, 'no value for $b'],
    ['select 1', { a: 1 }, 'no use of $a'],
    ['select $a', { b: 1 }, 'no value for $a; no use of $b'],
    ['select ?', {}, 'must have names'],
    ['select $1', { 1: 'x' }, 'must have names'],
    ['select $a', { a: { x: 1 } }, 'must be a string'],
    ['select $a', { a: [[1]] }, 'must be a string'],
    ['select $a', { a: ['x', 1] }, 'mixes types'],
  ])('%s with %j is refused', async (sql, parameters, message) => {
    for (const format of ['json', 'parquet'] as const) {
      const error = await bytesOf(sql, { parameters, format }).catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(FreshetError)
      expect(error).toMatchObject({ code: 'invalid_sql', message: expect.stringContaining(message) })
    }
  })
})

describe('errors', () => {
  test.each(['json', 'ndjson', 'csv', 'parquet'] as const)(
    'come with line, column and hint before anything of %s is sent',
    async (format) => {
      await expect(bytesOf('select n\nfrom numbers\nwhere  m > 1', { format })).rejects.toMatchObject({
        code: 'invalid_sql',
        message: expect.stringContaining('"m"'),
        hint: expect.stringContaining('"n"'),
        extra: { line: 3, column: 8 },
      })
    },
  )

  test('have the right column in a long line', async () => {
    const sql = `select ${'n + '.repeat(60)}n, nope, ${'n + '.repeat(60)}n from numbers`
    await expect(bytesOf(sql)).rejects.toMatchObject({ extra: { line: 1, column: sql.indexOf('nope') + 1 } })
  })

  test('of a value come before the result when they are met first', async () => {
    await expect(bytesOf("select cast('x' || n as int) from numbers")).rejects.toMatchObject({ code: 'invalid_sql' })
  })

  const ten = (): QueryRunner => runnerWith({ rowsMax: 10 })

  test('met late close JSON with an error', async () => {
    const result = JSON.parse(await textOf('from numbers', { runner: ten() })) as Record<string, unknown>
    expect(result).toMatchObject({ rows: { length: 10 }, error: { code: 'result_too_large', status: 422 } })
    expect(result).not.toHaveProperty('rowCount')
  })

  test('met late end NDJSON with an error', async () => {
    const lines = (await textOf('from numbers', { format: 'ndjson', runner: ten() })).trimEnd().split('\n')
    expect(lines).toHaveLength(11)
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ error: { code: 'result_too_large' } })
  })

  test('met late break CSV off', async () => {
    const out = new PassThrough()
    const request = {
      sql: 'from numbers',
      parameters: {},
      format: 'csv' as const,
      signal: new AbortController().signal,
    }
    await ten().run(request, { begin: () => out })
    if (!out.destroyed) await once(out, 'close')
    expect(out.writableFinished).toBe(false)
  })
})
