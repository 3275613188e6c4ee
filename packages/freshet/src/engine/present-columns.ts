/** Columns that were found in events, under the names that their fields have now and without those that were dropped. */
import type { Column, ColumnType, FieldPath, StreamPlan } from '../config/plan.ts'
import { widen } from './columns.ts'

/** @param fixed names whose type is settled: what is found under a former name of theirs is no column */
export function presentColumns(
  found: readonly Column[],
  { renames = [], drops = [] }: Pick<StreamPlan, 'renames' | 'drops'>,
  fixed: ReadonlySet<string>,
): Column[] {
  let columns = [...found]
  // Fields inside others are found by the present names of those.
  for (const { path, former } of renames.toSorted((a, b) => a.path.length - b.path.length)) {
    const isFixed = path.length === 1 && fixed.has(path[0]!)
    columns = editedFields(columns, path.slice(0, -1), (fields) =>
      isFixed ? former.reduce<Column[]>(without, [...fields]) : renamed(fields, path.at(-1)!, former),
    )
  }
  for (const path of drops)
    columns = editedFields(columns, path.slice(0, -1), (fields) => without(fields, path.at(-1)!))
  return columns
}

function without(fields: readonly Column[], name: string): Column[] {
  return fields.filter((field) => field.name !== name)
}

/** One field for all the names, of a type that holds what is found under each. */
function renamed(fields: readonly Column[], name: string, former: readonly string[]): Column[] {
  const names = new Set([name, ...former])
  const [first, ...others] = fields.filter((field) => names.has(field.name))
  if (first === undefined) return [...fields]
  const type = others.reduce<ColumnType>((merged, other) => widen(merged, other.type), first.type)
  return fields.flatMap((field) => (field === first ? [{ name, type }] : names.has(field.name) ? [] : [field]))
}

/** The fields with those of the struct at `path` edited. A struct that has no fields left says nothing about its type. */
function editedFields(
  fields: readonly Column[],
  path: FieldPath,
  edit: (fields: readonly Column[]) => Column[],
): Column[] {
  const [name, ...rest] = path
  if (name === undefined) return edit(fields)
  return fields.flatMap((field) => {
    if (field.name !== name) return [field]
    const type = editedType(field.type, rest, edit)
    return type === undefined ? [] : [{ name, type }]
  })
}

function editedType(
  type: ColumnType,
  path: FieldPath,
  edit: (fields: readonly Column[]) => Column[],
): ColumnType | undefined {
  if (type.kind === 'struct') {
    const fields = editedFields(type.fields, path, edit)
    return fields.length === 0 ? undefined : { kind: 'struct', fields }
  }
  if (type.kind === 'list' && path[0] === '[]') {
    const element = editedType(type.element, path.slice(1), edit)
    return element && { kind: 'list', element }
  }
  if (type.kind === 'map' && path[0] === '*') {
    const value = editedType(type.value, path.slice(1), edit)
    return value && { ...type, value }
  }
  return type
}
