import { FreshetError } from '../../runtime/errors.ts'
import type { TableColumn } from '../output/table.ts'

/** A JSON answer of `/v1/sql` as text for a table. */
export interface ResultTable {
  columns: TableColumn[]
  types: string[]
  rows: (string | null)[][]
}

/** A number of JSON text with its digits as they stand there: a BIGINT or DECIMAL can have more than a double keeps. */
class ExactNumber {
  readonly source: string

  constructor(source: string) {
    this.source = source
  }
}

type SourceReviver = (key: string, value: unknown, context: { source?: string }) => unknown

const keepDigits: SourceReviver = (_key, value, context) =>
  typeof value === 'number' && context.source !== undefined ? new ExactNumber(context.source) : value

/** @throws FreshetError when it is no result */
export function parseResult(text: string): ResultTable {
  let answer: { columns?: unknown; rows?: unknown }
  try {
    answer = JSON.parse(text, keepDigits as (key: string, value: unknown) => unknown) as typeof answer
  } catch (cause) {
    throw new FreshetError('internal', 'The result broke off: what the server sent is not whole JSON.', { cause })
  }
  if (!Array.isArray(answer.columns) || !Array.isArray(answer.rows)) {
    throw new FreshetError('internal', 'The server sent JSON that is no query result.')
  }
  const columns = (answer.columns as { name: string; type?: string }[]).map(({ name, type }) => ({
    name,
    type: type ?? '',
  }))
  const rows = (answer.rows as Record<string, unknown>[]).map((row) => columns.map(({ name }) => cellText(row[name])))
  return {
    columns: columns.map(({ name, type }) => ({ name, align: isNumeric(type) ? 'right' : 'left' })),
    types: columns.map(({ type }) => type),
    rows,
  }
}

function isNumeric(type: string): boolean {
  return /^(?:U?(?:TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|REAL|DOUBLE|BIGNUM|VARINT|DECIMAL(?:\(.*\))?)$/i.test(type)
}

function cellText(value: unknown): string | null {
  if (value === null || value === undefined) return null
  if (typeof value === 'string') return value
  return compactJson(value)
}

function compactJson(value: unknown): string {
  if (value instanceof ExactNumber) return value.source
  if (Array.isArray(value)) return `[${value.map(compactJson).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value)
      .map(([key, member]) => `${JSON.stringify(key)}: ${compactJson(member)}`)
      .join(', ')}}`
  }
  return JSON.stringify(value)
}
