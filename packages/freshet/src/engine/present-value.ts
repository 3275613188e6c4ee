/** Values that are found under other names than their fields have now (config/field-names.ts), brought to the present ones in SQL. */
import { foundNames, namedFields, type Naming } from '../config/field-names.ts'
import type { Column, ColumnType } from '../config/plan.ts'
import { readJson, storedSelect, storedType } from './columns.ts'
import { identifier } from './sql-text.ts'

/**
 * `expression`, which is of type `namedType(type, naming)`, with the present names. Where a field is found under several names, the
 * first that is not null counts.
 */
export function presentValue(expression: string, type: ColumnType, naming: Naming | undefined, depth = 0): string {
  if (naming === undefined || !isRenamed(type, naming)) return expression
  const item = `f${depth}`
  switch (type.kind) {
    case 'list':
      return `list_transform(${expression}, lambda ${item}: ${presentValue(item, type.element, naming.inside, depth + 1)})`
    case 'map': {
      const value = presentValue(`${item}.value`, type.value, naming.inside, depth + 1)
      return `map_from_entries(list_transform(map_entries(${expression}), lambda ${item}: {k: ${item}.key, v: ${value}}))`
    }
    case 'struct': {
      const values = type.fields.map(
        (field) =>
          `${identifier(field.name)} := ${presentField(type.fields, field, naming, `(${expression}).`, depth)}`,
      )
      return `CASE WHEN ${expression} IS NOT NULL THEN struct_pack(${values.join(', ')}) END`
    }
    default:
      return expression
  }
}

function presentField(
  fields: readonly Column[],
  { name, type }: Column,
  naming: Naming,
  owner: string,
  depth: number,
): string {
  const own = naming.fields?.get(name)
  const values = foundNames(fields, name, own).map((found) =>
    presentValue(`${owner}${identifier(found)}`, type, own?.inside, depth),
  )
  if (values.length === 0) return `CAST(NULL AS ${storedType(type)})`
  return values.length === 1 ? values[0]! : `coalesce(${values.join(', ')})`
}

/** Whether anything in the type is found under another name. */
function isRenamed(type: ColumnType, naming: Naming | undefined): boolean {
  if (naming === undefined) return false
  switch (type.kind) {
    case 'list':
      return isRenamed(type.element, naming.inside)
    case 'map':
      return isRenamed(type.value, naming.inside)
    case 'struct':
      return type.fields.some(({ name, type: inner }) => {
        const own = naming.fields?.get(name)
        const names = foundNames(type.fields, name, own)
        return names.length !== 1 || names[0] !== name || isRenamed(inner, own?.inside)
      })
    default:
      return false
  }
}

/** The select list that brings rows with `namedFields(columns, naming)` to `columns`. */
function presentSelect(columns: readonly Column[], naming: Naming): string {
  return columns
    .map((column) => {
      const name = identifier(column.name)
      const value = presentField(columns, column, naming, '', 0)
      return value === name ? name : `${value} AS ${name}`
    })
    .join(', ')
}

/** A SELECT of the events in an NDJSON file of log lines, as rows with these columns. @param naming how events name their fields */
export function selectEvents(
  file: string,
  columns: readonly Column[],
  recordBytesMax: number,
  naming: Naming | undefined,
): string {
  const stored = storedSelect(columns)
  if (naming === undefined) return `SELECT ${stored} FROM ${readJson(file, columns, recordBytesMax)}`
  const found = readJson(file, namedFields(columns, naming), recordBytesMax)
  return `SELECT ${stored} FROM (SELECT ${presentSelect(columns, naming)} FROM ${found})`
}
