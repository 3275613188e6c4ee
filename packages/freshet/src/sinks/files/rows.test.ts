import { parse } from 'csv-parse/sync'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { csvRows, fixedRows, type RowWriter } from './rows.ts'

const columns = ['a', 'b', 'c'].map((name) => ({ field: name, name }))
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'grapheme' }),
  fc.constantFrom('"', '""', '\r\n', ' x ', ',', ';', ''),
)
const fields = fc.record({ a: text, b: text, c: text })

function row(writer: RowWriter, event: Record<string, unknown>): string {
  const written = writer.row(event)
  if (typeof written === 'object') throw new Error(written.reason)
  return written
}

test('a CSV reader finds the values that were written', () => {
  const holds = fc.property(
    fc.array(fields, { minLength: 1 }),
    fc.constantFrom(',', ';', '\t', '|'),
    (events, delimiter) => {
      const writer = csvRows({ columns, delimiter, encoding: 'utf8' })
      const file = writer.header + events.map((event) => row(writer, event)).join('')
      expect(parse(file, { delimiter, columns: true })).toEqual(events)
    },
  )
  fc.assert(holds, { numRuns: 1000 })
})

test('a single empty value is a line that a reader does not skip', () => {
  const writer = csvRows({ columns: columns.slice(0, 1), encoding: 'utf8' })
  const file = writer.header + row(writer, { a: '' }) + row(writer, { a: null }) + row(writer, {})
  expect(parse(file, { columns: true, skip_empty_lines: true })).toEqual([{ a: '' }, { a: '' }, { a: '' }])
})

test('values that are no text are written as JSON', () => {
  const writer = csvRows({ columns, encoding: 'utf8', newline: '\n', header: false })
  expect(row(writer, { a: true, b: [1, 'x'], c: { d: null } })).toBe('true,"[1,""x""]","{""d"":null}"\n')
  expect(writer.header).toBe('')
})

test('every row of fixed width has its width, and each value is where its column is', () => {
  const fixed = [
    { field: 'a', name: 'a', width: 5, cut: true },
    { field: 'b', name: 'b', width: 8, align: 'right' as const, pad: '*', cut: true },
    { value: '|', name: '', width: 1 },
  ]
  const writer = fixedRows({ columns: fixed, encoding: 'utf8' })
  const plain = fc.string({ unit: fc.constantFrom('a', ' ', 'é', '€', '😀', '"', '0') })
  const holds = fc.property(plain, plain, (a, b) => {
    const letters = Array.from(row(writer, { a, b }))
    expect(letters).toHaveLength(15)
    expect(letters.slice(0, 5).join('')).toBe(
      Array.from(a).slice(0, 5).join('').padEnd(letters.slice(0, 5).join('').length),
    )
    expect(letters.slice(5, 13).join('').replace(/^\**/, '')).toBe(Array.from(b).slice(0, 8).join(''))
    expect(letters.slice(13)).toEqual(['|', '\n'])
  })
  fc.assert(holds)
})
