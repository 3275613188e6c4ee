/**
 * Renaming, dropping and ordering the fields of a table's schema (Iceberg spec, Schema Evolution). Only the schema changes: a field
 * keeps its id, data files keep what they have, and an id that was given once is never given again.
 */
import { formatFieldPath } from '../config/field-path.ts'
import type { Column, ColumnType, FieldPath, Rename } from '../config/plan.ts'
import type { EvolutionBase, IcebergType, NestedField, StructType } from './schema.ts'

/** Why a change is not made, and what to do instead. */
export interface Refusal {
  reason: string
  mend: string
  /** The word that has it made all the same; left out where nothing can. */
  accept?: string
}

/** Fields by the names they are to have. @returns the base itself when all have them already */
export function renameFields(base: EvolutionBase, renames: readonly Rename[], refusals: Refusal[]): EvolutionBase {
  let root: StructType = base.schema
  // Fields inside others are found by the present names of those.
  for (const rename of renames.toSorted((a, b) => a.path.length - b.path.length)) {
    const parent = rename.path.slice(0, -1)
    const hidden = parent.length === 0 ? formerIds(base) : new Set<number>()
    root = editStruct(root, parent, (fields) => {
      const problem = renameProblem(fields, rename, hidden)
      if (problem !== undefined) refusals.push(problem)
      const former = problem === undefined ? fields.find(({ name }) => rename.former.includes(name)) : undefined
      if (former === undefined) return fields
      return fields.map((field) => (field === former ? { ...field, name: rename.path.at(-1)! } : field))
    })
  }
  return root === base.schema ? base : { ...base, schema: { ...base.schema, fields: root.fields } }
}

function renameProblem(
  fields: readonly NestedField[],
  { path, former }: Rename,
  hidden: ReadonlySet<number>,
): Refusal | undefined {
  const found = fields.filter(({ name }) => former.includes(name))
  const [first, second] = found
  if (first === undefined) return undefined
  const inside = (name: string): string => formatFieldPath([...path.slice(0, -1), name])
  const to = formatFieldPath(path)
  const name = path.at(-1)!
  const taken = fields.find((field) => field !== first && field.name.toLowerCase() === name.toLowerCase())
  if (taken !== undefined) {
    return {
      reason: `${inside(first.name)} (id ${first.id}) cannot be renamed to ${to}: the table has ${inside(taken.name)} (id ${taken.id}) too, with values of its own`,
      mend: `Leave the rename out, or drop one of the two first.`,
    }
  }
  if (second !== undefined) {
    return {
      reason: `${found.map((field) => `${inside(field.name)} (id ${field.id})`).join(' and ')} are fields of their own, and cannot both become ${to}`,
      mend: 'Name only one of them in the rename, and leave or drop the others.',
    }
  }
  if (!hidden.has(first.id)) return undefined
  return {
    reason: `${inside(first.name)} (id ${first.id}) holds older values of another column, and cannot be renamed`,
    mend: 'Leave the rename out.',
  }
}

/** Takes fields out of the schema. @param inUse what the table needs some field ids for */
export function dropFields(
  base: EvolutionBase,
  drops: readonly FieldPath[],
  inUse: ReadonlyMap<number, string>,
  refusals: Refusal[],
): EvolutionBase {
  let root: StructType = base.schema
  const hidden = formerIds(base)
  for (const path of drops) {
    const top = path.length === 1
    root = editStruct(root, path.slice(0, -1), (fields) => {
      const field = fields.find(({ name }) => name === path.at(-1))
      if (field === undefined) return fields
      const problem = dropProblem(path, field, fields, inUse, top ? hidden : new Set())
      if (problem !== undefined) {
        refusals.push(problem)
        return fields
      }
      // What it continued stays noted: older snapshots are still read with it.
      const gone = new Set([field.id, ...((top && base.formerFields.get(field.id)) || [])])
      return fields.filter(({ id }) => !gone.has(id))
    })
  }
  return root === base.schema ? base : { ...base, schema: { ...base.schema, fields: root.fields } }
}

function dropProblem(
  path: FieldPath,
  field: NestedField,
  fields: readonly NestedField[],
  inUse: ReadonlyMap<number, string>,
  hidden: ReadonlySet<number>,
): Refusal | undefined {
  const text = formatFieldPath(path)
  const use = [...idsOf(field)].map((id) => inUse.get(id)).find((found) => found !== undefined)
  if (use !== undefined) {
    return { reason: `${text} (id ${field.id}) cannot be dropped: ${use}`, mend: `Leave ${text} out of "drop".` }
  }
  if (hidden.has(field.id)) {
    return {
      reason: `${text} (id ${field.id}) cannot be dropped by itself: it holds older values of another column`,
      mend: 'Drop that column, which takes its older values along, or leave this one.',
    }
  }
  if (fields.length > 1) return undefined
  return {
    reason: `${text} (id ${field.id}) is the only field there, and a struct without fields cannot be stored`,
    mend: 'Drop the whole column.',
  }
}

/** Brings the fields into the order of `columns`, at every depth; fields that these do not name stay behind them, as they are. */
export function orderFields(base: EvolutionBase, columns: readonly Column[]): EvolutionBase {
  const fields = ordered(base.schema.fields, columns)
  return fields === base.schema.fields ? base : { ...base, schema: { ...base.schema, fields } }
}

function ordered(fields: NestedField[], columns: readonly Column[]): NestedField[] {
  const rank = new Map(columns.map(({ name }, index) => [name, index]))
  const rankOf = ({ name }: NestedField): number => rank.get(name) ?? columns.length
  const types = new Map(columns.map(({ name, type }) => [name, type]))
  const next = fields
    .toSorted((a, b) => rankOf(a) - rankOf(b))
    .map((field) => {
      const wanted = types.get(field.name)
      const type = wanted === undefined ? field.type : orderedType(field.type, wanted)
      return type === field.type ? field : { ...field, type }
    })
  return next.every((field, index) => field === fields[index]) ? fields : next
}

function orderedType(type: IcebergType, wanted: ColumnType): IcebergType {
  if (typeof type === 'string' || type.type !== wanted.kind) return type
  if (type.type === 'struct' && wanted.kind === 'struct') {
    const fields = ordered(type.fields, wanted.fields)
    return fields === type.fields ? type : { ...type, fields }
  }
  if (type.type === 'list' && wanted.kind === 'list') {
    const element = orderedType(type.element, wanted.element)
    return element === type.element ? type : { ...type, element }
  }
  if (type.type === 'map' && wanted.kind === 'map') {
    const value = orderedType(type.value, wanted.value)
    return value === type.value ? type : { ...type, value }
  }
  return type
}

/** Makes fields optional that events may lack, all but those with the ids in `kept`. */
export function relaxFields(base: EvolutionBase, kept: ReadonlySet<number>): EvolutionBase {
  const root = relaxedType(base.schema, kept) as StructType
  return root === base.schema ? base : { ...base, schema: { ...base.schema, fields: root.fields } }
}

function relaxedType(type: IcebergType, kept: ReadonlySet<number>): IcebergType {
  if (typeof type === 'string') return type
  if (type.type === 'struct') {
    const fields = type.fields.map((field) => {
      const inside = relaxedType(field.type, kept)
      const required = field.required && [...idsOf(field)].some((id) => kept.has(id))
      return inside === field.type && required === field.required ? field : { ...field, required, type: inside }
    })
    return fields.every((field, index) => field === type.fields[index]) ? type : { ...type, fields }
  }
  if (type.type === 'list') {
    const element = relaxedType(type.element, kept)
    if (element === type.element && !type['element-required']) return type
    return { ...type, element, 'element-required': false }
  }
  const value = relaxedType(type.value, kept)
  return value === type.value && !type['value-required'] ? type : { ...type, value, 'value-required': false }
}

/** Ids of fields that other columns continue. */
function formerIds({ formerFields }: EvolutionBase): Set<number> {
  return new Set([...formerFields.values()].flat())
}

/** The id of a field and of all that is inside it. */
function idsOf(field: NestedField): Set<number> {
  const ids = new Set([field.id])
  const visit = (type: IcebergType): void => {
    if (typeof type === 'string') return
    if (type.type === 'struct') {
      for (const inner of type.fields) for (const id of idsOf(inner)) ids.add(id)
    } else if (type.type === 'list') {
      ids.add(type['element-id'])
      visit(type.element)
    } else {
      ids.add(type['key-id']).add(type['value-id'])
      visit(type.value)
    }
  }
  visit(field.type)
  return ids
}

/** The struct with the fields of the one at `path` edited; itself when there is none there, or nothing changed. */
function editStruct(root: StructType, path: FieldPath, edit: (fields: NestedField[]) => NestedField[]): StructType {
  return editType(root, path, edit) as StructType
}

function editType(type: IcebergType, path: FieldPath, edit: (fields: NestedField[]) => NestedField[]): IcebergType {
  if (typeof type === 'string') return type
  const [step, ...rest] = path
  if (type.type === 'struct') {
    const fields =
      step === undefined
        ? edit(type.fields)
        : type.fields.map((field) => {
            const inner = field.name === step ? editType(field.type, rest, edit) : field.type
            return inner === field.type ? field : { ...field, type: inner }
          })
    const same = fields.length === type.fields.length && fields.every((field, index) => field === type.fields[index])
    return same ? type : { ...type, fields }
  }
  if (type.type === 'list' && step === '[]') {
    const element = editType(type.element, rest, edit)
    return element === type.element ? type : { ...type, element }
  }
  if (type.type === 'map' && step === '*') {
    const value = editType(type.value, rest, edit)
    return value === type.value ? type : { ...type, value }
  }
  return type
}
