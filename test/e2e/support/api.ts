/** The public HTTP API as these tests use it. */
import type { StreamStatus } from '../../../packages/freshet/src/engine/engine-status.ts'
import type { ProcessRole, ProcessStatus } from '../../../packages/freshet/src/runtime/process-status.ts'

export interface Answer {
  status: number
  headers: Headers
  /** The JSON body. */
  body: Record<string, unknown>
}

export type Row = Record<string, unknown>

export const ndjson = 'application/x-ndjson'

/** An answer that is not the one asked for. */
export class Refused extends Error {
  readonly status: number
  readonly code: unknown

  constructor(what: string, { status, body }: Answer) {
    super(`${what}: ${status} ${JSON.stringify(body)}`)
    this.status = status
    this.code = body['code']
  }
}

async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: JSON.parse(text) as Record<string, unknown> }
}

/** Posts events as NDJSON, or a body as it is. */
export async function post(
  url: string,
  stream: string,
  events: readonly unknown[] | string,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<Answer> {
  const body = typeof events === 'string' ? events : events.map((event) => `${JSON.stringify(event)}\n`).join('')
  return answerOf(
    await fetch(`${url}/v1/streams/${stream}/events`, {
      method: 'POST',
      headers: { 'content-type': ndjson, ...headers },
      body,
      ...(signal && { signal }),
    }),
  )
}

export async function query(url: string, sql: string): Promise<Answer> {
  return answerOf(
    await fetch(`${url}/v1/sql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sql }),
    }),
  )
}

/** A query's rows. @throws Refused */
export async function rows(url: string, sql: string): Promise<Row[]> {
  const answer = await query(url, sql)
  if (answer.status !== 200) throw new Refused(sql, answer)
  return answer.body['rows'] as Row[]
}

export interface Status {
  processes: ProcessStatus[]
  engine: { available: boolean; catchingUp: boolean }
  streams: StreamStatus[]
}

export async function serverStatus(url: string): Promise<Status> {
  return (await (await fetch(`${url}/v1/status`)).json()) as Status
}

/** A stream's part of the status. @throws when the engine does not know the stream (yet) */
export async function streamStatus(url: string, stream: string): Promise<StreamStatus> {
  const { streams, engine } = await serverStatus(url)
  const found = streams.find(({ name }) => name === stream)
  if (!engine.available || found === undefined) throw new Error(`the engine does not tell of ${stream}`)
  return found
}

/** A process of the server. @throws while it does not run */
export async function processOf(url: string, role: ProcessRole): Promise<ProcessStatus> {
  const found = (await serverStatus(url)).processes.find((one) => one.role === role)
  if (found?.state !== 'running') throw new Error(`${role} is ${found?.state ?? 'unknown'}`)
  return found
}
