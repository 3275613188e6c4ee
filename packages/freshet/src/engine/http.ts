/**
 * The engine's own HTTP server, on a unix socket that only this user can open: SQL, status, metrics, readiness. The gateway
 * forwards to it.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { FreshetError, toProblem } from '../runtime/errors.ts'
import type { Logger } from '../runtime/logging.ts'
import { listenOnSocket } from '../runtime/socket-server.ts'
import type { RouteAnswer, RouteRequest } from './erasure/routes.ts'
import { maintenanceRequest } from './upkeep/maintenance-request.ts'
import type { Upkeep } from './upkeep/upkeep.ts'
import { contentTypes, type QueryRunner, type ResultFormat } from './query/run.ts'

export interface EngineHttpOptions {
  socket: string
  runner: QueryRunner
  logger: Logger
  status: () => Promise<unknown>
  metrics: () => Promise<string>
  /** The answer to `/v1/receipts/{receipt}`. */
  receipt: (text: string, signal: AbortSignal) => Promise<unknown>
  upkeep: Pick<Upkeep, 'request' | 'find'>
  /** The answer to requests about erasures, tags and rollbacks; undefined for others. */
  change: (request: RouteRequest) => Promise<RouteAnswer | undefined>
  /** The answer to `/readyz`. */
  readiness: () => { ready: boolean; catchingUp: boolean }
}

const bodyBytesMax = 1024 * 1024
const receiptsPath = '/v1/receipts/'
const maintenancePath = '/v1/maintenance/'

export function serve(options: EngineHttpOptions): Promise<Server> {
  return listenOnSocket(options.socket, (request, response) => {
    void answer(options, request, response).catch((error: unknown) => fail(options, response, error))
  })
}

async function answer(options: EngineHttpOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://engine')
  if (request.method === 'GET' && url.pathname.startsWith(receiptsPath)) {
    return sendJson(response, 200, await options.receipt(url.pathname.slice(receiptsPath.length), goneSignal(response)))
  }
  if (request.method === 'GET' && url.pathname.startsWith(maintenancePath)) {
    return sendJson(response, 200, options.upkeep.find(Number(url.pathname.slice(maintenancePath.length))))
  }
  switch (`${request.method} ${url.pathname}`) {
    case 'POST /v1/sql':
      return answerSql(options, request, response, url)
    case 'POST /v1/maintenance': {
      const run = await options.upkeep.request(maintenanceRequest(await readBody(request)))
      return sendJson(response, run.dryRun ? 200 : 202, run)
    }
    case 'GET /v1/status':
      return sendJson(response, 200, await options.status())
    case 'GET /metrics':
      response.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8')
      response.end(await options.metrics())
      return
    case 'GET /readyz':
      return sendJson(response, options.readiness().ready ? 200 : 503, options.readiness())
    default: {
      const path = url.pathname.split('/').slice(2).map(decodeURIComponent)
      const found = await options.change({ method: request.method ?? '', path, body: () => readBody(request) })
      if (found === undefined)
        throw new FreshetError('not_found', `The engine has no ${request.method} ${url.pathname}.`)
      return found.value instanceof Uint8Array
        ? sendLines(response, found.status, found.value)
        : sendJson(response, found.status, found.value)
    }
  }
}

async function answerSql(
  { runner }: EngineHttpOptions,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const body = await readBody(request)
  const asked = parseSqlRequest(request, url, body)
  await runner.run(
    { ...asked, signal: goneSignal(response) },
    {
      begin: (headers) => {
        response.statusCode = 200
        for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
        return response
      },
    },
  )
}

/** Aborted when the client has gone. */
function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  return gone.signal
}

interface SqlRequest {
  sql: string
  /** As `QueryRequest` has it. */
  asOf?: string
  parameters: Record<string, unknown>
  format: ResultFormat
}

/** The statement, its parameters and the format asked for: in a JSON body, or as SQL text with the rest in the URL. */
function parseSqlRequest(request: IncomingMessage, url: URL, body: Buffer): SqlRequest {
  const type = (request.headers['content-type'] ?? 'application/json').split(';')[0]!.trim().toLowerCase()
  const text = body.toString('utf8')
  if (type === 'text/plain' || type === 'application/sql') {
    const parameters = [...url.searchParams]
      .filter(([name]) => name.startsWith('p.'))
      .map(([name, value]) => [name.slice(2), value])
    const moment = url.searchParams.get('asOf')
    return {
      sql: text,
      parameters: Object.fromEntries(parameters),
      format: formatOf(request, url, undefined),
      ...(moment !== null && { asOf: momentText(moment) }),
    }
  }
  if (type !== 'application/json') {
    throw new FreshetError('unsupported_media_type', `The content type "${type}" is not read here.`, {
      hint: 'Send application/json with {"sql": "..."}, or the statement as application/sql.',
    })
  }
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    throw new FreshetError('invalid_json', `The body is not JSON: ${(error as Error).message}`, {
      hint: 'Send {"sql": "SELECT ..."}.',
    })
  }
  const {
    sql,
    params = {},
    format,
    asOf,
  } = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as Record<string, unknown>
  if (typeof sql !== 'string') {
    throw new FreshetError('invalid_request', 'The body has no "sql" string.', { hint: 'Send {"sql": "SELECT ..."}.' })
  }
  if (typeof params !== 'object' || params === null || Array.isArray(params)) {
    throw new FreshetError('invalid_request', '"params" must be an object of names and values.', {
      hint: 'For example {"symbol": "SPY"}.',
    })
  }
  return {
    sql,
    parameters: params as Record<string, unknown>,
    format: formatOf(request, url, format),
    ...(asOf !== undefined && asOf !== null && { asOf: momentText(asOf) }),
  }
}

/** A number would have lost digits of a snapshot's id on its way here. */
function momentText(value: unknown): string {
  if (Number.isSafeInteger(value)) return String(value)
  if (typeof value === 'string' && value !== '' && value.length <= 256) return value
  throw new FreshetError('invalid_request', '"asOf" must be a text: a time, a snapshot id, or a tag.', {
    hint: 'For example "2026-11-20T09:30:00Z", or "5124095576030431000" with its quotes.',
  })
}

function formatOf(request: IncomingMessage, url: URL, inBody: unknown): ResultFormat {
  const named = inBody ?? url.searchParams.get('format')
  if (named !== null && named !== undefined) {
    if (typeof named === 'string' && Object.hasOwn(contentTypes, named)) return named as ResultFormat
    throw new FreshetError('invalid_request', `There is no format ${JSON.stringify(named)}.`, {
      hint: `Ask for one of ${Object.keys(contentTypes).join(', ')}.`,
    })
  }
  const accepted = request.headers.accept ?? ''
  for (const [format, contentType] of Object.entries(contentTypes)) {
    if (accepted.includes(contentType.split(';')[0]!)) return format as ResultFormat
  }
  return 'json'
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (bytes > bodyBytesMax) {
      throw new FreshetError('body_too_large', `The request has more than ${bodyBytesMax} bytes.`)
    }
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.statusCode = status
  if (status === 204) {
    response.end()
    return
  }
  response.setHeader('content-type', 'application/json; charset=utf-8')
  response.end(JSON.stringify(value))
}

function sendLines(response: ServerResponse, status: number, lines: Uint8Array): void {
  response.statusCode = status
  response.setHeader('content-type', 'application/x-ndjson; charset=utf-8')
  response.end(lines)
}

function fail({ logger }: EngineHttpOptions, response: ServerResponse, error: unknown): void {
  const problem = toProblem(error)
  if (!(error instanceof FreshetError)) logger.error({ error }, 'request failed')
  if (response.headersSent) {
    response.destroy()
    return
  }
  response.statusCode = problem.status
  response.setHeader('content-type', 'application/problem+json; charset=utf-8')
  response.end(JSON.stringify(problem))
}
