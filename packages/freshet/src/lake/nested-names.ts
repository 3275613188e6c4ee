/**
 * Whether fields inside structs have kept their names. Parquet readers find columns by field id, but DuckDB finds what is inside a
 * struct by name: where a name was changed, given up or given to another field, it must be told what each file calls its fields.
 */
import { currentSchema, type TableMetadata } from './metadata.ts'
import type { IcebergSchema, IcebergType } from './schema.ts'

/** Table property, `true` once a nested field was renamed or dropped: other engines may forget the schemas that tell it. */
export const nestedNamesKey = 'freshet.nested-names-changed'

/** Every query asks, and a table may have had many schemas. */
const answers = new WeakMap<TableMetadata, boolean>()

/** Whether data files of the table may call nested fields otherwise than its current schema does. */
export function nestedNamesChanged(metadata: TableMetadata): boolean {
  const known = answers.get(metadata)
  if (known !== undefined) return known
  const { schemas, properties } = metadata
  const changed =
    properties[nestedNamesKey] === 'true' || (schemas.length > 1 && namesDiffer(currentSchema(metadata), schemas))
  answers.set(metadata, changed)
  return changed
}

/** Whether a nested field has another name in one of `schemas` than in `current`, or is in it no longer. */
export function namesDiffer(current: IcebergSchema, schemas: readonly IcebergSchema[]): boolean {
  const names = nestedNames(current)
  const containers = new Set(idsOf(current))
  return schemas.some((schema) =>
    [...nestedNames(schema)].some(([id, { name, parent }]) => containers.has(parent) && names.get(id)?.name !== name),
  )
}

/** The fields inside structs that are not the table itself, with the id of what the struct is the type of. */
function nestedNames(schema: IcebergSchema): Map<number, { name: string; parent: number }> {
  const names = new Map<number, { name: string; parent: number }>()
  eachField(schema, (id, name, parent) => {
    if (parent !== undefined && name !== undefined) names.set(id, { name, parent })
  })
  return names
}

function idsOf(schema: IcebergSchema): number[] {
  const ids: number[] = []
  eachField(schema, (id) => ids.push(id))
  return ids
}

/** @param visit gets undefined for the name of what is in a list or a map, and for the parent of a column */
function eachField(
  type: IcebergType,
  visit: (id: number, name: string | undefined, parent: number | undefined) => void,
  parent?: number,
): void {
  if (typeof type === 'string') return
  if (type.type === 'struct') {
    for (const field of type.fields) {
      visit(field.id, field.name, parent)
      eachField(field.type, visit, field.id)
    }
  } else if (type.type === 'list') {
    visit(type['element-id'], undefined, parent)
    eachField(type.element, visit, type['element-id'])
  } else {
    visit(type['key-id'], undefined, parent)
    visit(type['value-id'], undefined, parent)
    eachField(type.key, visit, type['key-id'])
    eachField(type.value, visit, type['value-id'])
  }
}
