/** SQL, status and upkeep over HTTP, on kept-alive connections, with as little of a client in between as possible. */
import { Agent, request } from 'node:http'

export type Row = Record<string, unknown>

interface Status {
  processes: { role: string; pid: number }[]
  streams: { name: string; logEnd: string; checkpoint: string | null }[]
}

/** What upkeep did, is doing or leaves alone. */
export interface UpkeepRow {
  state: 'planned' | 'running' | 'done' | 'skipped' | 'failed'
  reason: string
  filesBefore: number | null
  filesAfter: number | null
  bytesBefore: number | null
  /** ISO times. */
  startedAt: string | null
  finishedAt: string | null
}

interface UpkeepRun {
  run: number
  state: 'waiting' | 'running' | 'done'
  rows: UpkeepRow[]
}

export class SqlClient {
  readonly #agent = new Agent({ keepAlive: true })
  readonly #port: number

  constructor(port: number) {
    this.#port = port
  }

  /** The rows of a query's answer. @throws Error with the answer when it is not 200 */
  async query(sql: string): Promise<Row[]> {
    const { status, body } = await this.#send('POST', '/v1/sql', JSON.stringify({ sql, format: 'json' }))
    if (status !== 200) throw new Error(`${sql} was answered ${status}: ${body.slice(0, 500)}`)
    return (JSON.parse(body) as { rows: Row[] }).rows
  }

  /** The single row of a query's answer, its values as numbers. */
  async numbers<Name extends string>(sql: string): Promise<Record<Name, number>> {
    const [row = {}] = await this.query(sql)
    return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, Number(value)])) as Record<Name, number>
  }

  /** Whether the engine answers yet. */
  async answers(): Promise<boolean> {
    const answer = await this.#send('POST', '/v1/sql', JSON.stringify({ sql: 'select 1', format: 'json' })).catch(
      () => undefined,
    )
    return answer?.status === 200
  }

  /** Where a stream's log ends, and up to where it is committed (0 while the engine is away), in bytes from its beginning. */
  async positions(stream: string): Promise<{ logEnd: number; checkpoint: number }> {
    const found = (await this.#status()).streams.find(({ name }) => name === stream)
    return { logEnd: Number(found?.logEnd), checkpoint: Number(found?.checkpoint) }
  }

  /** Pids of the running processes, by role. */
  async pids(): Promise<Map<string, number>> {
    const { processes } = await this.#status()
    return new Map(processes.map(({ role, pid }) => [role, pid]))
  }

  /** Asks for compaction of a table; it goes on after this resolves. */
  startCompaction(table: string): Promise<UpkeepRun> {
    return this.#json('POST', '/v1/maintenance', JSON.stringify({ table, job: 'compaction' }))
  }

  /** How far a run of upkeep is. */
  upkeepRun(run: number): Promise<UpkeepRun> {
    return this.#json('GET', `/v1/maintenance/${run}`)
  }

  #status(): Promise<Status> {
    return this.#json('GET', '/v1/status')
  }

  async #json<T>(method: 'GET' | 'POST', path: string, sent?: string): Promise<T> {
    const { status, body } = await this.#send(method, path, sent)
    if (status !== 200 && status !== 202) throw new Error(`${path} was answered ${status}: ${body.slice(0, 500)}`)
    return JSON.parse(body) as T
  }

  close(): void {
    this.#agent.destroy()
  }

  #send(method: 'GET' | 'POST', path: string, body?: string): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          host: '127.0.0.1',
          port: this.#port,
          path,
          method,
          agent: this.#agent,
          headers: { 'content-type': 'application/json' },
        },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('error', reject)
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
          )
        },
      )
      sent.on('error', reject)
      sent.end(body)
    })
  }
}
