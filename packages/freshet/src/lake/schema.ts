import { systemColumns, type Column, type ColumnType } from '../config/plan.ts'
import { FreshetError } from '../runtime/errors.ts'
import { decimalOf } from './bound-values.ts'

/**
 * Iceberg schemas (Iceberg spec, Schemas and Data Types) and our columns. A field is known by its id for ever: files keep the
 * id, so a rename costs nothing and a new column can never be mistaken for an old one of the same name.
 *
 * `json` columns are Iceberg strings. Which they are is written in the field's `doc`: `json`, or the way to the JSON inside
 * lists and maps, `json:element`, `json:value.element`, ...
 */
export type IcebergType = string | StructType | ListType | MapType

export interface StructType {
  type: 'struct'
  fields: NestedField[]
}

interface ListType {
  type: 'list'
  'element-id': number
  element: IcebergType
  'element-required': boolean
}

interface MapType {
  type: 'map'
  'key-id': number
  key: IcebergType
  'value-id': number
  value: IcebergType
  'value-required': boolean
}

export interface NestedField {
  id: number
  name: string
  required: boolean
  type: IcebergType
  doc?: string
}

export interface IcebergSchema extends StructType {
  'schema-id': number
  'identifier-field-ids'?: number[]
}

const requiredColumns: ReadonlySet<string> = new Set(['_event_id', '_event_time'])

/** Gives out field ids that the table never used. */
class FieldIds {
  last: number

  constructor(last: number) {
    this.last = last
  }

  next(): number {
    this.last++
    return this.last
  }
}

/** All columns of a stream's table: the system columns, then the stream's own. */
export function tableColumns(own: readonly Column[]): Column[] {
  return [...systemColumns, ...own]
}

/** A new table's schema, with schema-id 0 and field ids from 1. */
export function createSchema(columns: readonly Column[]): { schema: IcebergSchema; lastColumnId: number } {
  const ids = new FieldIds(0)
  const fields = columns.map((column) => newField(column, ids, true))
  return { schema: { type: 'struct', 'schema-id': 0, fields }, lastColumnId: ids.last }
}

function newField(column: Column, ids: FieldIds, topLevel: boolean): NestedField {
  const id = ids.next()
  const doc = docOf(column.type)
  return {
    id,
    name: column.name,
    required: topLevel && requiredColumns.has(column.name),
    type: newType(column.type, ids),
    ...(doc === undefined ? {} : { doc }),
  }
}

function newType(type: ColumnType, ids: FieldIds): IcebergType {
  switch (type.kind) {
    case 'json':
      return 'string'
    case 'struct':
      return { type: 'struct', fields: type.fields.map((field) => newField(field, ids, false)) }
    case 'list':
      return { type: 'list', 'element-id': ids.next(), element: newType(type.element, ids), 'element-required': false }
    case 'map': {
      const keyId = ids.next()
      const valueId = ids.next()
      const key = type.key === undefined ? 'string' : newType(type.key, ids)
      const value = newType(type.value, ids)
      return { type: 'map', 'key-id': keyId, key, 'value-id': valueId, value, 'value-required': false }
    }
    default:
      return primitiveName(type)
  }
}

/** A primitive type in Iceberg's words. */
function primitiveName(type: Exclude<ColumnType, { kind: 'struct' | 'list' | 'map' }>): string {
  switch (type.kind) {
    case 'json':
      return 'string'
    case 'decimal':
      return `decimal(${type.precision}, ${type.scale})`
    case 'fixed':
      return `fixed[${type.length}]`
    default:
      return type.kind
  }
}

/** The note that tells JSON text from other strings; undefined where there is no JSON outside nested fields. */
function docOf(type: ColumnType): string | undefined {
  const path: string[] = []
  let at = type
  while (at.kind === 'list' || at.kind === 'map') {
    path.push(at.kind === 'list' ? 'element' : 'value')
    at = at.kind === 'list' ? at.element : at.value
  }
  if (at.kind !== 'json') return undefined
  return path.length === 0 ? 'json' : `json:${path.join('.')}`
}

/** What `doc` says of JSON in a field; other engines may have written anything else there. */
function jsonNote({ doc }: NestedField): string | undefined {
  return doc === 'json' || doc?.startsWith('json:') === true ? doc : undefined
}

/**
 * The columns of a schema, in its order.
 * @throws FreshetError `unsupported_table` for a type that format version 2 does not have.
 */
export function columnsOf(schema: StructType): Column[] {
  return schema.fields.map((field) => ({
    name: field.name,
    type: columnTypeOf(field.type, jsonNote(field) !== undefined, field.name),
  }))
}

function columnTypeOf(type: IcebergType, json: boolean, name: string): ColumnType {
  if (typeof type === 'string') return primitiveOf(type, json, name)
  switch (type.type) {
    case 'struct':
      return { kind: 'struct', fields: columnsOf(type) }
    case 'list':
      return { kind: 'list', element: columnTypeOf(type.element, json, name) }
    case 'map': {
      const value = columnTypeOf(type.value, json, name)
      return type.key === 'string'
        ? { kind: 'map', value }
        : { kind: 'map', value, key: columnTypeOf(type.key, false, name) }
    }
  }
}

function primitiveOf(type: string, json: boolean, name: string): ColumnType {
  const decimal = decimalOf(type)
  if (decimal !== undefined) return { kind: 'decimal', ...decimal }
  const fixed = /^fixed\[(\d+)\]$/.exec(type)
  if (fixed !== null) return { kind: 'fixed', length: Number(fixed[1]) }
  switch (type) {
    case 'string':
      return { kind: json ? 'json' : 'string' }
    case 'boolean':
    case 'int':
    case 'long':
    case 'float':
    case 'double':
    case 'date':
    case 'time':
    case 'timestamp':
    case 'timestamptz':
    case 'uuid':
    case 'binary':
      return { kind: type }
    default:
      throw new FreshetError('unsupported_table', `Column ${name} has the type ${type}, which Freshet cannot read.`, {
        hint: 'Another engine added it: drop the column there, or change it to a type that Freshet writes.',
      })
  }
}

/** What changes when a table takes new columns. */
export interface Evolution {
  schema: IcebergSchema
  lastColumnId: number
  /** Field ids whose values a field continues, newest first, by the id of the newest field (`freshet.former-fields`). */
  formerFields: Map<number, number[]>
}

/** What `evolveSchema` starts from: the current schema, the highest id ever given, and former fields so far. */
export type EvolutionBase = Evolution

/**
 * Adds columns and nested fields that are new, with fresh ids; all others keep theirs. A column whose type changed, at any depth,
 * to one that Iceberg cannot promote to stays, renamed to `<name>_v<N>`, and a new column takes its name. Fields that `columns`
 * does not mention stay as they are.
 * @returns undefined when nothing changes. The schema has the id after the base's; renumber it if that one is taken.
 */
export function evolveSchema(base: EvolutionBase, columns: readonly Column[]): Evolution | undefined {
  const evolver = new Evolver(base)
  const fields = evolver.mergeTop(base.schema.fields, columns)
  if (fields === base.schema.fields) return undefined
  return {
    schema: { ...base.schema, 'schema-id': base.schema['schema-id'] + 1, fields },
    lastColumnId: evolver.ids.last,
    formerFields: evolver.formerFields,
  }
}

class Evolver {
  readonly ids: FieldIds
  readonly formerFields: Map<number, number[]>

  constructor(base: EvolutionBase) {
    this.ids = new FieldIds(base.lastColumnId)
    this.formerFields = new Map(base.formerFields)
  }

  /** The same array when nothing changed, so that callers can tell. */
  mergeTop(current: NestedField[], columns: readonly Column[]): NestedField[] {
    const fields = [...current]
    let changed = false
    for (const column of columns) {
      const merged = this.#mergeField(fields, column, true)
      if (merged !== 'same') changed = true
      if (merged === 'conflict') this.#succeed(fields, column, columns)
    }
    return changed ? fields : current
  }

  /** The same array when nothing changed; undefined when a field's type cannot become the wanted one. */
  #mergeNested(current: NestedField[], columns: readonly Column[]): NestedField[] | undefined {
    const fields = [...current]
    let changed = false
    for (const column of columns) {
      const merged = this.#mergeField(fields, column, false)
      if (merged === 'conflict') return undefined
      if (merged === 'changed') changed = true
    }
    return changed ? fields : current
  }

  /** Adds the field to `fields`, or gives it the wanted type there, if it can have it. */
  #mergeField(fields: NestedField[], column: Column, topLevel: boolean): 'same' | 'changed' | 'conflict' {
    const index = fields.findIndex((field) => field.name === column.name)
    const field = fields[index]
    if (field === undefined) {
      fields.push(newField(column, this.ids, topLevel))
      return 'changed'
    }
    if (docOf(column.type) !== jsonNote(field) && isTextual(field.type)) return 'conflict'
    const type = this.#mergeType(field.type, column.type)
    if (type === undefined) return 'conflict'
    if (type === field.type) return 'same'
    fields[index] = { ...field, type }
    return 'changed'
  }

  /** Renames the field that has the column's name, and adds one of the column's type in its place. */
  #succeed(fields: NestedField[], column: Column, columns: readonly Column[]): void {
    const index = fields.findIndex((field) => field.name === column.name)
    const field = fields[index]!
    const taken = [...fields, ...columns].map((other) => other.name)
    fields[index] = { ...field, name: freeName(field.name, taken), required: false }
    const successor = newField(column, this.ids, true)
    fields.push({ ...successor, required: false })
    // What `field` continued stays noted too: older snapshots are read with it.
    this.formerFields.set(successor.id, [field.id, ...(this.formerFields.get(field.id) ?? [])])
  }

  /** `current` itself when it already holds `wanted`; undefined when Iceberg cannot turn one into the other. */
  #mergeType(current: IcebergType, wanted: ColumnType): IcebergType | undefined {
    if (typeof current === 'string') {
      const name =
        wanted.kind === 'struct' || wanted.kind === 'list' || wanted.kind === 'map' ? '' : primitiveName(wanted)
      if (name === current || isPromotion(name, current)) return current
      return isPromotion(current, name) ? name : undefined
    }
    if (current.type !== wanted.kind) return undefined
    if (current.type === 'struct' && wanted.kind === 'struct') {
      const fields = this.#mergeNested(current.fields, wanted.fields)
      return fields === undefined || fields === current.fields ? fields && current : { ...current, fields }
    }
    if (current.type === 'list' && wanted.kind === 'list') {
      const element = this.#mergeType(current.element, wanted.element)
      return element === undefined || element === current.element ? element && current : { ...current, element }
    }
    if (current.type === 'map' && wanted.kind === 'map') {
      const value = this.#mergeType(current.value, wanted.value)
      return value === undefined || value === current.value ? value && current : { ...current, value }
    }
    return undefined
  }
}

/** Whether every value of `from` is one of `to`, as Iceberg sees it (Iceberg spec, Schema Evolution). */
function isPromotion(from: string, to: string): boolean {
  if (from === 'int' || from === 'float') return to === (from === 'int' ? 'long' : 'double')
  const [narrow, wide] = [decimalOf(from), decimalOf(to)]
  return narrow !== undefined && wide !== undefined && narrow.scale === wide.scale && narrow.precision < wide.precision
}

/** Whether the innermost type is a string, where only `doc` tells text from JSON. */
function isTextual(type: IcebergType): boolean {
  if (typeof type === 'string') return type === 'string'
  if (type.type === 'list') return isTextual(type.element)
  return type.type === 'map' && isTextual(type.value)
}

/** SQL names ignore case, so the free name is looked for without it. */
function freeName(name: string, taken: readonly string[]): string {
  const used = new Set(taken.map((other) => other.toLowerCase()))
  let version = 1
  while (used.has(`${name}_v${version}`.toLowerCase())) version++
  return `${name}_v${version}`
}

/** A leaf column, as data files know it. */
export interface Leaf {
  id: number
  /** Names from the top column down; `element`, `key` and `value` inside lists and maps. */
  path: string[]
  type: string
  /** Inside a list or map, where a value is not a row's. */
  repeated: boolean
}

/** All leaves of a schema, depth first. */
export function leavesOf(schema: StructType): Leaf[] {
  const leaves: Leaf[] = []
  const visit = (id: number, path: string[], type: IcebergType, repeated: boolean): void => {
    if (typeof type === 'string') {
      leaves.push({ id, path, type, repeated })
    } else if (type.type === 'struct') {
      for (const field of type.fields) visit(field.id, [...path, field.name], field.type, repeated)
    } else if (type.type === 'list') {
      visit(type['element-id'], [...path, 'element'], type.element, true)
    } else {
      visit(type['key-id'], [...path, 'key'], type.key, true)
      visit(type['value-id'], [...path, 'value'], type.value, true)
    }
  }
  for (const field of schema.fields) visit(field.id, [field.name], field.type, false)
  return leaves
}
