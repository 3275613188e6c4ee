/** SQL values as JSON and as CSV text. Numbers keep every digit; times are ISO 8601, those with a zone in UTC. */
import {
  DuckDBArrayValue,
  DuckDBBlobValue,
  DuckDBDateValue,
  DuckDBDecimalValue,
  DuckDBListValue,
  DuckDBMapValue,
  DuckDBStructValue,
  DuckDBTimestampMillisecondsValue,
  DuckDBTimestampNanosecondsValue,
  DuckDBTimestampSecondsValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  DuckDBUnionValue,
  type DuckDBType,
  type DuckDBValue,
} from '@duckdb/node-api'

/** The JSON text of a value. A number that JSON cannot write (NaN, infinities) is null. */
function jsonOf(value: DuckDBValue): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'number':
      return Number.isFinite(value) ? String(value) : 'null'
    case 'bigint':
    case 'boolean':
      return String(value)
    default:
      return value === null || value === undefined ? 'null' : jsonOfObject(value)
  }
}

function jsonOfObject(value: object): string {
  if (value instanceof DuckDBDecimalValue) return value.toString()
  if (value instanceof DuckDBListValue || value instanceof DuckDBArrayValue)
    return `[${value.items.map(jsonOf).join(',')}]`
  if (value instanceof DuckDBStructValue) {
    return `{${Object.entries(value.entries)
      .map(([name, entry]) => `${JSON.stringify(name)}:${jsonOf(entry)}`)
      .join(',')}}`
  }
  if (value instanceof DuckDBMapValue) {
    return `{${value.entries.map((entry) => `${JSON.stringify(textOf(entry.key))}:${jsonOf(entry.value)}`).join(',')}}`
  }
  if (value instanceof DuckDBUnionValue) return jsonOf(value.value)
  return JSON.stringify(textOf(value as DuckDBValue))
}

/** A value as text: what CSV shows; empty for null. */
function textOf(value: DuckDBValue): string {
  if (value === null || value === undefined) return ''
  if (typeof value !== 'object') return String(value)
  if (value instanceof DuckDBTimestampTZValue) return timestamp(value.micros, 'Z')
  if (value instanceof DuckDBTimestampValue) return timestamp(value.micros, '')
  if (value instanceof DuckDBTimestampMillisecondsValue)
    return infinite(value.millis) ?? timestamp(value.millis * 1000n, '')
  if (value instanceof DuckDBTimestampSecondsValue)
    return infinite(value.seconds) ?? timestamp(value.seconds * 1_000_000n, '')
  if (value instanceof DuckDBTimestampNanosecondsValue)
    return infinite(value.nanos) ?? value.toString().replace(' ', 'T')
  if (value instanceof DuckDBDateValue) return dateText(value)
  if (value instanceof DuckDBBlobValue) return Buffer.from(value.bytes).toString('base64')
  if (
    value instanceof DuckDBListValue ||
    value instanceof DuckDBArrayValue ||
    value instanceof DuckDBStructValue ||
    value instanceof DuckDBMapValue
  ) {
    return jsonOf(value)
  }
  if (value instanceof DuckDBUnionValue) return textOf(value.value)
  return String(value)
}

const positiveInfinity = 9_223_372_036_854_775_807n

const daysInfinity = 2_147_483_647

/** The word for an infinite time: the largest 64-bit integer and its negative, in any unit. */
function infinite(count: bigint): string | undefined {
  if (count === positiveInfinity) return 'infinity'
  return count === -positiveInfinity ? '-infinity' : undefined
}

function dateText(value: DuckDBDateValue): string {
  if (value.days === daysInfinity) return 'infinity'
  return value.days === -daysInfinity ? '-infinity' : value.toString()
}

function timestamp(micros: bigint, zone: string): string {
  const word = infinite(micros)
  if (word !== undefined) return word
  const millis = micros >= 0n ? micros / 1000n : (micros - 999n) / 1000n
  const date = new Date(Number(millis))
  if (Number.isNaN(date.getTime())) return String(micros)
  const rest = Number(micros - millis * 1000n)
  const fine = rest === 0 ? '' : String(rest).padStart(3, '0')
  return `${date.toISOString().slice(0, -1)}${fine}${zone}`
}

/** Writes the rows of one result; made once, called for each row. */
export interface RowWriter {
  (values: readonly DuckDBValue[]): string
}

/** Rows as JSON objects. A column that DuckDB calls JSON is written as what it holds. */
export function jsonRows(names: readonly string[], types: readonly DuckDBType[]): RowWriter {
  const keys = names.map((name) => `${JSON.stringify(name)}:`)
  const raw = types.map((type) => type.alias === 'JSON')
  return (values) => {
    let text = '{'
    for (let index = 0; index < keys.length; index++) {
      if (index > 0) text += ','
      const value = values[index]!
      text += keys[index]! + (raw[index] && typeof value === 'string' ? oneLine(value) : jsonOf(value))
    }
    return `${text}}`
  }
}

/** JSON text without line breaks, which can only stand between its tokens: each NDJSON row is one line. */
function oneLine(json: string): string {
  return /[\r\n]/.test(json) ? json.replaceAll(/[\r\n]+/g, ' ') : json
}

/** Rows as CSV lines (RFC 4180), without line end. */
export const csvRow: RowWriter = (values) => values.map((value) => csvField(textOf(value))).join(',')

export function csvField(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
