/** Answers errors as problem+json (RFC 9457), whatever stage they come from. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { FreshetError, messageOf, toProblem, type Problem } from '../runtime/errors.ts'

export const problemType = 'application/problem+json; charset=utf-8'

/** Unread bodies up to this size are simply read to their end; for larger ones the connection is closed. */
const drainBytesMax = 64 * 1024
/** How long a client that is still sending has to read the answer before the connection is cut. */
const lingerMs = 1000
/** ... and how much it may send in that time. */
const lingerBytesMax = 64 * 1024 * 1024

/** Turns what a framework raises into our own errors. */
function asFreshetError(error: unknown): unknown {
  if (error instanceof FreshetError) return error
  const { code, statusCode } = error as Partial<FastifyError>
  switch (code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return new FreshetError('unsupported_media_type', 'The Content-Type header cannot be read.')
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new FreshetError('invalid_body', 'The body has another length than Content-Length says.')
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new FreshetError('invalid_request', 'The path cannot be read.')
    default:
      return statusCode !== undefined && statusCode >= 400 && statusCode < 500
        ? new FreshetError('invalid_request', messageOf(error))
        : error
  }
}

/** Seconds after which a refused request is worth sending again. */
function retryAfterSeconds(problem: Problem): number {
  return problem.code === 'disk_full' ? 30 : 1
}

/** Sends a problem. A client that is still sending a large body gets the answer, and then its connection closed. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, error: unknown): void {
  const problem = toProblem(asFreshetError(error))
  if (problem.status >= 500 && problem.status !== 503)
    request.server.log.error({ err: error, url: request.url }, 'request failed')
  const text = JSON.stringify(problem)
  const headers: Record<string, string> = { 'content-type': problemType }
  if (problem.status === 503) headers['retry-after'] = String(retryAfterSeconds(problem))
  if (isStillSending(request)) {
    closeAfter(request, reply, problem.status, headers, text)
    return
  }
  void reply.code(problem.status).headers(headers).send(text)
}

function isStillSending(request: FastifyRequest): boolean {
  if (request.raw.complete) return false
  const length = request.headers['content-length']
  return request.headers['transfer-encoding'] !== undefined || Number(length ?? 0) > drainBytesMax
}

/**
 * Answers at once, then reads on without keeping anything until the client has stopped, or for a bounded time and amount: closing a
 * connection with unread bytes in it would reset it, and the client could lose the answer.
 */
function closeAfter(
  request: FastifyRequest,
  reply: FastifyReply,
  status: number,
  headers: Record<string, string>,
  text: string,
): void {
  reply.hijack()
  const { raw: response } = reply
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(text), connection: 'close' })
  response.write(text)
  const finish = (): void => {
    clearTimeout(timer)
    response.end()
  }
  const timer = setTimeout(finish, lingerMs)
  let bytes = 0
  const count = (piece: Buffer): void => {
    bytes += piece.length
    if (bytes > lingerBytesMax) finish()
  }
  request.raw.once('end', finish).once('close', finish).once('error', finish)
  request.raw.on('data', count).resume()
}
