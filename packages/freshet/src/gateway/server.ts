/** The HTTP server: timeouts, guards and error answers around the routes. */
import type { Socket } from 'node:net'
import { fastify, LogController, type FastifyError, type FastifyInstance } from 'fastify'
import { errorCodes } from '../runtime/error-codes.ts'
import { FreshetError, systemCodeOf, toProblem } from '../runtime/errors.ts'
import type { GatewayContext } from './context.ts'
import { foreignHost } from './host-guard.ts'
import { problemType, sendProblem } from './problems.ts'
import { readBody } from './read-body.ts'
import { addDocsRoutes } from './routes/docs.ts'
import { addDeadLetterRoutes } from './routes/dead-letters.ts'
import { addErasureRoutes } from './routes/erasures.ts'
import { addHealthRoutes } from './routes/health.ts'
import { addHeartbeatRoute } from './routes/heartbeats.ts'
import { addIngestRoute } from './routes/ingest.ts'
import { addMaintenanceRoutes } from './routes/maintenance.ts'
import { setNotFound } from './routes/not-found.ts'
import { addObjectRoutes } from './routes/objects.ts'
import { addReceiptRoute } from './routes/receipts.ts'
import { addReplayRoutes } from './routes/replays.ts'
import { addSiteRoutes } from './routes/sites.ts'
import { addSqlRoute } from './routes/sql.ts'
import { addStatusRoutes } from './routes/status.ts'
import { addTableRoutes } from './routes/tables.ts'

/** A connection on which nothing moves for this long, beyond what a query may take, is cut. */
const idleMarginMs = 60_000

/** Builds the server; it does not listen yet. */
export function createServer(context: GatewayContext): FastifyInstance {
  const { http, limits, sql } = context.plan
  const app = fastify({
    loggerInstance: context.logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.bodyBytesMax,
    // A site's name of 128 characters, each percent-encoded.
    routerOptions: { maxParamLength: 3 * 128 },
    requestTimeout: http.requestTimeoutMs,
    connectionTimeout: sql.catchUpMsMax + sql.timeoutMs + idleMarginMs,
    http: {
      headersTimeout: http.requestTimeoutMs,
      connectionsCheckingInterval: Math.min(5000, Math.max(50, Math.floor(http.requestTimeoutMs / 4))),
    },
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    clientErrorHandler: (error, socket) => {
      // The request timeout does not mean uploads of objects; see object-body.ts.
      if (systemCodeOf(error) === 'ERR_HTTP_REQUEST_TIMEOUT' && context.uploads.isPatient(socket)) return
      answerRaw(error, socket)
    },
    frameworkErrors: (error, request, reply) => {
      sendProblem(request, reply, error)
    },
  }) as unknown as FastifyInstance
  addGuards(app, context)
  app.setErrorHandler<FastifyError>((error, request, reply) => sendProblem(request, reply, error))
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, message, done) => {
    readBody(message, { bytesMax: limits.bodyBytesMax, budget: context.budget }, done)
  })
  addIngestRoute(app, context)
  addHeartbeatRoute(app, context)
  addSiteRoutes(app, context)
  addReceiptRoute(app, context)
  addSqlRoute(app, context)
  addMaintenanceRoutes(app, context)
  addErasureRoutes(app, context)
  addTableRoutes(app, context)
  addDeadLetterRoutes(app, context)
  addReplayRoutes(app, context)
  addObjectRoutes(app, context)
  addStatusRoutes(app, context)
  addHealthRoutes(app, context)
  addDocsRoutes(app, context)
  setNotFound(app)
  return app
}

function addGuards(app: FastifyInstance, context: GatewayContext): void {
  app.addHook('onRequest', (request, reply, done) => {
    const foreign = foreignHost(request.headers)
    if (foreign !== undefined) return done(foreign)
    if (context.isStopping()) {
      reply.header('connection', 'close')
      if (request.routeOptions.url !== '/readyz' && request.routeOptions.url !== '/healthz') {
        return done(
          new FreshetError('shutting_down', 'The server is stopping.', {
            hint: 'Send the request again when it is back.',
          }),
        )
      }
    }
    done()
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (context.isStopping()) reply.header('connection', 'close')
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    context.metrics.request(request.method, request.routeOptions.url ?? '', reply.statusCode)
    done()
  })
}

/** Answers what never became a request: broken HTTP, headers that are too large, a client that took too long. */
function answerRaw(error: Error, socket: Socket): void {
  const cause = systemCodeOf(error)
  if (cause === 'ECONNRESET' || socket.destroyed) return
  const failure = rawFailure(cause)
  if (socket.writable && socket.bytesWritten === 0) {
    const text = JSON.stringify(toProblem(failure))
    const { status } = failure
    socket.write(
      `HTTP/1.1 ${status} ${errorCodes[failure.code].title}\r\ncontent-type: ${problemType}\r\n` +
        `content-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
    )
  }
  socket.destroySoon()
}

function rawFailure(cause: string | undefined): FreshetError {
  if (cause === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new FreshetError('request_timeout', 'The request did not arrive whole in time.')
  if (cause === 'HPE_HEADER_OVERFLOW') return new FreshetError('invalid_header', 'The request headers are too large.')
  return new FreshetError('invalid_request', 'The request is not valid HTTP/1.1.')
}
