/**
 * Dead letters: `GET /v1/dead-letters`, `GET /v1/dead-letters/replays/{id}`, and of a stream `GET /v1/streams/{stream}/dead-letters`,
 * `GET .../{id}`, `POST .../replay` and `POST .../drop`. All of it is done by the engine; this checks the request and passes it on.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { streamNamePattern } from '../../config/plan.ts'
import { nearest } from '../../config/spelling.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { GatewayContext } from '../context.ts'
import { forwardJson } from '../forward-json.ts'
import { jsonOnly, readObject, takeBody } from '../json-request.ts'

export function addDeadLetterRoutes(app: FastifyInstance, context: GatewayContext): void {
  const get = (url: string, handler: (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>): void => {
    app.get(url, (request, reply) => {
      takeBody(request, context.budget)
      return handler(request, reply)
    })
  }
  get('/v1/dead-letters', (_request, reply) => forwardJson(reply, context, 'GET', '/v1/dead-letters'))
  get('/v1/dead-letters/replays/:id', (request, reply) => {
    return forwardJson(reply, context, 'GET', `/v1/dead-letters/replays/${paramOf(request, 'id')}`)
  })
  get('/v1/streams/:stream/dead-letters', (request, reply) => {
    return forwardJson(reply, context, 'POST', `${pathOf(request)}/list`, readQuery(request))
  })
  get('/v1/streams/:stream/dead-letters/:id', (request, reply) => {
    return forwardJson(reply, context, 'GET', `${pathOf(request)}/${paramOf(request, 'id')}`)
  })
  for (const what of ['replay', 'drop'] as const) {
    app.route({
      method: 'POST',
      url: `/v1/streams/:stream/dead-letters/${what}`,
      onRequest: jsonOnly(),
      handler: (request, reply) => {
        const asked = readObject(takeBody(request, context.budget), ['where', 'all', 'dryRun'])
        const requestedBy = `${request.ip} ${(request.headers['user-agent'] ?? '').slice(0, 100)}`.trim()
        return forwardJson(reply, context, 'POST', `${pathOf(request)}/${what}`, { ...asked, requestedBy })
      },
    })
  }
}

const queryNames = ['where', 'limit']

/** @throws FreshetError `invalid_request` */
function readQuery(request: FastifyRequest): { where?: string; limit?: number } {
  const query = request.query as Record<string, unknown>
  for (const [name, value] of Object.entries(query)) {
    if (queryNames.includes(name) && typeof value === 'string') continue
    const near = nearest(name.slice(0, 100), queryNames)
    throw new FreshetError(
      'invalid_request',
      `The query parameter ${JSON.stringify(name.slice(0, 100))} is unknown, or there twice.`,
      {
        hint: near === undefined ? `There are: ${queryNames.join(', ')}.` : `Did you mean "${near}"?`,
      },
    )
  }
  const { where, limit } = query as Record<string, string | undefined>
  // A number that is none is refused where limits are known.
  return {
    ...(where !== undefined && { where }),
    ...(limit !== undefined && { limit: limit === '' ? 0 : Number(limit) || 0 }),
  }
}

function paramOf(request: FastifyRequest, name: string): string {
  return encodeURIComponent((request.params as Record<string, string>)[name]!)
}

/** @throws FreshetError `unknown_stream` */
function pathOf(request: FastifyRequest): string {
  const { stream } = request.params as { stream: string }
  if (streamNamePattern.test(stream)) return `/v1/streams/${stream}/dead-letters`
  throw new FreshetError('unknown_stream', `${JSON.stringify(stream.slice(0, 100))} cannot be the name of a stream.`)
}
