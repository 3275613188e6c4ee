/** The worker's own HTTP server, on a unix socket that only this user can open: how its consumers get on, and inputs that are given again. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { FreshetError, toProblem } from '../runtime/errors.ts'
import type { Logger } from '../runtime/logging.ts'
import { drained, listenOnSocket } from '../runtime/socket-server.ts'
import type { Reruns } from './replay/reruns.ts'
import { answerTransform } from './replay/routes.ts'
import type { Worker } from './worker.ts'

export interface ControlOptions {
  socket: string
  worker: Worker
  reruns: Reruns
  logger: Logger
}

const bodyBytesMax = 256 * 1024 * 1024

export async function serveControl(options: ControlOptions): Promise<{ close: () => Promise<void> }> {
  const stop = new AbortController()
  const server = await listenOnSocket(options.socket, (request, response) => {
    void answer(options, stop.signal, request, response).catch((error: unknown) => fail(options, response, error))
  })
  return {
    close: () => {
      stop.abort()
      return drained(server)
    },
  }
}

async function answer(
  { worker, reruns }: ControlOptions,
  stopping: AbortSignal,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = (request.url ?? '').split('/').slice(1).map(decodeURIComponent)
  const [version, kind, name, action] = path
  if (version === 'v1' && kind === 'consumers') {
    if (request.method === 'GET' && name === undefined) return sendJson(response, 200, await worker.status())
    if (request.method === 'POST' && name !== undefined && action === 'replay') {
      const { inputs, dryRun } = await readReplay(request)
      return sendJson(response, 200, await worker.replay(name, inputs, dryRun))
    }
  }
  const routes = { worker, reruns, stopping, readBody }
  const isTransform = version === 'v1' && kind === 'transforms'
  if (isTransform && (await answerTransform(routes, path.slice(2), request, response))) return
  throw new FreshetError('not_found', `The worker has no ${request.method} ${request.url}.`)
}

async function readReplay(request: IncomingMessage): Promise<{ inputs: string[]; dryRun: boolean }> {
  return JSON.parse((await readBody(request)).toString('utf8')) as { inputs: string[]; dryRun: boolean }
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (bytes > bodyBytesMax) throw new FreshetError('body_too_large', `More than ${bodyBytesMax} bytes of inputs.`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' })
  response.end(JSON.stringify(value))
}

function fail({ logger }: ControlOptions, response: ServerResponse, error: unknown): void {
  if (!(error instanceof FreshetError)) logger.error({ error }, 'request failed')
  const problem = toProblem(error)
  if (response.headersSent) response.destroy()
  else sendJson(response, problem.status, problem)
}
