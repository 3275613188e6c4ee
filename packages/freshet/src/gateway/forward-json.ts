/** Passes small requests on to the engine, and its answers back. */
import type { FastifyReply } from 'fastify'
import type { GatewayContext } from './context.ts'

/** @throws FreshetError `engine_unavailable` */
export async function forwardJson(
  reply: FastifyReply,
  context: GatewayContext,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<FastifyReply> {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  const answer = await context.engine.forward({
    method,
    path,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    ...(body !== undefined && { body: Buffer.from(JSON.stringify(body)) }),
    signal: gone.signal,
  })
  const type = answer.headers['content-type']
  if (typeof type === 'string') reply.header('content-type', type)
  return reply.code(answer.status).send(answer.status === 204 ? null : answer.body)
}
