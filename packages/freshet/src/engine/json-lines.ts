/**
 * Rows as JSON text, made by DuckDB: SQL expressions for the text of a value. What is null is left out of objects, as it stands for a
 * field that the event did not have; in lists it stays. Times are written in UTC, bytes as base64, numbers with all their digits.
 */
import { systemColumns, type Column, type ColumnType } from '../config/plan.ts'
import { identifier, literal } from './sql-text.ts'

/** How decimals are written: in quotes as in the log, or as numbers. */
export type DecimalForm = 'text' | 'number'

const systemNames: ReadonlySet<string> = new Set(systemColumns.map(({ name }) => name))

/**
 * The line of an event as the log has it, without its end: system columns first (events/system-columns.ts), then the others in order.
 * For rows that have id and times.
 */
export function logLine(columns: readonly Column[]): string {
  const has = new Set(columns.map(({ name }) => name))
  const optional = ['_source', '_tenant'].filter((name) => has.has(name)).map((name) => member(name, textOf(name)))
  const own = columns.filter(({ name }) => !systemNames.has(name))
  const parts = [
    `'{"_event_id":' || ${textOf('_event_id')}`,
    `',"_event_time":"' || ${utcText('_event_time')} || '"'`,
    `',"_received_at":"' || ${utcText('_received_at', '%g')} || '"'`,
    ...optional,
    ...own.map(({ name, type }) => member(name, jsonText(identifier(name), type, 'text'))),
    "'}'",
  ]
  return `concat(${parts.join(', ')})`
}

/** A row of these columns as the text of a JSON object, in their order. */
export function jsonObject(columns: readonly Column[], decimals: DecimalForm): string {
  return objectText(columns.map(({ name, type }) => ({ name, value: jsonText(identifier(name), type, decimals) })))
}

/** A stored time with zone in UTC; `fraction` is what stands behind the seconds, without zeros at the end unless it is given. */
export function utcText(name: string, fraction?: '%g' | '%f'): string {
  return isoText(`CAST(${identifier(name)} AS TIMESTAMP)`, 'Z', fraction)
}

/** Left out when `value` is null: `concat` skips nulls. */
function member(name: string, value: string): string {
  return `${literal(`,${JSON.stringify(name)}:`)} || ${value}`
}

/** A text column as a JSON string. */
function textOf(name: string): string {
  return `CAST(to_json(${identifier(name)}) AS VARCHAR)`
}

function objectText(members: readonly { name: string; value: string }[]): string {
  if (members.length === 0) return "'{}'"
  const list = members.map(({ name, value }) => member(name, value))
  return `concat('{', substr(concat(${list.join(', ')}), 2), '}')`
}

function isoText(timestamp: string, zone: string, fraction?: string): string {
  const text = `strftime(${timestamp}, ${literal(`%Y-%m-%dT%H:%M:%S.${fraction ?? '%f'}${zone}`)})`
  return fraction === undefined ? `regexp_replace(${text}, '\\.?0+${zone}$', '${zone}')` : text
}

/** The JSON text of a value; null for null, and for numbers that JSON cannot write. */
function jsonText(value: string, type: ColumnType, decimals: DecimalForm, depth = 0): string {
  const plain = `CAST(${value} AS VARCHAR)`
  const quoted = `'"' || ${plain} || '"'`
  switch (type.kind) {
    case 'boolean':
    case 'int':
    case 'long':
      return plain
    case 'float':
    case 'double':
      return `CASE WHEN isfinite(${value}) THEN ${plain} END`
    case 'decimal':
      return decimals === 'text' ? quoted : plain
    case 'timestamptz':
      return `'"' || ${isoText(`CAST(${value} AS TIMESTAMP)`, 'Z')} || '"'`
    case 'timestamp':
      return `'"' || ${isoText(value, '')} || '"'`
    case 'date':
    case 'time':
    case 'uuid':
      return quoted
    case 'binary':
    case 'fixed':
      return `'"' || to_base64(${value}) || '"'`
    case 'json':
      // Within JSON, a line end can only be space between its parts.
      return `CASE WHEN json_valid(${value}) THEN replace(replace(${value}, chr(10), ' '), chr(13), ' ') ELSE CAST(to_json(${value}) AS VARCHAR) END`
    case 'string':
      return `CAST(to_json(${value}) AS VARCHAR)`
    case 'struct': {
      const members = type.fields.map((field) => ({
        name: field.name,
        value: jsonText(`(${value}).${identifier(field.name)}`, field.type, decimals, depth),
      }))
      return `CASE WHEN ${value} IS NOT NULL THEN ${objectText(members)} END`
    }
    case 'list': {
      const item = `e${depth}`
      const inner = `coalesce(${jsonText(item, type.element, decimals, depth + 1)}, 'null')`
      return `CASE WHEN ${value} IS NOT NULL THEN concat('[', array_to_string(list_transform(${value}, lambda ${item}: ${inner}), ','), ']') END`
    }
    case 'map': {
      const item = `e${depth}`
      const key = `CAST(to_json(CAST(${item}.key AS VARCHAR)) AS VARCHAR)`
      const inner = `${key} || ':' || coalesce(${jsonText(`${item}.value`, type.value, decimals, depth + 1)}, 'null')`
      return `CASE WHEN ${value} IS NOT NULL THEN concat('{', array_to_string(list_transform(map_entries(${value}), lambda ${item}: ${inner}), ','), '}') END`
    }
  }
}
