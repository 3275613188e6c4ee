/** One compiled validator a stream; nothing is coerced, filled in or removed. */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import { fullFormats } from 'ajv-formats/dist/formats.js'
import type { StreamPlan } from '../config/plan.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import { isoToUtc } from './event-time.ts'
import { nearest } from './nearest.ts'
import { compilePattern } from './pattern.ts'
import { pointer, type EventFault } from './refusal.ts'

export type Validator = (event: Record<string, unknown>) => EventFault | undefined

/** Formats that are a plain function or a short linear match. */
const freeFormats = [
  'date',
  'time',
  'date-time',
  'duration',
  'ipv4',
  'uuid',
  'json-pointer',
  'int32',
  'int64',
  'byte',
] as const
/** Formats whose regular expressions can take quadratic time: longer text than this does not have the format. */
const boundedFormats = ['email', 'hostname', 'ipv6', 'uri', 'uri-reference'] as const
const boundedFormatLength = 2048

const isDateTime = (fullFormats['date-time'] as { validate: (text: string) => boolean }).validate

/** Answers for nearly all valid texts, at a tenth of the cost of the full check. */
function isCommonDateTime(text: string): boolean {
  return text.length >= 20 && text.charCodeAt(10) === 84 && typeof isoToUtc(text) === 'string'
}

function createAjv(): Ajv2020 {
  const ajv = new Ajv2020({
    strict: false,
    allErrors: false,
    coerceTypes: false,
    useDefaults: false,
    validateSchema: true,
    logger: false,
    code: { regExp: compilePattern },
  })
  for (const name of freeFormats) ajv.addFormat(name, fullFormats[name])
  ajv.addFormat('date-time', (text: string) => isCommonDateTime(text) || isDateTime(text))
  for (const name of boundedFormats) {
    const format = fullFormats[name] as RegExp | ((text: string) => boolean)
    ajv.addFormat(name, (text: string) => {
      if (text.length > boundedFormatLength) return false
      return typeof format === 'function' ? format(text) : format.test(text)
    })
  }
  return ajv
}

const acceptAll: Validator = () => undefined

/** @throws FreshetError `config_invalid` when the schema cannot be compiled */
export function compileValidator(plan: Pick<StreamPlan, 'name' | 'schema'>): Validator {
  if (plan.schema === null) return acceptAll
  const fields = Object.keys((plan.schema['properties'] as object | undefined) ?? {})
  let validate: ReturnType<Ajv2020['compile']>
  try {
    validate = createAjv().compile(plan.schema)
  } catch (error) {
    throw new FreshetError(
      'config_invalid',
      `The schema of stream "${plan.name}" cannot be compiled: ${messageOf(error)}`,
      {
        hint: 'It must be JSON Schema, draft 2020-12.',
        cause: error,
      },
    )
  }
  if ('$async' in validate) {
    throw new FreshetError(
      'config_invalid',
      `The schema of stream "${plan.name}" is asynchronous ($async), which is not supported.`,
    )
  }
  return (event) => (validate(event) === true ? undefined : describe(validate.errors?.[0], fields))
}

function describe(error: ErrorObject | undefined, fields: readonly string[]): EventFault {
  if (error === undefined) return { code: 'schema_violation', path: '', reason: 'does not match the schema' }
  const { instancePath, keyword, params, message = 'does not match the schema' } = error
  const violation = (path: string, reason: string): EventFault => ({ code: 'schema_violation', path, reason })
  if (keyword === 'required') return violation(pointer(instancePath, String(params['missingProperty'])), 'is required')
  const unknown = params['additionalProperty'] ?? params['unevaluatedProperty']
  if (typeof unknown === 'string') {
    const near = instancePath === '' ? nearest(unknown, fields) : undefined
    const reason =
      near === undefined ? 'is not a field of the schema' : `is not a field of the schema; the nearest is "${near}"`
    return violation(pointer(instancePath, unknown), reason)
  }
  if (keyword === 'enum') return violation(instancePath, `must be one of ${preview(params['allowedValues'])}`)
  if (keyword === 'const') return violation(instancePath, `must be ${preview(params['allowedValue'])}`)
  return violation(instancePath, message)
}

function preview(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}
