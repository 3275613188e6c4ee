/** `GET /v1/sites`, `PUT /v1/sites/{site}`, `DELETE /v1/sites/{site}`: which sites are expected to report. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { nearest } from '../../config/spelling.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { siteNameFault, type Site, type SiteChange } from '../../sites/site-registry.ts'
import type { GatewayContext } from '../context.ts'
import { jsonOnly, readObject, takeBody } from '../json-request.ts'
import type { StreamDoors } from '../streams.ts'

const streamsMax = 1000

export function addSiteRoutes(app: FastifyInstance, context: GatewayContext): void {
  const { sites } = context
  app.get('/v1/sites', async () => ({ sites: (await sites.list()).map(siteAnswer) }))
  app.route({
    method: 'PUT',
    url: '/v1/sites/:site',
    onRequest: jsonOnly((request) => {
      siteName(request)
    }),
    handler: (request, reply) => putSite(request, reply, context),
  })
  app.delete('/v1/sites/:site', async (request, reply) => {
    takeBody(request, context.budget)
    await sites.remove(siteName(request))
    return reply.code(204).send()
  })
}

async function putSite(request: FastifyRequest, reply: FastifyReply, context: GatewayContext): Promise<unknown> {
  const body = takeBody(request, context.budget)
  const { streams, state } = readObject(body, ['streams', 'state'])
  if (streams === undefined && state === undefined) {
    throw new FreshetError('invalid_request', 'The body changes nothing.', {
      hint: 'Send {"streams": "all"}, {"streams": ["trades"]}, {"state": "paused"} or {"state": "active"}.',
    })
  }
  const change: SiteChange = {
    ...(streams !== undefined && { streams: readStreams(streams, context.doors) }),
    ...(state !== undefined && { state: readState(state) }),
  }
  const { site, added } = await context.sites.put(siteName(request), change)
  reply.code(added ? 201 : 200)
  return siteAnswer(site)
}

function siteAnswer({ name, streams, state, addedAtMs, changedAtMs }: Site): Record<string, unknown> {
  const [addedAt, changedAt] = [addedAtMs, changedAtMs].map((ms) => new Date(ms).toISOString())
  return { name, streams, state, addedAt, changedAt }
}

/** The name in the path, decoded. */
function siteName(request: FastifyRequest): string {
  const { site } = request.params as { site: string }
  const fault = siteNameFault(site)
  if (fault === undefined) return site
  throw new FreshetError('invalid_request', `${JSON.stringify(site.slice(0, 150))} cannot be the name of a site.`, {
    hint: `A site is called like the _source of its events; ${fault}.`,
  })
}

function readState(state: unknown): 'active' | 'paused' {
  if (state === 'active' || state === 'paused') return state
  throw new FreshetError('invalid_request', '"state" must be "active" or "paused".')
}

function readStreams(streams: unknown, doors: StreamDoors): 'all' | string[] {
  if (streams === 'all') return streams
  if (!Array.isArray(streams) || !streams.every((name): name is string => typeof name === 'string')) {
    throw new FreshetError('invalid_request', '"streams" must be "all" or a list of names of streams.')
  }
  if (streams.length === 0 || streams.length > streamsMax) {
    throw new FreshetError('invalid_request', `"streams" must name 1 to ${streamsMax} streams.`, {
      hint: 'A site that does not report at present is paused: {"state": "paused"}.',
    })
  }
  const known = new Set(doors.list().map(({ name }) => name))
  for (const name of streams) if (!known.has(name)) throw unknownStream(name.slice(0, 100), [...known])
  return streams
}

function unknownStream(name: string, known: readonly string[]): FreshetError {
  const near = nearest(name, known)
  const there = known.length === 0 ? 'There are no streams yet.' : `There are: ${known.slice(0, 100).join(', ')}.`
  return new FreshetError('unknown_stream', `There is no stream ${JSON.stringify(name)}. ${there}`, {
    hint: near === undefined ? 'Declare it, or post to it, first.' : `Did you mean "${near}"?`,
  })
}
