/** What the descriptions of routes in openapi.ts are put together from. */
import { errorCodes, type ErrorCode } from '../runtime/error-codes.ts'

export type Json = Record<string, unknown>

export const retryAfter: Json = {
  'Retry-After': {
    description: 'Seconds to wait before the same request is worth sending again.',
    schema: { type: 'integer' },
  },
}

export interface OpenApiOperation extends Json {
  summary: string
  description?: string
  parameters?: { name: string; in: string; required?: boolean; description: string; schema: Json }[]
  requestBody?: { required: boolean; content: Record<string, Json> }
  responses: Record<string, { description: string; headers?: Json; content?: Record<string, Json> }>
}

export function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}

export function json(schema: Json): Record<string, Json> {
  return { 'application/json': { schema } }
}

type Parameter = NonNullable<OpenApiOperation['parameters']>[number]

export function query(name: string, description: string, schema: Json): Parameter {
  return { name, in: 'query', required: false, description, schema }
}

export function header(name: string, description: string, maxLength: number): Parameter {
  return { name, in: 'header', required: false, description, schema: { type: 'string', minLength: 1, maxLength } }
}

/** The answers for a set of errors, one a status. */
export function problems(codes: readonly ErrorCode[]): OpenApiOperation['responses'] {
  const byStatus = Map.groupBy(codes, (code) => String(errorCodes[code].status))
  return Object.fromEntries(
    [...byStatus].map(([number, group]) => [
      number,
      {
        description: group.map((code) => `\`${code}\`: ${errorCodes[code].title}.`).join(' '),
        ...(number === '503' && { headers: retryAfter }),
        content: { 'application/problem+json': { schema: ref('Problem') } },
      },
    ]),
  )
}
