import type { JsonSchema } from './define.ts'
import { validatedFormats } from './schema-rules.ts'

/**
 * The JSON Schema (draft 2020-12) that the gateway compiles for a stream's events: the user's, with integers bounded to what a
 * 64-bit column holds, and without formats that no validator knows. Ids and event times are the gateway's own to check.
 */
export function eventSchema(schema: JsonSchema): JsonSchema {
  const { $schema: _, $id: __, ...fitted } = bounded(schema) as JsonSchema
  return { type: 'object', ...fitted }
}

/** Members that hold values of the user's, not schemas. */
const opaque = new Set(['const', 'enum', 'default', 'examples', 'example'])

/** `schema` with int64 bounds on integers and without unknown formats. `inNames`: the members are named by the user, not keywords. */
function bounded(schema: unknown, inNames = false): unknown {
  if (Array.isArray(schema)) return schema.map((part) => bounded(part))
  if (typeof schema !== 'object' || schema === null) return schema
  const copy: Record<string, unknown> = {}
  for (const [member, value] of Object.entries(schema)) {
    if (inNames) copy[member] = bounded(value)
    else if (opaque.has(member)) copy[member] = value
    else if (member !== 'format' || validatedFormats.has(String(value)))
      copy[member] = bounded(value, namesFields(member))
  }
  if (inNames) return copy
  const types = [copy['type']].flat()
  if (types.includes('integer') && !types.includes('number')) boundInteger(copy)
  return copy
}

function namesFields(member: string): boolean {
  return ['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas', 'dependentRequired'].includes(
    member,
  )
}

/** 2^63 is the first that does not fit, and what the largest that fits becomes in JSON.parse: both are refused. */
function boundInteger(schema: Record<string, unknown>): void {
  const minimum = schema['minimum']
  const maximum = schema['maximum']
  if (typeof minimum !== 'number' || minimum < -(2 ** 63)) schema['minimum'] = -(2 ** 63)
  if (typeof maximum === 'number' && maximum < 2 ** 63) return
  delete schema['maximum']
  const exclusive = schema['exclusiveMaximum']
  schema['exclusiveMaximum'] = typeof exclusive === 'number' ? Math.min(exclusive, 2 ** 63) : 2 ** 63
}
