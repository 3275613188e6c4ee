/** Column types in DuckDB's words: how they are stored, how they are read from JSON, and what two of them have in common. */
import { columnTypeText } from '../config/column-types.ts'
import type { Column, ColumnType } from '../config/plan.ts'
import { identifier, literal } from './sql-text.ts'

/** The type a column has in hot tables, data files and views. JSON text is stored as a string. */
export function storedType(type: ColumnType): string {
  return sqlType(type, storedLeaf)
}

type Nested = Extract<ColumnType, { kind: 'struct' | 'list' | 'map' }>
type Leaf = Exclude<ColumnType, Nested>

function sqlType(type: ColumnType, leaf: (type: Leaf) => string): string {
  switch (type.kind) {
    case 'list':
      return `${sqlType(type.element, leaf)}[]`
    case 'map':
      return `MAP(${type.key === undefined ? 'VARCHAR' : sqlType(type.key, leaf)}, ${sqlType(type.value, leaf)})`
    case 'struct':
      return `STRUCT(${type.fields.map((field) => `${identifier(field.name)} ${sqlType(field.type, leaf)}`).join(', ')})`
    default:
      return leaf(type)
  }
}

function storedLeaf(type: Leaf): string {
  switch (type.kind) {
    case 'boolean':
      return 'BOOLEAN'
    case 'int':
      return 'INTEGER'
    case 'long':
      return 'BIGINT'
    case 'float':
      return 'FLOAT'
    case 'double':
      return 'DOUBLE'
    case 'decimal':
      return `DECIMAL(${type.precision}, ${type.scale})`
    case 'timestamptz':
      return 'TIMESTAMP WITH TIME ZONE'
    case 'timestamp':
      return 'TIMESTAMP'
    case 'date':
      return 'DATE'
    case 'time':
      return 'TIME'
    case 'uuid':
      return 'UUID'
    case 'binary':
    case 'fixed':
      return 'BLOB'
    case 'string':
    case 'json':
      return 'VARCHAR'
  }
}

/**
 * The type that JSON is read as. A decimal is read as text, since DuckDB takes JSON numbers through doubles (the gateway has put its
 * decimals in quotes); binary as the text of its base64.
 */
function readLeaf(type: Leaf): string {
  if (type.kind === 'json') return 'JSON'
  return type.kind === 'decimal' || isBytes(type) ? 'VARCHAR' : storedLeaf(type)
}

/** Whether a column is, or has in it, of a type that other engines write and Freshet only reads: DuckDB writes no `fixed`. */
export function isReadOnly({ type }: Column): boolean {
  return holds(type, ({ kind }) => kind === 'fixed')
}

function isBytes(type: ColumnType): boolean {
  return type.kind === 'binary' || type.kind === 'fixed'
}

/** A `read_json` call over an NDJSON file of log lines. `recordBytesMax` bounds one line and sets the unit of parallel work. */
export function readJson(file: string, columns: readonly Column[], recordBytesMax: number): string {
  const types = columns.map((column) => `${literal(column.name)}: ${literal(sqlType(column.type, readLeaf))}`)
  return `read_json(${literal(file)}, format = 'newline_delimited', columns = {${types.join(', ')}}, maximum_object_size = ${recordBytesMax})`
}

/** A select list that turns columns as they are read from JSON into their stored types. */
export function storedSelect(columns: readonly Column[]): string {
  return columns
    .map((column) => {
      const { name, type } = column
      const quoted = identifier(name)
      const value = isReadOnly(column) ? refusedValue(quoted, column) : storedValue(quoted, type, 0)
      return value === quoted ? quoted : `${value} AS ${quoted}`
    })
    .join(', ')
}

/** Null; an event that has a value there cannot be loaded. */
function refusedValue(expression: string, column: Column): string {
  const reason = `Field "${column.name}": its column has the type ${columnTypeText(column.type)}, which only other engines write`
  return `CAST(CASE WHEN ${expression} IS NOT NULL THEN error(${literal(reason)}) END AS ${storedType(column.type)})`
}

/** `expression`, read from JSON, in its stored type. Bytes inside others are decoded one by one; everything else is a cast. */
function storedValue(expression: string, type: ColumnType, depth: number): string {
  if (isBytes(type)) return `from_base64(${expression})`
  if (!holds(type, isBytes))
    return sqlType(type, readLeaf) === storedType(type) ? expression : `CAST(${expression} AS ${storedType(type)})`
  const item = `e${depth}`
  switch (type.kind) {
    case 'list':
      return `list_transform(${expression}, lambda ${item}: ${storedValue(item, type.element, depth + 1)})`
    case 'map': {
      const entry = `{k: ${item}.key, v: ${storedValue(`${item}.value`, type.value, depth + 1)}}`
      return `map_from_entries(list_transform(map_entries(${expression}), lambda ${item}: ${entry}))`
    }
    case 'struct': {
      const fields = type.fields.map(({ name, type: inner }) => {
        const quoted = identifier(name)
        return `${quoted} := ${storedValue(`(${expression}).${quoted}`, inner, depth)}`
      })
      return `CASE WHEN ${expression} IS NOT NULL THEN struct_pack(${fields.join(', ')}) END`
    }
    default:
      return expression
  }
}

/** Whether `test` is true of the type or of one inside it. */
function holds(type: ColumnType, test: (type: ColumnType) => boolean): boolean {
  if (test(type)) return true
  switch (type.kind) {
    case 'list':
      return holds(type.element, test)
    case 'map':
      return holds(type.value, test)
    case 'struct':
      return type.fields.some((field) => holds(field.type, test))
    default:
      return false
  }
}

/** An expression for `expression`, which has type `from`, in the wider type `to`. */
export function castTo(expression: string, from: ColumnType, to: ColumnType): string {
  if (sameType(from, to)) return expression
  const nested = from.kind === 'struct' || from.kind === 'list' || from.kind === 'map'
  if (nested && (to.kind === 'string' || to.kind === 'json')) return `CAST(to_json(${expression}) AS VARCHAR)`
  if (to.kind === 'json') return `CAST(to_json(${isBytes(from) ? `to_base64(${expression})` : expression}) AS VARCHAR)`
  if (to.kind === 'string' && isBytes(from)) return `to_base64(${expression})`
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
  if (a.kind === 'map' && b.kind === 'map') return sameType(a.value, b.value) && sameType(keyOf(a), keyOf(b))
  if (a.kind === 'decimal' && b.kind === 'decimal') return a.precision === b.precision && a.scale === b.scale
  if (a.kind === 'fixed' && b.kind === 'fixed') return a.length === b.length
  return a.kind === b.kind
}

/** The narrowest type that holds the values of both: at the widest, text. */
export function widen(a: ColumnType, b: ColumnType): ColumnType {
  if (sameType(a, b)) return a
  if (a.kind === 'json' || b.kind === 'json') return { kind: 'json' }
  const number = widerNumber(a, b) ?? widerNumber(b, a)
  if (number !== undefined) return number
  if (a.kind === 'list' && b.kind === 'list') return { kind: 'list', element: widen(a.element, b.element) }
  if (a.kind === 'map' && b.kind === 'map' && sameType(keyOf(a), keyOf(b)))
    return { ...a, value: widen(a.value, b.value) }
  if (a.kind === 'struct' && b.kind === 'struct') return { kind: 'struct', fields: mergeColumns(a.fields, b.fields) }
  return { kind: 'string' }
}

/** The number type that holds both, where `narrow` is the narrower one; undefined where that is not so. */
function widerNumber(narrow: ColumnType, wide: ColumnType): ColumnType | undefined {
  if (narrow.kind === 'int' && wide.kind === 'long') return wide
  if ((narrow.kind === 'int' || narrow.kind === 'float') && wide.kind === 'double') return wide
  if (narrow.kind === 'int' && wide.kind === 'float') return { kind: 'double' }
  if (narrow.kind === 'long' && (wide.kind === 'float' || wide.kind === 'double')) return { kind: 'double' }
  if (narrow.kind !== 'decimal' || wide.kind !== 'decimal' || narrow.scale > wide.scale) return undefined
  const whole = Math.max(narrow.precision - narrow.scale, wide.precision - wide.scale)
  return whole + wide.scale > 38 ? undefined : { ...wide, precision: whole + wide.scale }
}

function keyOf(type: Extract<ColumnType, { kind: 'map' }>): ColumnType {
  return type.key ?? { kind: 'string' }
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
