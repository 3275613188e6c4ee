/** Column types in DuckDB's words: how they are stored, how they are read from JSON, and what two of them have in common. */
import type { Column, ColumnType } from '../config/plan.ts'
import { identifier, literal } from './sql-text.ts'

/** The type a column has in hot tables, data files and views. JSON text is stored as a string. */
export function storedType(type: ColumnType): string {
  return sqlType(type, 'VARCHAR')
}

function sqlType(type: ColumnType, json: string): string {
  switch (type.kind) {
    case 'boolean':
      return 'BOOLEAN'
    case 'long':
      return 'BIGINT'
    case 'double':
      return 'DOUBLE'
    case 'string':
      return 'VARCHAR'
    case 'timestamptz':
      return 'TIMESTAMP WITH TIME ZONE'
    case 'date':
      return 'DATE'
    case 'json':
      return json
    case 'list':
      return `${sqlType(type.element, json)}[]`
    case 'map':
      return `MAP(VARCHAR, ${sqlType(type.value, json)})`
    case 'struct':
      return `STRUCT(${type.fields.map((field) => `${identifier(field.name)} ${sqlType(field.type, json)}`).join(', ')})`
  }
}

/** A `read_json` call over an NDJSON file of log lines. `recordBytesMax` bounds one line and sets the unit of parallel work. */
export function readJson(file: string, columns: readonly Column[], recordBytesMax: number): string {
  const types = columns.map((column) => `${literal(column.name)}: ${literal(sqlType(column.type, 'JSON'))}`)
  return `read_json(${literal(file)}, format = 'newline_delimited', columns = {${types.join(', ')}}, maximum_object_size = ${recordBytesMax})`
}

/** A select list that turns columns as they are read from JSON into their stored types. */
export function storedSelect(columns: readonly Column[]): string {
  return columns
    .map(({ name, type }) => {
      const quoted = identifier(name)
      return holdsJson(type) ? `CAST(${quoted} AS ${storedType(type)}) AS ${quoted}` : quoted
    })
    .join(', ')
}

function holdsJson(type: ColumnType): boolean {
  switch (type.kind) {
    case 'json':
      return true
    case 'list':
      return holdsJson(type.element)
    case 'map':
      return holdsJson(type.value)
    case 'struct':
      return type.fields.some((field) => holdsJson(field.type))
    default:
      return false
  }
}

/** An expression for `expression`, which has type `from`, in the wider type `to`. */
export function castTo(expression: string, from: ColumnType, to: ColumnType): string {
  if (sameType(from, to)) return expression
  const nested = from.kind === 'struct' || from.kind === 'list' || from.kind === 'map'
  if (nested && (to.kind === 'string' || to.kind === 'json')) return `CAST(to_json(${expression}) AS VARCHAR)`
  if (to.kind === 'json') return `CAST(to_json(${expression}) AS VARCHAR)`
  return `CAST(${expression} AS ${storedType(to)})`
}

export function sameType(a: ColumnType, b: ColumnType): boolean {
  if (a.kind === 'struct' && b.kind === 'struct') {
    return (
      a.fields.length === b.fields.length &&
      a.fields.every(
        (field, index) => field.name === b.fields[index]!.name && sameType(field.type, b.fields[index]!.type),
      )
    )
  }
  if (a.kind === 'list' && b.kind === 'list') return sameType(a.element, b.element)
  if (a.kind === 'map' && b.kind === 'map') return sameType(a.value, b.value)
  return a.kind === b.kind
}

/** The narrowest type that holds the values of both: at the widest, text. */
export function widen(a: ColumnType, b: ColumnType): ColumnType {
  if (sameType(a, b)) return a
  if (a.kind === 'json' || b.kind === 'json') return { kind: 'json' }
  if ((a.kind === 'long' && b.kind === 'double') || (a.kind === 'double' && b.kind === 'long'))
    return { kind: 'double' }
  if (a.kind === 'list' && b.kind === 'list') return { kind: 'list', element: widen(a.element, b.element) }
  if (a.kind === 'map' && b.kind === 'map') return { kind: 'map', value: widen(a.value, b.value) }
  if (a.kind === 'struct' && b.kind === 'struct') return { kind: 'struct', fields: mergeColumns(a.fields, b.fields) }
  return { kind: 'string' }
}

/** All columns of both, those of `a` first; a column in both has the type that holds both. */
export function mergeColumns(a: readonly Column[], b: readonly Column[]): Column[] {
  const incoming = new Map(b.map((column) => [column.name, column]))
  const merged = a.map((column) => {
    const other = incoming.get(column.name)
    incoming.delete(column.name)
    return other === undefined ? column : { name: column.name, type: widen(column.type, other.type) }
  })
  return [...merged, ...incoming.values()]
}

export function sameColumns(a: readonly Column[], b: readonly Column[]): boolean {
  return sameType({ kind: 'struct', fields: [...a] }, { kind: 'struct', fields: [...b] })
}
