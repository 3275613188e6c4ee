/** `POST /v1/sql`: forwarded to the engine as it is, the answer streamed through. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { GatewayContext } from '../context.ts'

const requestHeaders = ['content-type', 'accept', 'content-encoding'] as const
const answerHeaders = [
  'content-type',
  'content-length',
  'content-disposition',
  'retry-after',
  'vary',
  'freshet-complete-through',
  'freshet-lag-bytes',
] as const

export function addSqlRoute(app: FastifyInstance, context: GatewayContext): void {
  app.post('/v1/sql', (request, reply) => forwardQuery(request, reply, context))
}

async function forwardQuery(
  request: FastifyRequest,
  reply: FastifyReply,
  context: GatewayContext,
): Promise<FastifyReply> {
  const body = (request.body as Buffer | undefined) ?? Buffer.alloc(0)
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  const forwarded = context.engine.forward({
    method: 'POST',
    path: request.url,
    headers: pick(request.headers, requestHeaders),
    body,
    signal: gone.signal,
  })
  // Reading took the body's bytes from the budget.
  const answer = await forwarded.finally(() => context.budget.give(body.length))
  return reply.code(answer.status).headers(pick(answer.headers, answerHeaders)).send(answer.body)
}

function pick(
  headers: Record<string, string | string[] | undefined>,
  names: readonly string[],
): Record<string, string> {
  const picked: Record<string, string> = {}
  for (const name of names) {
    const value = headers[name]
    if (typeof value === 'string') picked[name] = value
  }
  return picked
}
