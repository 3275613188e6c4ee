import { createColors } from 'picocolors'
import { describe, expect, test } from 'vitest'
import { sanitiseCell, sanitiseText } from './sanitise.ts'
import { displayWidth, renderTable, shorten } from './table.ts'
import { formatBytes, formatCount, formatDuration } from './units.ts'

const style = createColors(false)

describe('renderTable', () => {
  test('aligns by what the terminal shows: wide characters, emoji and combining marks', () => {
    const { text } = renderTable(
      [{ name: 'name' }, { name: 'n', align: 'right' }],
      [
        ['日本', '1'],
        ['🌊', '22'],
        ['e\u0301te\u0301', '333'],
        [null, null],
      ],
      { style },
    )
    expect(text.trimEnd().split('\n')).toEqual([
      'name     n',
      '────  ────',
      '日本     1',
      '🌊      22',
      'e\u0301te\u0301    333',
      'NULL  NULL',
    ])
  })

  test('NULL is dim and the text NULL is not', () => {
    const { text } = renderTable([{ name: 'a' }], [[null], ['NULL']], { style: createColors(true) })
    expect(text).toContain('\u001b[2mNULL\u001b[22m\nNULL\n')
  })

  test('without a width nothing is shortened', () => {
    const long = 'x'.repeat(500)
    const table = renderTable([{ name: 'a' }], [[long]], { style })
    expect(table.text).toContain(long)
    expect(table).toMatchObject({ shortenedCells: 0, hiddenColumns: [] })
  })

  test('with a width no line is wider, and what is missing is said', () => {
    const columns = Array.from({ length: 12 }, (_, index) => ({ name: `column_${index}` }))
    const table = renderTable(columns, [columns.map(() => '日本'.repeat(30))], { style, width: 60 })
    for (const line of table.text.trimEnd().split('\n')) expect(displayWidth(line)).toBeLessThanOrEqual(60)
    expect(table.shortenedCells).toBeGreaterThan(0)
    expect(table.hiddenColumns.at(-1)).toBe('column_11')
  })

  test('narrow columns stay whole while wide ones give way', () => {
    const table = renderTable([{ name: 'id' }, { name: 'body' }], [['12345', 'y'.repeat(200)]], { style, width: 40 })
    expect(table.text).toContain('12345  ')
    expect(table.text).toContain(`${'y'.repeat(32)}…`)
  })

  test('data cannot break the table or drive the terminal', () => {
    const { text } = renderTable([{ name: 'a\u001b[2J' }], [['x\ny\tz\u001b[31m\u009b\u202e']], { style })
    expect(text).toContain('x\\ny\\tz\\x1b[31m\\x9b\\u202e')
    expect(text).not.toContain('\u001b')
  })
})

test('shorten never exceeds its width', () => {
  expect(shorten('abcdef', 4)).toBe('abc…')
  expect(displayWidth(shorten('日本日本', 4))).toBeLessThanOrEqual(4)
  expect(shorten('abc', 3)).toBe('abc')
})

test('sanitised text keeps line feeds and tabs, a cell shows them', () => {
  expect(sanitiseText('a\n\tb\r\u0007')).toBe('a\n\tb\\r\\x07')
  expect(sanitiseCell('a\nb')).toBe('a\\nb')
})

test('units', () => {
  expect([0, 999, 1000, 1234, 99_949, 1_500_000, 999_999_999].map(formatBytes)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '1.2 kB',
    '100 kB',
    '1.5 MB',
    '1.0 GB',
  ])
  expect([0, 12.4, 999.6, 9_960, 61_000, 3_600_000, 90_000_000].map(formatDuration)).toEqual([
    '0 ms',
    '12 ms',
    '1.0 s',
    '10 s',
    '1 min 1 s',
    '1 h',
    '1 d 1 h',
  ])
  expect(['1', '1234', '12345678901234567890'].map(formatCount)).toEqual(['1', '1,234', '12,345,678,901,234,567,890'])
})
