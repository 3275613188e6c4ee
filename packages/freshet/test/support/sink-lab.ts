/** What tests of sinks need: events, what a sink works with, and a web server that answers as it is told. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { z } from 'zod'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemTimers, type Timers } from '../../src/runtime/timers.ts'
import type { SinkDeps, SinkEvent } from '../../src/sinks/sink.ts'
import { seededRandom } from '../simulation/seeded-random.ts'

/** An event; its time may be given as `_event_time` among its fields. */
export function sinkEvent(id: string, fields: Record<string, unknown> = {}): SinkEvent {
  const { _event_time: eventTime = '2026-11-20T20:29:00.123Z', ...own } = fields
  const receivedAt = '2026-11-20T20:29:01.000Z'
  const columns = { _event_id: id, _event_time: eventTime, _received_at: receivedAt }
  return {
    id,
    eventTime: eventTime as string,
    receivedAt,
    source: undefined,
    tenant: undefined,
    text: JSON.stringify({ ...columns, ...own }),
    fields: JSON.parse(JSON.stringify(own)) as Record<string, unknown>,
  }
}

type SettingsOf = z.ZodType<Record<string, unknown>>

/** Settings as they are written, functions among them, and what else a test needs in another way. */
export function sinkDeps(kind: string, settings: SettingsOf, words: object, more: Partial<SinkDeps> = {}): SinkDeps {
  const functions = Object.entries(words).filter(([, value]) => typeof value === 'function')
  const read = settings.parse(words)
  for (const [name] of functions) delete read[name]
  const plan = { name: 'out', kind, from: 'orders', start: 'all' as const, options: read }
  return {
    plan: { ...plan, functions: functions.map(([name]) => name) },
    columns: null,
    baseDir: '/',
    ownFolder: '/own',
    call: async (name, args) => (Object.fromEntries(functions)[name] as (...given: unknown[]) => unknown)(...args),
    fileSystem: nodeFileSystem,
    clock: { nowMs: () => Date.UTC(2026, 10, 20, 20, 29) },
    timers: systemTimers,
    random: seededRandom(1),
    logger: silentLogger,
    ...more,
  }
}

/** Time that passes only when it is told to, or when somebody sleeps. */
export class HandTimers implements Timers {
  nowMs = 0
  slept: number[] = []
  waiting: { atMs: number; act: () => void }[] = []

  monotonicMs(): number {
    return this.nowMs
  }

  after(ms: number, act: () => void): () => void {
    const one = { atMs: this.nowMs + ms, act }
    this.waiting.push(one)
    return () => {
      this.waiting = this.waiting.filter((other) => other !== one)
    }
  }

  every(): () => void {
    throw new Error('no test needs it')
  }

  async sleep(ms: number): Promise<void> {
    this.slept.push(ms)
    this.nowMs += ms
  }

  async turn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
  }

  pass(ms: number): void {
    this.nowMs += ms
    const due = this.waiting.filter(({ atMs }) => atMs <= this.nowMs)
    this.waiting = this.waiting.filter(({ atMs }) => atMs > this.nowMs)
    for (const { act } of due) act()
  }
}

export interface SeenRequest {
  method: string
  path: string
  headers: IncomingHttpHeaders
  body: Buffer
}

export interface Reply {
  status: number
  headers?: Record<string, string>
  body?: string
  /** Closes the connection in place of an answer. */
  hangUp?: boolean
}

/** A web server on a free port of the loopback. */
export class HttpLab {
  readonly seen: SeenRequest[] = []
  /** What is answered; replaced by tests. */
  reply: (request: SeenRequest) => Reply | Promise<Reply> = () => ({ status: 200 })
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(port = 0): Promise<HttpLab> {
    const server = createServer((request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () => {
        const { method = '', url = '', headers } = request
        void lab.#answer({ method, path: url, headers, body: Buffer.concat(parts) }, response)
      })
    })
    const lab = new HttpLab(server)
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return lab
  }

  async #answer(request: SeenRequest, response: ServerResponse): Promise<void> {
    this.seen.push(request)
    const { status, headers, body, hangUp } = await this.reply(request)
    if (hangUp === true) response.destroy()
    else response.writeHead(status, headers).end(body)
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
