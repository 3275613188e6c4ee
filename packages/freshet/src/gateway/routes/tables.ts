/** `/v1/tables/{table}/tags` and `/v1/tables/{table}/rollback`: forwarded to the engine. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { GatewayContext } from '../context.ts'
import { forwardJson } from '../forward-json.ts'
import { jsonOnly, readObject, takeBody } from '../json-request.ts'

export function addTableRoutes(app: FastifyInstance, context: GatewayContext): void {
  app.get('/v1/tables/:table/tags', (request, reply) => forwardJson(reply, context, 'GET', pathOf(request, 'tags')))
  post(app, '/v1/tables/:table/tags', (request, reply) => {
    const body = readObject(takeBody(request, context.budget), ['name', 'snapshot', 'maxAgeMs'])
    return forwardJson(reply, context, 'POST', pathOf(request, 'tags'), body)
  })
  app.delete('/v1/tables/:table/tags/:tag', (request, reply) => {
    takeBody(request, context.budget)
    const { tag } = request.params as { tag: string }
    return forwardJson(reply, context, 'DELETE', `${pathOf(request, 'tags')}/${encodeURIComponent(tag)}`)
  })
  post(app, '/v1/tables/:table/rollback', (request, reply) => {
    const body = readObject(takeBody(request, context.budget), ['to', 'dryRun'])
    return forwardJson(reply, context, 'POST', pathOf(request, 'rollback'), body)
  })
}

function post(
  app: FastifyInstance,
  url: string,
  handler: (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>,
): void {
  app.route({
    method: 'POST',
    url,
    onRequest: jsonOnly(),
    handler,
  })
}

function pathOf(request: FastifyRequest, what: string): string {
  const { table } = request.params as { table: string }
  return `/v1/tables/${encodeURIComponent(table)}/${what}`
}
