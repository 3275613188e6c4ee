/**
 * The columns that a condition speaks of, by the fields that they are in. An erasure may be resumed after the stream's configuration has changed,
 * and has to mean the same then: a name is the field that had it when the erasure was asked for, whether that has been renamed, continued
 * by one of another type, or dropped since. Names that came later mean what they mean at present, where no earlier one is in their way.
 */
import type { Column } from '../../config/plan.ts'
import { currentSchema, formerFields, type TableMetadata } from '../../lake/metadata.ts'
import { columnsOf, type IcebergSchema } from '../../lake/schema.ts'

interface MeantColumn extends Column {
  /** The fields of `schema` that its values are in: the newest first, by their places. */
  places: readonly number[]
}

export interface MeantColumns {
  /** The table's present schema, and behind it fields that were dropped since. Every name is there once. */
  schema: IcebergSchema
  columns: MeantColumn[]
}

/** Prefix of the names of dropped fields; no event has such names. */
const dropped = '_freshet_dropped_'

/** @param schemaId of the schema that the table had; its present one if left out, or not known any more */
export function meantColumns(metadata: TableMetadata, schemaId?: number): MeantColumns {
  const present = currentSchema(metadata)
  const then = metadata.schemas.find((schema) => schema['schema-id'] === schemaId) ?? present
  const presentIds = new Set(present.fields.map(({ id }) => id))
  const gone = then.fields.filter(({ id }) => !presentIds.has(id))
  const schema = {
    ...present,
    fields: [...present.fields, ...gone.map((field) => ({ ...field, name: dropped + field.id }))],
  }
  const former = formerFields(metadata)
  const continuedBy = new Map([...former].flatMap(([id, older]) => older.map((one) => [one, id] as const)))
  const placeOf = new Map(schema.fields.map(({ id }, index) => [id, index]))
  const types = columnsOf(schema)
  const columns: MeantColumn[] = []
  const taken = new Set<string>()
  const takenIds = new Set<number>()
  const take = (name: string, field: number): void => {
    const id = continuedBy.get(field) ?? field
    if (takenIds.has(id) || taken.has(name.toLowerCase())) return
    takenIds.add(id)
    taken.add(name.toLowerCase())
    const places = [id, ...(former.get(id) ?? [])].flatMap((one) => placeOf.get(one) ?? [])
    columns.push({ name, type: types[places[0]!]!.type, places })
  }
  const thenIds = new Set(then.fields.map(({ id }) => id))
  // What was continued already had a name of its own that readers did not see.
  const wasHidden = (id: number): boolean => continuedBy.has(id) && thenIds.has(continuedBy.get(id)!)
  for (const { id, name } of then.fields) if (!wasHidden(id)) take(name, id)
  for (const { id, name } of present.fields) if (!continuedBy.has(id)) take(name, id)
  return { schema, columns }
}

/** Whether every name means the field that has it at present. */
export function meansPresent(metadata: TableMetadata, schemaId?: number): boolean {
  const present = new Map(meantColumns(metadata).columns.map(({ name, places }) => [name, places[0]]))
  return meantColumns(metadata, schemaId).columns.every(({ name, places }) => present.get(name) === places[0])
}
