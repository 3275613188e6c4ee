/** One compiled validator a stream, for every check of its events; nothing is coerced, filled in or removed. */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import { fullFormats } from 'ajv-formats/dist/formats.js'
import type { StreamPlan } from '../config/plan.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import { faultOf } from './check-event.ts'
import { isCanonicalTime } from './event-time.ts'
import { eventSchema } from '../config/event-schema.ts'
import { nearest } from '../config/spelling.ts'
import { underPresentNames } from './former-names.ts'
import { compilePattern } from './pattern.ts'
import { pointer, type EventFault } from './refusal.ts'
import { boundsValues, closedFields } from './schema-shape.ts'
import { compileTypeCheck, hasKind } from './typed-values.ts'

export type Validator = (event: Record<string, unknown>) => EventFault | undefined

/** Formats that are a plain function or a short linear match. */
const freeFormats = ['date', 'duration', 'ipv4', 'uuid', 'json-pointer', 'int32', 'int64', 'byte'] as const
/** Formats whose regular expressions can take quadratic time: longer text than this does not have the format. */
const boundedFormats = ['email', 'hostname', 'ipv6', 'uri', 'uri-reference'] as const
const boundedFormatLength = 2048

const isDateTime = (fullFormats['date-time'] as { validate: (text: string) => boolean }).validate

const isTime = (fullFormats['time'] as { validate: (text: string) => boolean }).validate
/** Forms without an offset, which columns of type timestamp and time take; what exactly they take is for the column to say. */
const localDateTime = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?$/
const localTime = /^\d\d:\d\d(?::\d\d(?:\.\d+)?)?$/

/** @param local true to let date-times without an offset pass: columns say which of them may have none */
function createAjv(local = false): Ajv2020 {
  const ajv = new Ajv2020({
    strict: false,
    // JSON can write numbers that overflow to infinity.
    strictNumbers: true,
    allErrors: false,
    coerceTypes: false,
    useDefaults: false,
    validateSchema: false,
    logger: false,
    code: { regExp: compilePattern },
  })
  for (const name of freeFormats) ajv.addFormat(name, fullFormats[name])
  ajv.addFormat(
    'date-time',
    (text: string) => isCanonicalTime(text) || isDateTime(text) || (local && localDateTime.test(text)),
  )
  ajv.addFormat('time', (text: string) => localTime.test(text) || isTime(text))
  for (const name of boundedFormats) {
    const format = fullFormats[name] as RegExp | ((text: string) => boolean)
    ajv.addFormat(name, (text: string) => {
      if (text.length > boundedFormatLength) return false
      return typeof format === 'function' ? format(text) : format.test(text)
    })
  }
  return ajv
}

/**
 * Everything an event of one stream must be, besides having an id and a time.
 *
 * Most events of a stream have the same fields in the same order as the one before. When the schema itself bounds their values,
 * such an event goes straight to the compiled schema, whose own check for unknown fields (a comparison of every name with every
 * other) is done here as well.
 * @param nestingMax levels of objects and arrays; a flat event has one
 * @throws FreshetError `config_invalid` when the schema cannot be compiled
 */
export function compileValidator(
  plan: Pick<StreamPlan, 'name' | 'schema' | 'renames'> & Partial<Pick<StreamPlan, 'columns'>>,
  nestingMax: number,
): Validator {
  const { schema, columns = null, renames } = plan
  if (schema === null) return (event) => faultOf(event, nestingMax)
  const names = Object.keys((schema['properties'] as object | undefined) ?? {})
  const closed = closedFields(schema)
  const { additionalProperties: _, ...open } = schema
  const local = columns?.some(({ type }) => hasKind(type, 'timestamp')) === true
  const validate = compileSchema(plan.name, eventSchema(closed === undefined ? schema : open), local)
  const checkTypes = compileTypeCheck(columns)
  const isBounded = closed !== undefined && boundsValues(schema, nestingMax)
  let usualNames: readonly string[] = []
  return underPresentNames(renames, (event) => {
    if (!isBounded || !hasNames(event, usualNames)) {
      const fault = faultOf(event, nestingMax) ?? (closed && unknownField(event, closed))
      if (fault !== undefined) return fault
      usualNames = Object.keys(event)
    }
    return validate(event) === true ? checkTypes?.(event) : describe(validate.errors?.[0], names)
  })
}

function hasNames(event: Record<string, unknown>, names: readonly string[]): boolean {
  let count = 0
  for (const name in event) if (name !== names[count++]) return false
  return count === names.length
}

function unknownField(event: Record<string, unknown>, fields: ReadonlySet<string>): EventFault | undefined {
  for (const name in event) if (!fields.has(name)) return unknownFieldFault('', name, fields)
  return undefined
}

/** Checks the schemas themselves: compiling what describes those takes longer than most of them, so it is done once. */
let schemaChecker: Ajv2020 | undefined

function compileSchema(
  stream: string,
  schema: Record<string, unknown>,
  local: boolean,
): ReturnType<Ajv2020['compile']> {
  let validate: ReturnType<Ajv2020['compile']>
  try {
    schemaChecker ??= createAjv()
    void schemaChecker.validateSchema(schema, true)
    validate = createAjv(local).compile(schema)
  } catch (error) {
    throw new FreshetError(
      'config_invalid',
      `The schema of stream "${stream}" cannot be compiled: ${messageOf(error)}`,
      {
        hint: 'It must be JSON Schema, draft 2020-12.',
        cause: error,
      },
    )
  }
  if ('$async' in validate) {
    throw new FreshetError(
      'config_invalid',
      `The schema of stream "${stream}" is asynchronous ($async), which is not supported.`,
    )
  }
  return validate
}

function describe(error: ErrorObject | undefined, fields: readonly string[]): EventFault {
  if (error === undefined) return violation('', 'does not match the schema')
  const { instancePath, keyword, params, message = 'does not match the schema' } = error
  if (keyword === 'required') return violation(pointer(instancePath, String(params['missingProperty'])), 'is required')
  const unknown = params['additionalProperty'] ?? params['unevaluatedProperty']
  if (typeof unknown === 'string') return unknownFieldFault(instancePath, unknown, fields)
  if (keyword === 'enum') return violation(instancePath, `must be one of ${preview(params['allowedValues'])}`)
  if (keyword === 'const') return violation(instancePath, `must be ${preview(params['allowedValue'])}`)
  return violation(instancePath, message)
}

function unknownFieldFault(path: string, name: string, fields: Iterable<string>): EventFault {
  const near = path === '' ? nearest(name, fields) : undefined
  const hint = near === undefined ? '' : `; the nearest is "${near}"`
  return violation(pointer(path, name), `is not a field of the schema${hint}`)
}

function violation(path: string, reason: string): EventFault {
  return { code: 'schema_violation', path, reason }
}

function preview(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}
