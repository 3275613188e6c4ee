/**
 * `POST /v1/streams/{stream}/erasures`, `GET /v1/erasures`, `GET /v1/erasures/{id}`: forwarded to the engine, which erases.
 *
 * What only the gateway can do comes before: it takes the time of the request by the clock that stamps events, and begins a new segment of the
 * log behind every event that was stamped until then, so that the log can let go of all of them. Ingest goes on meanwhile.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { streamNamePattern } from '../../config/plan.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { GatewayContext } from '../context.ts'
import { forwardJson } from '../forward-json.ts'
import { jsonOnly, readObject, takeBody } from '../json-request.ts'

const partition = 0
const stampPollMs = 1

export function addErasureRoutes(app: FastifyInstance, context: GatewayContext): void {
  app.route({
    method: 'POST',
    url: '/v1/streams/:stream/erasures',
    onRequest: jsonOnly(),
    handler: (request, reply) => requestErasure(request, reply, context),
  })
  app.get('/v1/erasures', (_request, reply) => forwardJson(reply, context, 'GET', '/v1/erasures'))
  app.get('/v1/erasures/:id', (request, reply) => {
    const { id } = request.params as { id: string }
    return forwardJson(reply, context, 'GET', `/v1/erasures/${encodeURIComponent(id)}`)
  })
}

async function requestErasure(
  request: FastifyRequest,
  reply: FastifyReply,
  context: GatewayContext,
): Promise<FastifyReply> {
  const {
    where,
    all = false,
    dryRun = false,
  } = readObject(takeBody(request, context.budget), ['where', 'all', 'dryRun'])
  const { stream } = request.params as { stream: string }
  if (!streamNamePattern.test(stream)) {
    throw new FreshetError('unknown_stream', `${JSON.stringify(stream.slice(0, 100))} cannot be the name of a stream.`)
  }
  if (typeof where !== 'string') {
    throw new FreshetError('invalid_request', 'The body has no "where" text.', {
      hint: `Send {"where": "customer_id = 'c-17'"}.`,
    })
  }
  const path = `/v1/streams/${stream}/erasures`
  const untilMs = context.arrival.nowMs()
  if (dryRun !== false) return forwardJson(reply, context, 'POST', path, { where, all, dryRun, untilMs })
  const refusal = await context.engine.forward({
    method: 'POST',
    path: `${path}/admit`,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify({ where, all })),
    signal: AbortSignal.timeout(context.plan.sql.timeoutMs),
  })
  if (refusal.status !== 204) {
    return reply.code(refusal.status).type(String(refusal.headers['content-type'])).send(refusal.body)
  }
  refusal.body.resume()
  const position = (await rollBehind(context, stream, untilMs)).get(partition) ?? 0n
  const requestedBy = `${request.ip} ${(request.headers['user-agent'] ?? '').slice(0, 100)}`.trim()
  return forwardJson(reply, context, 'POST', path, {
    where,
    all,
    untilMs,
    position: String(position),
    requestedBy,
  })
}

/** Begins a segment behind all events that were stamped until a time: once the stamps are past it, all of those are on their way. */
async function rollBehind(
  context: GatewayContext,
  stream: string,
  untilMs: number,
): ReturnType<GatewayContext['rollLog']> {
  while (context.arrival.nowMs() <= untilMs) await new Promise((resolve) => setTimeout(resolve, stampPollMs))
  return context.rollLog(stream)
}
