/**
 * `POST /v1/streams/{stream}/heartbeats`: a source says that it has sent all there is up to a time. It goes into the stream's log
 * as a batch without events, in order with the data, and is acknowledged when it is durable (I1).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FreshetError } from '../../runtime/errors.ts'
import { reportAheadMsMax } from '../../sites/site-registry.ts'
import { readBatchHeaders } from '../batch-headers.ts'
import type { GatewayContext } from '../context.ts'
import { isoToUtc } from '../../events/event-time.ts'
import { jsonOnly, readObject, takeBody } from '../json-request.ts'

export function addHeartbeatRoute(app: FastifyInstance, context: GatewayContext): void {
  app.route({
    method: 'POST',
    url: '/v1/streams/:stream/heartbeats',
    onRequest: jsonOnly((request) => {
      sourceOf(request)
      context.doors.find(streamOf(request))
    }),
    handler: (request, reply) => takeHeartbeat(request, reply, context),
  })
}

async function takeHeartbeat(request: FastifyRequest, reply: FastifyReply, context: GatewayContext): Promise<unknown> {
  const { until } = readObject(takeBody(request, context.budget), ['until'])
  const door = context.doors.find(streamOf(request))
  const source = sourceOf(request)
  const receivedAtMs = context.arrival.nowMs()
  const untilMs = readUntil(until, receivedAtMs)
  try {
    await context.log.append(door.name, { lines: [], count: 0, receivedAtMs, source, eventTimeMaxMs: untilMs })
    context.logHealth.succeeded()
  } catch (error) {
    context.logHealth.failed(error)
    throw error
  }
  context.doors.keep(door)
  reply.code(202)
  return { stream: door.name, source, until: new Date(untilMs).toISOString() }
}

function streamOf(request: FastifyRequest): string {
  return (request.params as { stream: string }).stream
}

function sourceOf({ headers }: FastifyRequest): string {
  const { source } = readBatchHeaders(headers)
  if (source !== undefined && headers['freshet-source'] !== undefined) return source
  throw new FreshetError('invalid_header', 'A heartbeat needs the header Freshet-Source.', {
    hint: 'It names the site, as with events.',
  })
}

/** Milliseconds since 1970, cut off behind them. */
function readUntil(until: unknown, nowMs: number): number {
  const read = typeof until === 'string' ? isoToUtc(until) : undefined
  if (typeof read !== 'string') {
    const reason = read?.reason ?? 'must be text'
    throw new FreshetError('invalid_request', `"until" ${reason}.`, {
      hint: `Send an ISO 8601 time with its offset: {"until": "${new Date(nowMs).toISOString()}"}.`,
    })
  }
  const untilMs = Date.parse(read)
  if (untilMs > nowMs + reportAheadMsMax) {
    throw new FreshetError(
      'invalid_request',
      `"until" is ${read}, and the server's time is ${new Date(nowMs).toISOString()}.`,
      {
        hint: 'A heartbeat may reach at most a day ahead: what a site reports cannot be taken back.',
      },
    )
  }
  return untilMs
}
