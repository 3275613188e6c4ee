import type { JsonSchema } from './define.ts'

/** A JSON Schema, or `true` (anything) or `false` (nothing). */
export type Subschema = JsonSchema | boolean

/** What a schema says about the fields of an object. */
export interface ObjectShape {
  /** In the order of the schema. */
  fields: Map<string, { schema: Subschema; required: boolean }>
  /** True when fields that are not named may be there. */
  open: boolean
}

/** The schema that a local `$ref` (`#`, `#/$defs/price`) points to; undefined when there is none. */
export function lookUp(root: JsonSchema, ref: string): Subschema | undefined {
  if (ref !== '#' && !ref.startsWith('#/')) return undefined
  let target: unknown = root
  for (const part of ref.split('/').slice(1)) {
    const name = safelyDecoded(part).replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof target !== 'object' || target === null || !Object.hasOwn(target, name)) return undefined
    target = (target as Record<string, unknown>)[name]
  }
  return isSubschema(target) ? target : undefined
}

function safelyDecoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

export function isSubschema(value: unknown): value is Subschema {
  return typeof value === 'boolean' || (typeof value === 'object' && value !== null && !Array.isArray(value))
}

/** The schemas in a member that is an array of them; empty when it is absent. */
export function members(value: unknown): Subschema[] {
  return Array.isArray(value) ? value.filter(isSubschema) : []
}

/**
 * The fields of the objects that `schema` allows, through `$ref`, `allOf`, `anyOf` and `oneOf`. Fields of alternatives are all
 * there, and required when every alternative requires them. The schema must be checked: its references resolve without a circle.
 */
export function objectShape(schema: Subschema, root: JsonSchema): ObjectShape {
  if (typeof schema === 'boolean') return { fields: new Map(), open: true }
  const parts = [ownShape(schema)]
  if (typeof schema['$ref'] === 'string') parts.push(objectShape(lookUp(root, schema['$ref']) ?? true, root))
  for (const part of members(schema['allOf'])) parts.push(objectShape(part, root))
  for (const keyword of ['anyOf', 'oneOf']) {
    const alternatives = members(schema[keyword]).filter((part) => part !== false && mayBeObject(part))
    if (alternatives.length > 0) parts.push(anyShape(alternatives.map((part) => objectShape(part, root))))
  }
  return allShapes(parts, schema)
}

function ownShape(schema: JsonSchema): ObjectShape {
  const required = new Set(Array.isArray(schema['required']) ? schema['required'] : [])
  const fields: ObjectShape['fields'] = new Map()
  const properties = Object.entries((schema['properties'] ?? {}) as Record<string, Subschema>)
  for (const [name, field] of properties) {
    if (field !== false && !isNever(field)) fields.set(name, { schema: field, required: required.has(name) })
  }
  for (const name of required) {
    if (!fields.has(name as string)) fields.set(name as string, { schema: true, required: true })
  }
  const patterns = Object.keys(schema['patternProperties'] ?? {}).length > 0
  return { fields, open: patterns || schema['additionalProperties'] !== false }
}

function isNever(schema: Subschema): boolean {
  const not = typeof schema === 'object' ? schema['not'] : undefined
  return not === true || (typeof not === 'object' && not !== null && Object.keys(not).length === 0)
}

function mayBeObject(schema: Subschema): boolean {
  const type = typeof schema === 'object' ? schema['type'] : undefined
  return type === undefined || type === 'object' || (Array.isArray(type) && type.includes('object'))
}

/** The shape of what satisfies every part. */
function allShapes(parts: ObjectShape[], schema: JsonSchema): ObjectShape {
  const fields: ObjectShape['fields'] = new Map()
  for (const part of parts) {
    for (const [name, field] of part.fields) {
      const before = fields.get(name)
      if (before === undefined) fields.set(name, field)
      else fields.set(name, { schema: both(before.schema, field.schema), required: before.required || field.required })
    }
  }
  // What `if` and its kin evaluate is not looked into, so only without them are all the fields known.
  const conditional = 'if' in schema || 'dependentSchemas' in schema
  const sealed = schema['unevaluatedProperties'] === false && !conditional && !('patternProperties' in schema)
  return { fields, open: !sealed && parts.every((part) => part.open) }
}

/** The shape of what satisfies one part at least. */
function anyShape(parts: ObjectShape[]): ObjectShape {
  const fields: ObjectShape['fields'] = new Map()
  for (const part of parts) {
    for (const [name, field] of part.fields) {
      const before = fields.get(name)
      const required = parts.every((other) => other.fields.get(name)?.required === true)
      fields.set(name, { schema: before === undefined ? field.schema : either(before.schema, field.schema), required })
    }
  }
  return { fields, open: parts.some((part) => part.open) }
}

function both(a: Subschema, b: Subschema): Subschema {
  if (a === true) return b
  return b === true ? a : { allOf: [a, b] }
}

function either(a: Subschema, b: Subschema): Subschema {
  return JSON.stringify(a) === JSON.stringify(b) ? a : { anyOf: [a, b] }
}
