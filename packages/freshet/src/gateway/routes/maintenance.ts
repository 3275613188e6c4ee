/** `POST /v1/maintenance`, `GET /v1/maintenance/{run}`: upkeep of the tables, forwarded to the engine. */
import type { FastifyInstance } from 'fastify'
import { FreshetError } from '../../runtime/errors.ts'
import type { GatewayContext } from '../context.ts'
import { forwardJson } from '../forward-json.ts'
import { jsonOnly, readObject, takeBody } from '../json-request.ts'

export function addMaintenanceRoutes(app: FastifyInstance, context: GatewayContext): void {
  app.route({
    method: 'POST',
    url: '/v1/maintenance',
    onRequest: jsonOnly(),
    handler: (request, reply) => {
      const body = readObject(takeBody(request, context.budget), ['table', 'job', 'dryRun'])
      return forwardJson(reply, context, 'POST', '/v1/maintenance', body)
    },
  })
  app.get('/v1/maintenance/:run', (request, reply) => {
    const { run } = request.params as { run: string }
    if (!/^\d{1,15}$/.test(run)) {
      throw new FreshetError('not_found', `There is no run ${JSON.stringify(run.slice(0, 100))} of upkeep.`, {
        hint: 'POST /v1/maintenance answers with the number of its run.',
      })
    }
    return forwardJson(reply, context, 'GET', `/v1/maintenance/${run}`)
  })
}
