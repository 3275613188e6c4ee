/** `GET /openapi.json`, `GET /docs`, and `/` which leads there. */
import type { FastifyInstance } from 'fastify'
import { urlOf } from '../address.ts'
import type { GatewayContext } from '../context.ts'
import { docsPage, type DocsPage } from '../docs-page.ts'
import { openApiDocument } from '../openapi.ts'

export function addDocsRoutes(app: FastifyInstance, { plan, version }: GatewayContext): void {
  const document = openApiDocument(plan, version)
  const json = JSON.stringify(document)
  let page: DocsPage | undefined

  app.get('/openapi.json', (_request, reply) =>
    reply.header('content-type', 'application/json; charset=utf-8').send(json),
  )

  app.get('/docs', (_request, reply) => {
    page ??= docsPage(document, urlOf(plan.http.host, portOf(app) ?? plan.http.port))
    return reply
      .header('content-type', 'text/html; charset=utf-8')
      .header('content-security-policy', page.policy)
      .header('x-content-type-options', 'nosniff')
      .header('referrer-policy', 'no-referrer')
      .send(page.html)
  })

  app.get('/', (_request, reply) => reply.redirect('/docs', 302))
}

function portOf(app: FastifyInstance): number | undefined {
  const address = app.server.address()
  return typeof address === 'object' ? address?.port : undefined
}
