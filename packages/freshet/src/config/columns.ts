import type { JsonSchema } from './define.ts'
import { lookUp, members, objectShape, type Subschema } from './object-shape.ts'
import type { Column, ColumnType } from './plan.ts'

/**
 * From JSON Schema to columns. The rule for every doubt: a value that the schema admits must never lose anything in its column,
 * so what has no single exact type becomes `json`, which keeps the text.
 */

/** The columns of a stream whose events are described by `schema`, in the schema's order; `schema` must be checked. */
export function columnsFromSchema(schema: JsonSchema): Column[] {
  return columnsOf(schema, { root: schema, refs: [] })
}

/** The column type of one part of a schema. */
export function columnTypeOf(schema: Subschema, root: JsonSchema): ColumnType {
  return typeOf(schema, { root, refs: ['#'] }) ?? json
}

interface Context {
  root: JsonSchema
  /** References that are being followed; meeting one again means a recursive schema. */
  refs: readonly string[]
}

const json: ColumnType = { kind: 'json' }

/** What texts of a `format` become. */
const kindByFormat: Readonly<Record<string, 'timestamptz' | 'date' | 'time' | 'uuid'>> = {
  'date-time': 'timestamptz',
  date: 'date',
  time: 'time',
  uuid: 'uuid',
}
const formatKinds: ReadonlySet<ColumnType['kind']> = new Set(Object.values(kindByFormat))

function columnsOf(schema: Subschema, context: Context): Column[] {
  const inside = context.refs.length === 0 ? { ...context, refs: ['#'] } : context
  return [...objectShape(schema, context.root).fields].map(([name, field]) => ({
    name,
    type: typeOf(field.schema, inside) ?? json,
  }))
}

/** Undefined when the schema says nothing about the type. */
function typeOf(schema: Subschema, context: Context): ColumnType | undefined {
  if (typeof schema === 'boolean') return undefined
  const ref = schema['$ref']
  if (typeof ref === 'string') {
    if (context.refs.includes(ref)) return json
    const inside = { ...context, refs: [...context.refs, ref] }
    const { $ref: _, ...rest } = schema
    return typeOf({ ...rest, allOf: [...members(rest['allOf']), lookUp(context.root, ref) ?? true] }, inside)
  }
  const parts: ColumnType[] = []
  const own = ownType(schema, context)
  if (own !== undefined) parts.push(own)
  for (const part of members(schema['allOf'])) parts.push(...given(typeOf(part, context)))
  for (const keyword of ['anyOf', 'oneOf']) parts.push(...given(alternativesType(members(schema[keyword]), context)))
  if (parts.length > 1 && parts.every(isObjectLike)) return objectType(schema, context)
  return intersection(parts)
}

function given(type: ColumnType | undefined): ColumnType[] {
  return type === undefined ? [] : [type]
}

function isObjectLike(type: ColumnType): boolean {
  return type.kind === 'struct' || type.kind === 'map' || type.kind === 'json'
}

/** The type that satisfies all; json when there is no single one. */
function intersection(parts: readonly ColumnType[]): ColumnType | undefined {
  const distinct = parts.filter((part, index) => parts.findIndex((other) => same(part, other)) === index)
  if (distinct.length < 2) return distinct[0]
  const kinds = new Set(distinct.map((part) => part.kind))
  if ([...kinds].every((kind) => kind === 'long' || kind === 'double')) return { kind: 'long' }
  // A format that one part demands holds for all: what is a date-time in one part is a string in the other.
  if (kinds.size === 2 && kinds.has('string')) {
    const narrow = distinct.find((part) => formatKinds.has(part.kind))
    if (narrow !== undefined) return narrow
  }
  return json
}

/** The type that holds each of the alternatives; json when there is no single one, undefined when one of them may be anything. */
function alternativesType(alternatives: readonly Subschema[], context: Context): ColumnType | undefined {
  const types: ColumnType[] = []
  for (const alternative of alternatives) {
    if (alternative === false || isNull(alternative)) continue
    const type = typeOf(alternative, context)
    if (type === undefined) return undefined
    types.push(type)
  }
  return union(types)
}

function union(types: readonly ColumnType[]): ColumnType | undefined {
  const [first] = types
  if (first === undefined || types.every((type) => same(type, first))) return first
  const within = (...kinds: ColumnType['kind'][]) => types.every((type) => kinds.includes(type.kind))
  if (within('long', 'double')) return { kind: 'double' }
  if (within('string', ...formatKinds)) return { kind: 'string' }
  return json
}

function same(a: ColumnType, b: ColumnType): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function isNull(schema: Subschema): boolean {
  return typeof schema === 'object' && (schema['type'] === 'null' || schema['const'] === null)
}

/** What `type`, `const` and `enum` say. */
function ownType(schema: JsonSchema, context: Context): ColumnType | undefined {
  const type = schema['type']
  if (type === undefined) return valuesType(schema)
  const names = (Array.isArray(type) ? type : [type]).filter((name) => name !== 'null')
  if (names.length === 0) return json
  return union(names.map((name) => namedType(name, schema, context)))
}

function valuesType(schema: JsonSchema): ColumnType | undefined {
  const values = 'const' in schema ? [schema['const']] : schema['enum']
  if (!Array.isArray(values)) return undefined
  const types = values.filter((value) => value !== null).map(valueType)
  return types.length === 0 ? json : union(types)
}

function valueType(value: unknown): ColumnType {
  if (typeof value === 'string') return { kind: 'string' }
  if (typeof value === 'boolean') return { kind: 'boolean' }
  if (typeof value !== 'number') return json
  return { kind: Number.isInteger(value) && Math.abs(value) < 2 ** 63 ? 'long' : 'double' }
}

function namedType(name: unknown, schema: JsonSchema, context: Context): ColumnType {
  switch (name) {
    case 'string':
      return { kind: kindByFormat[String(schema['format'])] ?? 'string' }
    case 'integer':
      return { kind: 'long' }
    case 'number':
      return { kind: 'double' }
    case 'boolean':
      return { kind: 'boolean' }
    case 'array':
      return listType(schema, context)
    case 'object':
      return objectType(schema, context)
    default:
      return json
  }
}

function listType(schema: JsonSchema, context: Context): ColumnType {
  if ('prefixItems' in schema) return json
  const items = schema['items'] as Subschema | undefined
  return { kind: 'list', element: (items === undefined ? undefined : typeOf(items, context)) ?? json }
}

/** A struct if all fields are known, a map if none are but all values have one type, json otherwise. */
function objectType(schema: JsonSchema, context: Context): ColumnType {
  const shape = objectShape(schema, context.root)
  if (!shape.open && shape.fields.size > 0) return { kind: 'struct', fields: columnsOf(schema, context) }
  const values = schema['additionalProperties'] as Subschema | undefined
  if (shape.fields.size > 0 || values === undefined || 'patternProperties' in schema) return json
  const value = typeOf(values, context)
  return value === undefined ? json : { kind: 'map', value }
}
