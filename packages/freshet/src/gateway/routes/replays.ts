/**
 * Replays of streams: `POST /v1/streams/{stream}/replays`, `GET /v1/replays`, `GET /v1/replays/{id}`, `POST /v1/replays/{id}/apply` and `POST .../undo`.
 * All of it is done by the engine; this checks the request and passes it on, with who asked.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { streamNamePattern } from '../../config/plan.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { GatewayContext } from '../context.ts'
import { forwardJson } from '../forward-json.ts'
import { jsonOnly, readObject, takeBody } from '../json-request.ts'

export function addReplayRoutes(app: FastifyInstance, context: GatewayContext): void {
  const get = (url: string, pathOf: (request: FastifyRequest) => string): void => {
    app.get(url, (request, reply) => {
      takeBody(request, context.budget)
      return forwardJson(reply, context, 'GET', pathOf(request))
    })
  }
  const post = (url: string, known: readonly string[], pathOf: (request: FastifyRequest) => string): void => {
    app.route({
      method: 'POST',
      url,
      onRequest: jsonOnly(),
      handler: (request, reply): Promise<FastifyReply> => {
        const asked = readObject(takeBody(request, context.budget), known)
        const requestedBy = `${request.ip} ${(request.headers['user-agent'] ?? '').slice(0, 100)}`.trim()
        return forwardJson(reply, context, 'POST', pathOf(request), { ...asked, requestedBy })
      },
    })
  }
  get('/v1/replays', () => '/v1/replays')
  get('/v1/replays/:id', replayPath)
  post('/v1/streams/:stream/replays', ['from', 'to', 'dryRun', 'keepMs'], streamPath)
  for (const what of ['apply', 'undo'])
    post(`/v1/replays/:id/${what}`, [], (request) => `${replayPath(request)}/${what}`)
}

function replayPath(request: FastifyRequest): string {
  const { id } = request.params as { id: string }
  return `/v1/replays/${encodeURIComponent(id)}`
}

/** @throws FreshetError `unknown_stream` */
function streamPath(request: FastifyRequest): string {
  const { stream } = request.params as { stream: string }
  if (streamNamePattern.test(stream)) return `/v1/streams/${stream}/replays`
  throw new FreshetError('unknown_stream', `${JSON.stringify(stream.slice(0, 100))} cannot be the name of a stream.`)
}
