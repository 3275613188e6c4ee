/** Rows of CSV (RFC 4180) and of fixed-width files. */
import { textOf, valueAt } from '../event-fields.ts'
import type { FileColumn, FilesOptions } from './settings.ts'

/** Writes the rows of one kind of file; each ends its line. */
export interface RowWriter {
  /** What a file begins with. */
  header: string
  /** @param fields the event with its system columns, every digit kept */
  row(fields: Record<string, unknown>): string | { reason: string }
}

type RowOptions = Pick<FilesOptions, 'delimiter' | 'header' | 'newline' | 'encoding'> & {
  columns: readonly FileColumn[]
}

export function csvRows({
  columns,
  delimiter = ',',
  header = true,
  newline = '\r\n',
  encoding,
}: RowOptions): RowWriter {
  const quoted = (text: string): string =>
    text.includes(delimiter) || /["\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  const line = (values: readonly string[]): string => {
    // A lone empty value would be an empty line, which readers skip.
    const text = values.map(quoted).join(delimiter)
    return `${text === '' ? '""' : text}${newline}`
  }
  return {
    header: header ? line(columns.map(({ name }) => name)) : '',
    row: (fields) => {
      const values = columns.map((column) => valueOf(column, fields))
      const unfit = encoding === 'latin1' ? values.findIndex((value) => beyondLatin1.test(value)) : -1
      return unfit < 0 ? line(values) : { reason: unfitLetter(columns[unfit]!, values[unfit]!) }
    },
  }
}

export function fixedRows({ columns, newline = '\n', encoding }: RowOptions): RowWriter {
  return {
    header: '',
    row: (fields) => {
      let row = ''
      for (const column of columns) {
        const cell = fixedCell(column, valueOf(column, fields), encoding)
        if (typeof cell === 'object') return cell
        row += cell
      }
      return row + newline
    },
  }
}

function fixedCell(column: FileColumn, value: string, encoding: FilesOptions['encoding']): string | { reason: string } {
  if (encoding === 'latin1' && beyondLatin1.test(value)) return { reason: unfitLetter(column, value) }
  // oxlint-disable-next-line no-control-regex -- these are what must not be in it
  if (/[\x00-\x1f\x7f]/.test(value))
    return { reason: `The value of ${titleOf(column)} has line ends or control characters.` }
  const letters = Array.from(value)
  const width = column.width!
  if (letters.length > width && column.cut !== true) {
    return { reason: `The value of ${titleOf(column)} has ${letters.length} characters, and its column ${width}.` }
  }
  const padding = (column.pad ?? ' ').repeat(Math.max(0, width - letters.length))
  const text = letters.slice(0, width).join('')
  return column.align === 'right' ? padding + text : text + padding
}

const beyondLatin1 = /[^\0-\xff]/u

function unfitLetter(column: FileColumn, value: string): string {
  return `The value of ${titleOf(column)} has the character ${beyondLatin1.exec(value)?.[0] ?? ''}, which latin1 has not.`
}

function titleOf({ field, name }: FileColumn): string {
  return field ?? name
}

function valueOf({ field, value }: FileColumn, fields: Record<string, unknown>): string {
  return value ?? textOf(valueAt(fields, field!))
}
