/** A server in front of the real one that gets one thing wrong, and says nothing of it. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Fault {
  /** What becomes of the first batch that is sent. */
  batch?: (body: string) => string
  /** What becomes of the first answer that holds whole events. */
  audit?: (answer: string) => string
}

export class FaultyProxy {
  /** Whether the fault has happened. */
  planted = false
  readonly #server: Server
  readonly #target: string
  readonly #fault: Fault

  static async open(target: string, fault: Fault): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(target, fault)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  private constructor(target: string, fault: Fault) {
    this.#target = target
    this.#fault = fault
    this.#server = createServer((request, response) => {
      this.#pass(request, response).catch(() => response.destroy())
    })
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const sent = await textOf(request)
    const isBatch = request.url?.endsWith('/events') === true
    const body = isBatch ? this.#plant(this.#fault.batch, sent) : sent
    const headers = Object.entries(request.headers).filter(
      ([name, value]) => typeof value === 'string' && (name.startsWith('freshet-') || passed.has(name)),
    ) as [string, string][]
    const answer = await fetch(`${this.#target}${request.url}`, {
      method: request.method ?? 'GET',
      headers,
      ...(request.method === 'POST' && { body }),
    })
    let text = await answer.text()
    // What was sent is what the answer has to speak of.
    if (isBatch && body !== sent)
      text = text.replace(/"accepted":\d+/, `"accepted":${sent.trimEnd().split('\n').length}`)
    if (text.startsWith('{"event":')) text = this.#plant(this.#fault.audit, text)
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' }).end(text)
  }

  #plant(fault: ((text: string) => string) | undefined, text: string): string {
    if (this.planted || fault === undefined) return text
    this.planted = true
    return fault(text)
  }
}

const passed: ReadonlySet<string> = new Set(['content-type', 'accept', 'idempotency-key'])

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
