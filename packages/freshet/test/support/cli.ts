import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import type { CliContext } from '../../src/cli/context.ts'
import { runCli } from '../../src/cli/program.ts'

export interface CliRun {
  code: number
  stdout: string
  stderr: string
}

export interface CliSetting {
  cwd?: string
  env?: Record<string, string>
  stdin?: string | Buffer | Readable
  /** Makes standard output (and error) a terminal this wide. */
  terminalWidth?: number
  /** Receives a function that acts as Ctrl-C. */
  onReady?: (interrupt: () => void) => void
}

class Capture extends Writable {
  chunks: Buffer[] = []

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(Buffer.from(chunk))
    done()
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks)
  }
}

/** Runs a command line in this process with captured streams. Waiting between retries takes no time: a clock jumps ahead. */
export async function cli(args: readonly string[], setting: CliSetting = {}): Promise<CliRun & { bytes: Buffer }> {
  const { context, stdout, stderr, interrupt } = testContext(setting)
  setting.onReady?.(interrupt)
  const code = await runCli(args, context)
  return { code, stdout: stdout.bytes.toString(), stderr: stderr.bytes.toString(), bytes: stdout.bytes }
}

function testContext(setting: CliSetting = {}): {
  context: CliContext
  stdout: Capture
  stderr: Capture
  interrupt: () => void
} {
  const stdout = new Capture()
  const stderr = new Capture()
  if (setting.terminalWidth !== undefined) {
    Object.assign(stdout, { isTTY: true, columns: setting.terminalWidth })
    Object.assign(stderr, { isTTY: true, columns: setting.terminalWidth })
  }
  const listeners = new Set<() => void>()
  let skippedMs = 0
  const stdin = setting.stdin instanceof Readable ? setting.stdin : new PassThrough().end(setting.stdin ?? '')
  const context: CliContext = {
    cwd: setting.cwd ?? tmpdir(),
    env: setting.env ?? {},
    stdin: stdin,
    stdout: stdout,
    stderr: stderr,
    nowMs: () => Date.now() + skippedMs,
    sleep: async (ms, signal) => {
      signal?.throwIfAborted()
      skippedMs += ms
      await new Promise((resolve) => setImmediate(resolve))
      signal?.throwIfAborted()
    },
    onInterrupt: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  return { context, stdout, stderr, interrupt: () => listeners.forEach((listener) => listener()) }
}

export interface ReceivedRequest {
  method: string
  path: string
  headers: IncomingMessage['headers']
  body: Buffer
}

export interface FakeServer {
  url: string
  /** Every request that arrived whole, in order. */
  requests: ReceivedRequest[]
  close(): Promise<void>
}

/** An HTTP server that records what it gets; `answer` writes the response, or destroys its socket. */
export async function fakeServer(
  answer: (request: ReceivedRequest, response: ServerResponse) => unknown,
): Promise<FakeServer> {
  const requests: ReceivedRequest[] = []
  const server: Server = createServer((incoming, response) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      const request = {
        method: incoming.method ?? '',
        path: incoming.url ?? '',
        headers: incoming.headers,
        body: Buffer.concat(chunks),
      }
      requests.push(request)
      answer(request, response)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Writes a JSON answer; problem+json for an error status. */
export function answerJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  const type = status >= 400 ? 'application/problem+json' : 'application/json'
  response.writeHead(status, { 'content-type': type, ...headers }).end(JSON.stringify(body))
}

/** A folder of its own for a test, removed by the function that comes with it. */
export async function tempFolder(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'freshet-cli-'))
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) }
}
