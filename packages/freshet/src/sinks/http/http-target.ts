/**
 * A system that is reached by HTTP. Redirects are not followed, an answer is read up to a limit, and every request has an end.
 * The addresses of targets are the operator's own words, from the configuration, and never come from an event: so private
 * addresses are allowed. Messages name the origin only, as paths and queries may hold secrets.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { Pool } from 'undici'
import { messageOf, systemCodeOf } from '../../runtime/errors.ts'
import { TargetAway } from './circuit-breaker.ts'

export interface HttpTargetOptions {
  url: string
  timeoutMs: number
  /** Sent with each request. */
  headers?: Readonly<Record<string, string>>
  /** Bytes of an answer that are read. */
  answerBytesMax?: number
}

export interface HttpRequest {
  /** Below the path of the address. Left out: the address as it is. */
  path?: string
  method?: 'POST' | 'GET'
  headers?: Readonly<Record<string, string>>
  body?: string | Uint8Array
}

export interface HttpAnswer {
  status: number
  /** As much of it as the limit allows. */
  text: string
  /** What the answer's Retry-After asks for. */
  retryAfterMs: number | undefined
}

const retryAfterMsMax = 3_600_000

export class HttpTarget {
  /** `https://host:port`. */
  readonly origin: string
  readonly #url: URL
  readonly #pool: Pool
  readonly #options: HttpTargetOptions
  readonly #headers: Record<string, string>
  readonly #closing = new AbortController()

  constructor(options: HttpTargetOptions) {
    const url = readAddress(options.url)
    this.origin = url.origin
    this.#url = url
    this.#options = options
    this.#headers = { 'user-agent': 'freshet', ...options.headers }
    if (url.username !== '' || url.password !== '') {
      this.#headers['authorization'] ??= basic(decodeURIComponent(url.username), decodeURIComponent(url.password))
    }
    const { timeoutMs } = options
    this.#pool = new Pool(url.origin, {
      connections: 2,
      pipelining: 1,
      connect: { timeout: timeoutMs },
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    })
  }

  /** Aborted by `close`: for what else waits. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /** @param nowMs what a Retry-After that names a date is counted from @throws TargetAway when there is no answer */
  async send(request: HttpRequest, nowMs: number): Promise<HttpAnswer> {
    const { timeoutMs, answerBytesMax = 65_536 } = this.#options
    const within = request.path === undefined ? '' : `${this.#url.pathname.endsWith('/') ? '' : '/'}${request.path}`
    try {
      const answer = await this.#pool.request({
        method: request.method ?? 'POST',
        path: `${this.#url.pathname}${within}${request.path === undefined ? this.#url.search : ''}`,
        headers: { ...this.#headers, ...request.headers },
        body: request.body ?? null,
        signal: AbortSignal.any([this.#closing.signal, AbortSignal.timeout(timeoutMs)]),
      })
      return {
        status: answer.statusCode,
        retryAfterMs: readRetryAfter(answer.headers, nowMs),
        text: await readText(answer.body, answerBytesMax),
      }
    } catch (error) {
      if (this.#closing.signal.aborted)
        throw new TargetAway(`The sink is being closed; ${this.origin} was left.`, { cause: error })
      const reason =
        error instanceof Error && error.name === 'TimeoutError'
          ? `no answer within ${timeoutMs} ms`
          : (systemCodeOf(error) ?? messageOf(error))
      throw new TargetAway(`${this.origin} cannot be reached: ${reason}.`, { cause: error })
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#pool.destroy()
  }
}

/** @throws Error for what is no address of a web server; never shows it, as it may be a secret */
function readAddress(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && (url.protocol === 'http:' || url.protocol === 'https:')) return url
  throw new Error('The `url` of the sink is no http or https address.')
}

export function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

async function readText(body: AsyncIterable<Buffer> & { destroy(): unknown }, bytesMax: number): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of body) {
    parts.push(part.subarray(0, bytesMax - bytes))
    bytes += part.length
    if (bytes >= bytesMax) break
  }
  return Buffer.concat(parts).toString()
}

/** Milliseconds, at most an hour; undefined without the header, or for one that says nothing. */
function readRetryAfter(headers: IncomingHttpHeaders, nowMs: number): number | undefined {
  const words = headers['retry-after']
  if (words === undefined) return undefined
  const ms = /^\d+$/.test(words) ? Number(words) * 1000 : Date.parse(words) - nowMs
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), retryAfterMsMax)
}

/** The first words of an answer, in one line, for messages. */
export function excerpt(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim()
  return line.length > 300 ? `${line.slice(0, 300)}...` : line
}
