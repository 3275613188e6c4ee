import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FreshetError } from '../../runtime/errors.ts'
import { nearest } from '../../config/spelling.ts'
import { sendProblem } from '../problems.ts'
import { routeTable } from './table.ts'

/** Answers what no route matches: 405 when the path is right, else 404 with the nearest path. */
export function setNotFound(app: FastifyInstance): void {
  app.setNotFoundHandler((request, reply) => sendProblem(request, reply, describe(request, reply)))
}

function describe(request: FastifyRequest, reply: FastifyReply): FreshetError {
  const path = request.url.split('?', 1)[0]!
  const methods = routeTable.filter((route) => matches(route.path, path)).map(({ method }) => method)
  if (methods.length > 0) {
    const allowed = methods.includes('GET') ? [...methods, 'HEAD'] : methods
    reply.header('allow', allowed.join(', '))
    return new FreshetError('method_not_allowed', `${request.method} is not possible on ${path}.`, {
      hint: `Use ${allowed.join(' or ')}.`,
    })
  }
  const near = nearestPath(path)
  const hint = near === undefined ? '/docs lists all routes.' : `Did you mean ${near}? /docs lists all routes.`
  return new FreshetError('not_found', `There is nothing at ${path.slice(0, 200)}.`, { hint })
}

function matches(template: string, path: string): boolean {
  const parts = path.split('/')
  const expected = template.split('/')
  // The key of an object has slashes of its own.
  const isLong = expected.at(-1) === '{key}' && parts.length > expected.length
  return (
    (isLong || parts.length === expected.length) &&
    expected.every((part, index) => part === parts[index] || (part.startsWith('{') && parts[index] !== ''))
  )
}

/** Nearest in spelling, taking the stream's name from the path where the route has one. */
function nearestPath(path: string): string | undefined {
  const stream = /\/streams?\/([^/]+)/.exec(path)?.[1] ?? 'trades'
  const site = /\/sites?\/([^/]+)/.exec(path)?.[1] ?? 'site'
  return nearest(
    path,
    routeTable.map((route) => route.path.replace('{stream}', stream).replace('{site}', site)),
  )
}
