import type { JsonSchema } from './define.ts'
import type { StreamPlan } from './plan.ts'
import { validatedFormats } from './schema-rules.ts'

/** Seconds of 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z since 1970: the times that every reader of the tables can show. */
const firstSecond = -62_135_596_800
const lastSecond = 253_402_300_799
const unitsPerSecond = { s: 1, ms: 1e3, us: 1e6 } as const

/**
 * The JSON Schema (draft 2020-12) that the gateway compiles for a stream's events: the user's, and on top of it what the table
 * needs. Integers fit a 64-bit column; the id is there, and is text that is not empty or an integer that JSON.parse keeps exactly
 * (two ids must never round to one: I5); the event time is there and within the years 1 to 9999. Formats that no validator knows
 * are left out. Field names with `_` in front are the gateway's to refuse.
 */
export function eventSchema(stream: Pick<StreamPlan, 'schema' | 'id' | 'time'>): JsonSchema {
  const demands: Record<string, unknown>[] = []
  if (stream.id !== null) demands.push(demand(stream.id, idSchema))
  if (stream.time !== null) demands.push(demand(stream.time.field, timeSchema(stream.time.unit)))
  const { $schema: _, $id: __, ...schema } = bounded(stream.schema ?? {}) as JsonSchema
  const allOf = [...((schema['allOf'] as unknown[] | undefined) ?? []), ...demands]
  return { type: 'object', ...schema, ...(allOf.length === 0 ? {} : { allOf }) }
}

const idSchema = {
  type: ['string', 'integer'],
  minLength: 1,
  minimum: Number.MIN_SAFE_INTEGER,
  maximum: Number.MAX_SAFE_INTEGER,
}

function timeSchema(unit: NonNullable<StreamPlan['time']>['unit']): Record<string, unknown> {
  if (unit === 'iso') return { type: 'string', format: 'date-time' }
  const scale = unitsPerSecond[unit]
  return { type: 'number', minimum: firstSecond * scale, maximum: lastSecond * scale }
}

function demand(field: string, schema: Record<string, unknown>): Record<string, unknown> {
  return { properties: { [field]: schema }, required: [field] }
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
