/** The gateway's way to the engine: HTTP over its unix socket. Nothing here is needed for ingest. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import { Pool } from 'undici'
import { FreshetError, messageOf } from '../runtime/errors.ts'

export interface ForwardedRequest {
  method: 'GET' | 'POST' | 'DELETE'
  /** Path with its query. */
  path: string
  headers: Record<string, string>
  body?: Buffer
  /** Aborted when the client has gone. */
  signal: AbortSignal
}

export interface ForwardedAnswer {
  status: number
  headers: IncomingHttpHeaders
  body: Readable
}

export interface EngineClientOptions {
  socket: string
  /** Connections for queries; more wait. */
  connections: number
  /** How long the engine may be silent while it works on a query. */
  silenceMsMax: number
}

export class EngineClient {
  readonly #queries: Pool
  readonly #questions: Pool

  constructor({ socket, connections, silenceMsMax }: EngineClientOptions) {
    const common = { socketPath: socket, pipelining: 1, keepAliveTimeout: 30_000 }
    this.#queries = new Pool('http://engine', {
      ...common,
      connections,
      headersTimeout: silenceMsMax,
      bodyTimeout: silenceMsMax,
    })
    // Status and metrics have connections of their own, so that slow queries do not hide them.
    this.#questions = new Pool('http://engine', { ...common, connections: 2 })
  }

  /** Forwards a query and hands back the answer as it comes. @throws FreshetError `engine_unavailable` */
  async forward(request: ForwardedRequest): Promise<ForwardedAnswer> {
    try {
      const answer = await this.#queries.request({
        method: request.method,
        path: request.path,
        headers: request.headers,
        body: request.body ?? null,
        signal: request.signal,
      })
      return { status: answer.statusCode, headers: answer.headers, body: answer.body }
    } catch (error) {
      throw new FreshetError('engine_unavailable', `The query engine does not answer (${messageOf(error)}).`, {
        hint: 'Ingest goes on without it. It is started again by itself; `freshet status` shows its state.',
        cause: error,
      })
    }
  }

  /** The body of a 200 to a GET, or undefined when the engine gives none in time. */
  async ask(path: string, timeoutMs: number): Promise<string | undefined> {
    try {
      const answer = await this.#questions.request({ method: 'GET', path, signal: AbortSignal.timeout(timeoutMs) })
      const text = await answer.body.text()
      return answer.statusCode === 200 ? text : undefined
    } catch {
      return undefined
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#queries.destroy(), this.#questions.destroy()])
  }
}
