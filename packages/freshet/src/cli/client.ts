import type { Readable } from 'node:stream'
import { Agent, request } from 'undici'
import { errorCodes, type ErrorCode } from '../runtime/error-codes.ts'
import { FreshetError, messageOf, systemCodeOf } from '../runtime/errors.ts'
import type { CliContext } from './context.ts'
import { usageError } from './exit-codes.ts'

export const defaultUrl = 'http://127.0.0.1:7070'

export interface ClientRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  /** Path and query, from the root of the server. */
  path: string
  headers?: Record<string, string>
  body?: Buffer | string
  signal?: AbortSignal | undefined
  /** How long the server may take to begin its answer; 0: for ever. */
  timeoutMs?: number
}

export interface ClientResponse {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Readable
}

export type SqlFormat = 'json' | 'ndjson' | 'csv' | 'parquet'

/** Talks to one Freshet server over kept-alive connections. */
export class Client {
  readonly url: string
  readonly #agent: Agent

  constructor(url: string, connections = 8) {
    this.url = url
    this.#agent = new Agent({ connections, pipelining: 1, connect: { timeout: 5_000 } })
  }

  /**
   * Any answer, also one that reports an error.
   * @throws FreshetError `server_unreachable` when there is no answer; an AbortError when `signal` was aborted
   */
  async send(options: ClientRequest): Promise<ClientResponse> {
    try {
      const response = await request(this.url + options.path, {
        method: options.method,
        dispatcher: this.#agent,
        headersTimeout: options.timeoutMs ?? 60_000,
        bodyTimeout: options.timeoutMs ?? 60_000,
        ...(options.headers === undefined ? {} : { headers: options.headers }),
        ...(options.body === undefined ? {} : { body: options.body }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      })
      return { status: response.statusCode, headers: response.headers, body: response.body }
    } catch (error) {
      options.signal?.throwIfAborted()
      throw unreachable(this.url, error)
    }
  }

  /** The JSON of a successful answer. @throws FreshetError what the server reported, or that it cannot be reached */
  async getJson(path: string, signal?: AbortSignal): Promise<unknown> {
    const response = await this.send({ method: 'GET', path, headers: { accept: 'application/json' }, signal })
    const text = await this.readText(response, signal)
    if (response.status !== 200) throw problemError(this.url, response, text)
    return parseAnswer(this.url, response, text)
  }

  /**
   * Sends a small request that changes something, with a JSON body if it has one.
   * @returns the JSON of the answer; null when it has none (204)
   * @throws FreshetError what the server reported, or that it cannot be reached
   */
  async change(
    method: 'POST' | 'PUT' | 'DELETE',
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<unknown> {
    const content = body === undefined ? {} : { body: JSON.stringify(body) }
    const type = body === undefined ? {} : { 'content-type': 'application/json' }
    const response = await this.send({ method, path, headers: { ...type, ...headers }, ...content })
    const text = await this.readText(response)
    if (response.status === 204) return null
    if (response.status < 200 || response.status > 299) throw problemError(this.url, response, text)
    return parseAnswer(this.url, response, text)
  }

  /** Runs a query; the answer's body is in the format that was asked for. @throws FreshetError what the server reported */
  async sql(
    query: string,
    options: { format: SqlFormat; params?: Record<string, unknown>; asOf?: string | undefined; signal?: AbortSignal },
  ): Promise<ClientResponse> {
    const response = await this.send({
      method: 'POST',
      path: '/v1/sql',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sql: query, params: options.params ?? {}, format: options.format, asOf: options.asOf }),
      signal: options.signal,
      timeoutMs: 0,
    })
    if (response.status !== 200) throw problemError(this.url, response, await this.readText(response, options.signal))
    return response
  }

  /** The whole body as text. @throws FreshetError `server_unreachable` when the connection breaks before its end */
  async readText(response: ClientResponse, signal?: AbortSignal): Promise<string> {
    try {
      const chunks: Buffer[] = []
      for await (const chunk of response.body) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks).toString()
    } catch (error) {
      signal?.throwIfAborted()
      throw unreachable(this.url, error)
    }
  }

  /** Closes the connections, also those in use. */
  close(): Promise<void> {
    return this.#agent.destroy()
  }
}

/** The server's address: `--url`, else FRESHET_URL, else the default. @throws FreshetError `invalid_usage` */
export function serverUrl(option: string | undefined, context: Pick<CliContext, 'env'>): string {
  const fromEnvironment = context.env['FRESHET_URL']
  const text = option ?? (fromEnvironment === undefined || fromEnvironment === '' ? defaultUrl : fromEnvironment)
  const url = URL.parse(text.includes('://') ? text : `http://${text}`)
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw usageError(`"${text}" is not the address of a server.`, `Write it like ${defaultUrl}.`)
  }
  return url.origin + url.pathname.replace(/\/+$/, '')
}

/** The error for a request that got no (whole) answer. */
export function unreachable(url: string, cause: unknown): FreshetError {
  return new FreshetError('server_unreachable', `The server at ${url} cannot be reached: ${networkReason(cause)}.`, {
    hint: 'Start one by `freshet dev`, or say where it is by --url or FRESHET_URL.',
    cause,
  })
}

function networkReason(cause: unknown): string {
  switch (systemCodeOf(cause)) {
    case 'ECONNREFUSED':
      return 'nothing listens there (connection refused)'
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its host name is unknown'
    case 'ECONNRESET':
    case 'EPIPE':
    case 'UND_ERR_SOCKET':
      return 'it closed the connection before it had answered'
    case 'UND_ERR_CONNECT_TIMEOUT':
    case 'ETIMEDOUT':
      return 'it did not accept the connection in time'
    case 'UND_ERR_HEADERS_TIMEOUT':
    case 'UND_ERR_BODY_TIMEOUT':
      return 'it did not answer in time'
    default:
      return messageOf(cause).replace(/\.$/, '')
  }
}

/** Members of a problem+json answer that the commands use. */
export interface ProblemAnswer {
  code?: string
  detail?: string
  title?: string
  hint?: string
  line?: number
  column?: number
  errors?: unknown
  [member: string]: unknown
}

/** The problem+json in `text`; null when it is something else. */
export function parseProblem(text: string): ProblemAnswer | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as ProblemAnswer) : null
  } catch {
    return null
  }
}

/** The error that an unsuccessful answer reports. */
export function problemError(
  url: string,
  response: Pick<ClientResponse, 'status' | 'headers'>,
  text: string,
): FreshetError {
  const problem = parseProblem(text)
  if (problem === null || (problem.detail === undefined && problem.title === undefined))
    return foreignAnswer(url, response)
  const extra = { serverStatus: response.status, ...problem }
  const details = problem.hint === undefined ? { extra } : { extra, hint: problem.hint }
  return new FreshetError(
    knownCode(problem.code, response.status),
    problem.detail ?? problem.title ?? 'Unknown error',
    details,
  )
}

function knownCode(code: string | undefined, status: number): ErrorCode {
  if (code !== undefined && Object.hasOwn(errorCodes, code)) return code as ErrorCode
  if (status === 404) return 'not_found'
  return status < 500 ? 'invalid_request' : 'internal'
}

function foreignAnswer(url: string, response: Pick<ClientResponse, 'status' | 'headers'>): FreshetError {
  const type = String(response.headers['content-type'] ?? 'no content type')
  return new FreshetError(
    'server_unreachable',
    `${url} answered ${response.status} (${type}), which is no answer of Freshet's.`,
    {
      hint: 'Is another program listening there? Say where Freshet is by --url or FRESHET_URL.',
    },
  )
}

function parseAnswer(url: string, response: ClientResponse, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw foreignAnswer(url, response)
  }
}
