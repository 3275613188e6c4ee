/** The server as a stranger meets it: its public HTTP API and nothing else. */
import { FreshetError } from '../../runtime/errors.ts'
import { Client, problemError } from '../client.ts'
import { fetchStatus, type ServerStatus } from '../server-status.ts'

export type Row = Record<string, unknown>

/** The whole answer to a request. */
export interface DoorAnswer {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

/** Whether the same query may be answered later: the server is away or too busy, and says nothing against the query. */
export function mayBeAnsweredLater(error: unknown): boolean {
  if (!(error instanceof FreshetError)) return false
  return error.retryable || error.code === 'query_timeout' || error.code === 'query_memory'
}

const askTimeoutMs = 5_000
const postTimeoutMs = 60_000

export class Door {
  readonly url: string
  readonly #client: Client

  constructor(url: string, connections: number) {
    this.url = url
    this.#client = new Client(url, connections)
  }

  /** Sends a batch once. @throws FreshetError `server_unreachable` without a whole answer; an AbortError when cut */
  async post(stream: string, body: Buffer, headers: Record<string, string>, cut: AbortSignal): Promise<DoorAnswer> {
    const path = `/v1/streams/${encodeURIComponent(stream)}/events`
    const type = { 'content-type': 'application/x-ndjson', accept: 'application/json' }
    const response = await this.#client.send({
      method: 'POST',
      path,
      headers: { ...type, ...headers },
      body,
      signal: cut,
      timeoutMs: postTimeoutMs,
    })
    return { status: response.status, headers: response.headers, text: await this.#client.readText(response, cut) }
  }

  /** @throws FreshetError when the server does not answer, or not with success */
  async get(path: string): Promise<unknown> {
    return this.#client.getJson(path, AbortSignal.timeout(askTimeoutMs))
  }

  /** @throws FreshetError as `get` */
  async status(): Promise<ServerStatus> {
    return fetchStatus(this.#client, AbortSignal.timeout(askTimeoutMs))
  }

  /** The rows of a query. @throws FreshetError what the server reported, or that the answer broke off */
  async rows(sql: string, params: Record<string, unknown> = {}, stop?: AbortSignal): Promise<Row[]> {
    const rows: Row[] = []
    await this.eachRow(sql, params, (row) => rows.push(row), stop)
    return rows
  }

  /**
   * Tells every row of a query as it arrives, so that a large answer needs no memory. Returns the headers of the answer.
   * @throws as `rows`
   */
  async eachRow(
    sql: string,
    params: Record<string, unknown>,
    onRow: (row: Row) => unknown,
    stop?: AbortSignal,
  ): Promise<DoorAnswer['headers']> {
    const signal = stop === undefined ? {} : { signal: stop }
    const response = await this.#client.sql(sql, { format: 'ndjson', params, ...signal })
    const take = (line: string): void => {
      if (line === '') return
      const row = JSON.parse(line) as Row
      // An error that comes while rows are sent is a last line with that member alone.
      const { error } = row
      if (typeof error === 'object' && error !== null && Object.keys(row).length === 1)
        throw problemError(this.url, { status: 500, headers: {} }, JSON.stringify(error))
      onRow(row)
    }
    try {
      let rest = ''
      response.body.setEncoding('utf8')
      for await (const chunk of response.body) {
        const lines = (rest + (chunk as string)).split('\n')
        rest = lines.pop()!
        for (const line of lines) take(line)
      }
      if (rest !== '') throw new FreshetError('server_unreachable', 'The answer to a query broke off.')
      return response.headers
    } catch (error) {
      stop?.throwIfAborted()
      if (error instanceof FreshetError) throw error
      throw new FreshetError('server_unreachable', 'The answer to a query broke off.', { cause: error })
    }
  }

  close(): Promise<void> {
    return this.#client.close()
  }
}
