/** Small requests in JSON: what the routes that are not about events take. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { nearest } from '../config/spelling.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { ByteBudget } from './byte-budget.ts'
import { bodyEncoding, bodyForm, toText } from './decode.ts'
import { findJsonFault, placeOf } from '../events/json-text.ts'

const bytesMax = 64 * 1024

/**
 * Checks the head of a request before its body is read.
 * @throws FreshetError `unsupported_media_type`, `unsupported_encoding`, `body_too_large`
 */
function admitJson({ headers }: FastifyRequest): void {
  const type = headers['content-type'] ?? ''
  if (type.split(';')[0]!.trim().toLowerCase() !== 'application/json') {
    throw new FreshetError('unsupported_media_type', 'The body must be one JSON object.', {
      hint: "Send it with Content-Type 'application/json'.",
    })
  }
  // Refuses other character sets.
  bodyForm(type)
  if (bodyEncoding(headers['content-encoding']) !== 'identity') {
    throw new FreshetError('unsupported_encoding', 'A body as small as this is not compressed.', {
      hint: 'Leave Content-Encoding out.',
    })
  }
  checkSize(Number(headers['content-length'] ?? 0))
}

/**
 * The `onRequest` hook of a route that takes such a body.
 * @param check what else is to hold of the request, before its body is read; throws when it does not
 */
export function jsonOnly(check?: (request: FastifyRequest) => void) {
  return (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void => {
    try {
      admitJson(request)
      check?.(request)
      done()
    } catch (error) {
      done(error as Error)
    }
  }
}

/** The body, whose bytes go back to the budget that they were taken from. */
export function takeBody(request: FastifyRequest, budget: ByteBudget): Buffer {
  const body = (request.body as Buffer | undefined) ?? Buffer.alloc(0)
  budget.give(body.length)
  return body
}

/**
 * The members of the JSON object that a body is.
 * @param known the members it may have
 * @throws FreshetError `body_too_large`, `invalid_body`, `invalid_json`, `invalid_request`
 */
export function readObject<Name extends string>(
  body: Buffer,
  known: readonly Name[],
  bodyBytesMax = bytesMax,
): Readonly<Partial<Record<Name, unknown>>> {
  checkSize(body.length, bodyBytesMax)
  const { text } = toText(body)
  const value = parse(text)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FreshetError('invalid_request', 'The body must be one JSON object.', { hint: example(known) })
  }
  for (const name of Object.keys(value)) {
    if ((known as readonly string[]).includes(name)) continue
    const near = nearest(name.slice(0, 100), known)
    throw new FreshetError('invalid_request', `Unknown member ${JSON.stringify(name.slice(0, 100))}.`, {
      hint: near === undefined ? example(known) : `Did you mean "${near}"?`,
    })
  }
  return value as Partial<Record<Name, unknown>>
}

function checkSize(bytes: number, most = bytesMax): void {
  if (bytes > most) throw new FreshetError('body_too_large', `This body may have at most ${most} bytes.`)
}

function example(known: readonly string[]): string {
  return `It may have: ${known.join(', ')}.`
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    const { offset, reason } = findJsonFault(text) ?? { offset: 0, reason: 'cannot be parsed' }
    const { line, column } = placeOf(text, offset)
    throw new FreshetError('invalid_json', `The body is not JSON: line ${line}, column ${column}: ${reason}.`, {
      extra: { line, column },
    })
  }
}
