/**
 * What the gateway could do at best: the same HTTP server with the same kind of route. Asked to start, it answers with its port.
 * - `nothing` takes the body and answers.
 * - `parse` also turns it into text, splits it into lines and parses each, by the gateway's own functions, and keeps nothing.
 */
import { fastify, type FastifyInstance } from 'fastify'
import { toText } from '../../packages/freshet/dist/gateway/decode.js'
import { openEvents } from '../../packages/freshet/dist/gateway/events.js'
import { serveTasks } from './child-task.ts'

export interface LimitServerSpec {
  work: 'nothing' | 'parse'
}

const bodyBytesMax = 16 * 1024 * 1024

/** Events in an NDJSON body. */
function parse(body: Buffer): number {
  const events = openEvents(toText(body).text, 'ndjson')
  let count = 0
  for (let raw = events.next(); raw !== undefined; raw = events.next()) {
    JSON.parse(raw)
    count++
  }
  return count
}

async function start({ work }: LimitServerSpec): Promise<number> {
  const server: FastifyInstance = fastify({ logger: false, bodyLimit: bodyBytesMax })
  server.removeAllContentTypeParsers()
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  server.post<{ Params: { stream: string }; Body: Buffer }>('/v1/streams/:stream/events', (request, reply) => {
    const accepted = work === 'parse' ? parse(request.body) : 0
    void reply.code(202).send({ stream: request.params.stream, accepted, duplicates: 0, rejected: 0, errors: [] })
  })
  await server.listen({ host: '127.0.0.1', port: 0 })
  const address = server.server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the limit server has no port')
  return address.port
}

serveTasks(start)
