import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sinkEvent } from '../../../test/support/sink-lab.ts'
import type { SinkEvent } from '../sink.ts'
import type { SqlColumn, ValueForm } from './sql-target.ts'
import { hasManyDigits, isExact, readRows, textFor, utcText } from './values.ts'

const column = (field: string, form: ValueForm, key = false): SqlColumn => {
  return { field, name: field, type: 'text', form, key, changes: !key }
}

function read(columns: SqlColumn[], events: SinkEvent[], takesNul = false) {
  return readRows(events, { columns, tombstone: { field: 'gone', value: true }, takesNul })
}

const written = (text: string): SinkEvent => ({
  ...sinkEvent('a'),
  text,
  fields: JSON.parse(text) as Record<string, unknown>,
})

describe('values as text', () => {
  test('a moment is in UTC, to the microsecond, without zeros at the end', () => {
    expect(utcText('2026-11-20T21:29:00.1234567+01:00')).toBe('2026-11-20T20:29:00.123456Z')
    expect(utcText('2026-01-01T00:30:00+0100')).toBe('2025-12-31T23:30:00Z')
    expect(utcText('2026-11-20 20:29:00.500z')).toBe('2026-11-20T20:29:00.5Z')
    expect(utcText('2026-11-20T20:29:00.000Z')).toBe('2026-11-20T20:29:00Z')
    expect(utcText('soon')).toBe('soon')
  })

  test('equal moments have equal texts, however they are written', () => {
    const ms = fc.integer({ min: 0, max: 4e12 })
    fc.assert(
      fc.property(ms, fc.integer({ min: -14, max: 14 }), (at, hours) => {
        const offset = `${hours < 0 ? '-' : '+'}${String(Math.abs(hours)).padStart(2, '0')}:00`
        const local = new Date(at + hours * 3_600_000).toISOString().replace('Z', offset)
        const text = utcText(local)
        expect(text).toBe(utcText(new Date(at).toISOString()))
        expect(Date.parse(text)).toBe(at)
      }),
    )
  })

  test('a long row of digits is found wherever it is', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z",:]{0,40}$/), fc.stringMatching(/^[0-9.]{0,40}$/), (other, digits) => {
        expect(hasManyDigits(`${other}x${digits}x${other}`)).toBe(digits.length >= 16)
      }),
    )
  })

  test('what is JSON to the column is JSON, text among it', () => {
    expect(textFor('a "b"', 'json')).toBe('"a \\"b\\""')
    expect(textFor({ a: [1] }, 'text')).toBe('{"a":[1]}')
    expect(textFor(null, 'json')).toBeNull()
    expect(textFor(undefined, 'text')).toBeNull()
    expect(textFor(false, 'boolean')).toBe('false')
  })

  test('keys are told apart by text only where equal ones have one text', () => {
    expect(isExact('12', 'number')).toBe(true)
    expect(isExact('1.0', 'number')).toBe(false)
    expect(isExact('1e2', 'number')).toBe(false)
    expect(isExact('a ', 'text')).toBe(false)
    expect(isExact('2026-11-20T20:29:00', 'timestamp')).toBe(false)
  })
})

describe('rows of a batch', () => {
  test('have every digit of the text, at any depth and of any size', () => {
    const columns = [
      column('l', 'number'),
      column('d', 'number'),
      column('in.x', 'number'),
      column('in', 'json'),
      column('far', 'number'),
    ]
    const event = written(
      '{"l":9007199254740993,"d":0.10000000000000000555,"in":{"x":12345678901234567890},"far":1e400}',
    )
    expect(read(columns, [event]).rows[0]?.values).toEqual([
      '9007199254740993',
      '0.10000000000000000555',
      '12345678901234567890',
      '{"x":12345678901234567890}',
      '1e400',
    ])
    expect(read([column('far', 'number')], [written('{"far":-1E999}')]).rows[0]?.values).toEqual(['-1E999'])
    expect(read([column('in', 'json')], [written('{"in":[1e400]}')]).rows[0]?.values).toEqual(['[1e400]'])
  })

  test('take system columns, and null where a field is missing', () => {
    const rows = read(
      [column('_event_id', 'text', true), column('_event_time', 'timestamptz'), column('a.b', 'text')],
      [sinkEvent('x', { a: 1 })],
    )
    expect(rows.rows[0]?.values).toEqual(['x', '2026-11-20T20:29:00.123Z', null])
  })

  test('are refused without a key, and with a character that the database has not', () => {
    const columns = [column('id', 'text', true), column('t', 'text')]
    const events = [
      sinkEvent('a', { t: 'x' }),
      sinkEvent('b', { id: 'b', t: 'a\0b' }),
      sinkEvent('c', { id: 'c', gone: true }),
    ]
    const { refused, rows, removals } = read(columns, events)
    expect([...refused.keys()]).toEqual([0, 1])
    expect(refused.get(0)).toContain('no value at "id"')
    expect(refused.get(1)).toContain('U+0000')
    expect(rows.map((row) => row?.index)).toEqual([undefined, undefined, 2])
    expect([...removals]).toEqual([2])
    expect(read(columns, events, true).refused.has(1)).toBe(false)
  })
})
