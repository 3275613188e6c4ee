/** `POST /v1/maintenance`, `GET /v1/maintenance/{run}`: upkeep of the tables, forwarded to the engine. */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { FreshetError } from '../../runtime/errors.ts'
import type { GatewayContext } from '../context.ts'
import { admitJson, readObject, takeBody } from '../json-request.ts'

export function addMaintenanceRoutes(app: FastifyInstance, context: GatewayContext): void {
  app.route({
    method: 'POST',
    url: '/v1/maintenance',
    onRequest: (request, _reply, done) => {
      try {
        admitJson(request)
        done()
      } catch (error) {
        done(error as Error)
      }
    },
    handler: (request, reply) => {
      const body = readObject(takeBody(request, context.budget), ['table', 'job', 'dryRun'])
      return forward(reply, context, '/v1/maintenance', Buffer.from(JSON.stringify(body)))
    },
  })
  app.get('/v1/maintenance/:run', (request, reply) => {
    const { run } = request.params as { run: string }
    if (!/^\d{1,15}$/.test(run)) {
      throw new FreshetError('not_found', `There is no run ${JSON.stringify(run.slice(0, 100))} of upkeep.`, {
        hint: 'POST /v1/maintenance answers with the number of its run.',
      })
    }
    return forward(reply, context, `/v1/maintenance/${run}`)
  })
}

async function forward(
  reply: FastifyReply,
  context: GatewayContext,
  path: string,
  body?: Buffer,
): Promise<FastifyReply> {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  const answer = await context.engine.forward({
    method: body === undefined ? 'GET' : 'POST',
    path,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    ...(body !== undefined && { body }),
    signal: gone.signal,
  })
  const type = answer.headers['content-type']
  if (typeof type === 'string') reply.header('content-type', type)
  return reply.code(answer.status).send(answer.body)
}
