import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { SqlTable } from '../sql/sql-target.ts'
import { faultOf } from './faults.ts'
import {
  createTable,
  insertAround,
  keyTuple,
  literal,
  quote,
  removeAround,
  removeOne,
  tuple,
  update,
} from './statements.ts'
import { formFor, takes } from './types.ts'

const table: SqlTable = {
  name: { name: 'orders' },
  columns: [
    { field: 'id', name: 'id', type: 'varchar(9)', form: 'text', key: true, changes: false },
    { field: 'v', name: 'v', type: 'bigint', form: 'number', key: false, changes: true },
    { field: 't', name: 't', type: 'text', form: 'text', key: false, changes: true },
  ],
  newest: undefined,
  mode: 'upsert',
  exactKeys: true,
}
const row = { index: 0, values: ["it's", '9007199254740993', null] }

/** Reads a quoted text by the rules of MySQL's manual, "String Literals". */
function readLiteral(words: string): string {
  const escapes: Record<string, string> = { 0: '\0', b: '\b', n: '\n', r: '\r', t: '\t', Z: '\x1a' }
  expect(words).toMatch(/^'(?:[^'\\]|\\[^])*'$/)
  return words.slice(1, -1).replace(/\\([^])/g, (_, letter: string) => escapes[letter] ?? letter)
}

describe('statements for MySQL', () => {
  test('have names and texts quoted, whatever is in them', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(readLiteral(literal(text, 'text'))).toBe(text)
        expect(quote(text).slice(1, -1).replaceAll('``', '')).not.toContain('`')
      }),
    )
  })

  test('have nothing unquoted but numbers', () => {
    expect(literal('-12.50', 'number')).toBe('-12.50')
    expect(literal('1 OR 1=1', 'number')).toBe("'1 OR 1=1'")
    expect(literal('0x41', 'number')).toBe("'0x41'")
    expect(literal('true', 'boolean')).toBe('1')
    expect(literal('x', 'boolean')).toBe("'x'")
    expect(literal('AP8n', 'binary')).toBe("X'00ff27'")
    expect(literal("'", 'binary')).toBe("'\\''")
    expect(literal('2026-11-20T20:29:00.5Z', 'timestamp')).toBe("'2026-11-20 20:29:00.5'")
    expect(literal(null, 'text')).toBe('NULL')
  })

  test('write, change and remove the rows of keys', () => {
    expect(tuple(table, row)).toBe("('it\\'s',9007199254740993,NULL)")
    expect(insertAround(table)).toEqual({
      before: 'INSERT INTO `orders` (`id`, `v`, `t`) VALUES ',
      after: ' ON DUPLICATE KEY UPDATE `v` = VALUES(`v`), `t` = VALUES(`t`)',
    })
    expect(insertAround({ ...table, mode: 'append' }).after).toBe('')
    expect(update(table, row)).toBe("UPDATE `orders` SET `v` = 9007199254740993, `t` = NULL WHERE `id` = 'it\\'s'")
    expect(removeAround(table)).toEqual({ before: 'DELETE FROM `orders` WHERE `id` IN (', after: ')' })
    expect(keyTuple(table, row)).toBe("'it\\'s'")
  })

  test('judge by the newest field before they change it', () => {
    const guarded = { ...table, newest: 1 }
    expect(insertAround(guarded).after).toMatch(
      /`t` = IF\(.*\), `v` = IF\(`v` IS NULL OR VALUES\(`v`\) >= `v`, VALUES\(`v`\), `v`\)$/,
    )
    expect(removeOne(guarded, row)).toContain('AND (`v` IS NULL OR 9007199254740993 >= `v`)')
  })

  test('make a table whose texts compare exactly, and whose key has a length', () => {
    const wanted = [{ field: 'id', name: 'id', declared: { kind: 'string' as const }, type: undefined, key: true }]
    expect(createTable({ schema: 'shop', name: 't' }, wanted)).toBe(
      'CREATE TABLE IF NOT EXISTS `shop`.`t` (\n  `id` varchar(255) NOT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin',
    )
  })
})

test('types take what fits into them, and nothing that would lose something', () => {
  expect(takes('decimal(19,0)', { kind: 'long' })).toBe(true)
  expect(takes('decimal(18,0)', { kind: 'long' })).toBe(false)
  expect(takes('bigint(20) unsigned', { kind: 'long' })).toBe(false)
  expect(takes('bigint(20)', { kind: 'int' })).toBe(true)
  expect(takes('int(11)', { kind: 'long' })).toBe(false)
  expect(takes('decimal(9,2)', { kind: 'decimal', precision: 9, scale: 3 })).toBe(false)
  expect(takes('longtext', { kind: 'struct', fields: [] })).toBe(true)
  expect(formFor('longtext', { kind: 'json' })).toBe('json')
  expect(formFor('char(36)', { kind: 'uuid' })).toBe('uuid')
  expect(formFor('datetime(6)', { kind: 'timestamptz' })).toBe('timestamp')
})

test('errors are held against events, the connection or the target', () => {
  const fault = (errno: number | undefined, sqlState: string | undefined): string =>
    faultOf(Object.assign(new Error('x'), { errno, sqlState }))
  expect([fault(1062, '23000'), fault(1264, '22003'), fault(1366, 'HY000')]).toEqual(['events', 'events', 'events'])
  expect([fault(-104, undefined), fault(undefined, undefined), fault(1053, '08S01')]).toEqual(
    Array(3).fill('connection'),
  )
  expect([fault(1213, '40001'), fault(1205, 'HY000'), fault(1146, '42S02')]).toEqual(Array(3).fill('target'))
})
