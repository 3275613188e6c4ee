import { describe, expect, test } from 'vitest'
import { mysqlSettings } from '../mysql/settings.ts'
import { postgresSettings } from '../postgres/settings.ts'
import { readAddress, placeOf, readTls } from './address.ts'
import { wantedColumns } from './mapping.ts'
import { sqlMistakes, type SqlOptions } from './settings.ts'

const url = 'postgres://me:pass@db.example.com/shop'

function reasons(words: object): string[] {
  const read = postgresSettings.safeParse({ url, table: 'orders', ...words })
  if (!read.success) return read.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`)
  return sqlMistakes(read.data).map(({ key, reason }) => `${key} ${reason}`)
}

const options = (words: object): SqlOptions =>
  postgresSettings.parse({ url, table: 'orders', ...words }) as unknown as SqlOptions

describe('settings of a SQL sink', () => {
  test('have defaults, and one field as well as a list', () => {
    expect(options({ key: 'id', table: 'shop.orders' })).toEqual({
      url,
      table: { schema: 'shop', name: 'orders' },
      key: ['id'],
      missing: 'insert',
      alter: false,
      timeout: 30_000,
    })
  })

  test.each([
    [{ url: 'mysql://db/shop' }, "must be an address such as 'postgres://"],
    [{ url: 7 }, 'must be an address'],
    [{ table: 'a.b.c' }, 'a schema and a table'],
    [{ table: 'x'.repeat(64) }, 'longer than 63 bytes'],
    [{ columns: [] }, 'at least one'],
    [{ columns: { a: { type: 'text); DROP TABLE x' } } }, 'no type of a column'],
    [{ columns: { a: { colum: 'b' } } }, 'unknown key "colum"'],
    [{ columns: { a: 'x', b: 'x' } }, 'gives the column "x" both "a" and "b"'],
    [{ update: 'a' }, 'update needs `key`'],
    [{ newest: 'a' }, 'newest needs `key`'],
    [{ delete: 'a' }, 'delete needs `key`'],
    [{ key: 'a', missing: 'skip' }, 'needs `update`'],
    [{ key: 'a', update: ['a', 'b'] }, 'of the key and never changes'],
    [{ key: 'a', columns: ['b'] }, 'key has "a", which `columns` has no column for'],
    [{ tls: { cert: 'x' } }, 'unknown key "cert"'],
    [{ delete: { field: 'op' }, key: 'a' }, 'must be the name of a field'],
  ])('say what is wrong with %j', (words, reason) => {
    expect(reasons(words).join('\n')).toContain(reason)
  })

  test('do not repeat an address, which may have a password', () => {
    expect(reasons({ url: 'http://me:hunter2@db/shop' }).join('')).not.toContain('hunter2')
    expect(() => readAddress(`${url}?sslmode=require`, 5432)).toThrow('unknown parameter "sslmode"')
  })

  test('take types as databases write them, and addresses of either name', () => {
    for (const type of ['numeric(12, 2)', 'timestamp(6) with time zone', 'text[]', 'shop.status', 'double precision'])
      expect(reasons({ columns: { a: { type } } })).toEqual([])
    expect(mysqlSettings.safeParse({ url: 'mariadb://db/shop', table: 't' }).success).toBe(true)
  })
})

describe('an address', () => {
  test('is read with its escapes, and said without user and password', () => {
    const address = readAddress('postgres://me%40x:p%2Fw@[::1]:77/sh%20op', 5432)
    expect(address).toEqual({ host: '::1', port: 77, user: 'me@x', password: 'p/w', database: 'sh op' })
    expect(placeOf(address)).toBe('::1:77/sh op')
    expect(readAddress('postgres:///shop?host=/run/db', 5432)).toMatchObject({ host: '/run/db', port: 5432 })
  })

  test('that leads to another machine is connected to with TLS, unless told otherwise', async () => {
    const deps = { baseDir: '/', fileSystem: {} as never }
    expect(await readTls({}, 'db.example.com', deps)).toEqual({ rejectUnauthorized: true })
    expect(await readTls({}, '127.0.0.1', deps)).toBe(false)
    expect(await readTls({ tls: false }, 'db.example.com', deps)).toBe(false)
    expect(await readTls({ tls: { verify: false, serverName: 'x' } }, 'db', deps)).toEqual({
      rejectUnauthorized: false,
      servername: 'x',
    })
  })
})

describe('columns to write', () => {
  const stream = [
    { name: 'id', type: { kind: 'long' as const } },
    { name: 'who', type: { kind: 'struct' as const, fields: [{ name: 'name', type: { kind: 'string' as const } }] } },
  ]

  test('are all that the stream declares, and system columns that the key needs', () => {
    const columns = wantedColumns(options({ key: '_event_id', newest: '_event_time' }), stream)
    expect(columns.map(({ name, key }) => [name, key])).toEqual([
      ['_event_id', true],
      ['_event_time', false],
      ['id', false],
      ['who', false],
    ])
  })

  test('have the types of nested fields, and names without dots', () => {
    expect(wantedColumns(options({ columns: ['id', 'who.name', 'who.age'] }), stream)).toMatchObject([
      { name: 'id', declared: { kind: 'long' } },
      { name: 'who_name', declared: { kind: 'string' } },
      { name: 'who_age', declared: undefined },
    ])
  })

  test('must be listed for a stream without a schema', () => {
    expect(() => wantedColumns(options({}), null)).toThrow('declares no columns')
  })
})
