import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const program = join(import.meta.dirname, '../packages/freshet/bin/freshet.js')
const readyTimeoutMs = 60_000

/** A `freshet` command running as its users run it: the built program in a process of its own. */
export class FreshetProcess {
  readonly child: ChildProcess
  /** Standard output and standard error so far. */
  output = ''
  /** Address of the HTTP API, once a server has said it. */
  url = ''
  readonly #exit: Promise<unknown>

  constructor(args: readonly string[], cwd: string) {
    this.child = spawn(process.execPath, [program, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    const keep = (chunk: Buffer): void => {
      this.output += chunk.toString()
    }
    this.child.stdout?.on('data', keep)
    this.child.stderr?.on('data', keep)
    this.#exit = once(this.child, 'close')
  }

  /** Starts a server on a free port and waits until it is ready. */
  static async serve(cwd: string, args: readonly string[] = []): Promise<FreshetProcess> {
    const server = new FreshetProcess(['dev', '--port', '0', '--log-level', 'info', ...args], cwd)
    const deadline = AbortSignal.timeout(readyTimeoutMs)
    while (server.url === '') {
      const [event] = await Promise.race([
        once(server.child.stdout!, 'data', { signal: deadline }),
        server.#exit.then(() => ['ended']),
      ])
      if (event === 'ended') throw new Error(`the server did not start:\n${server.output}`)
      server.url = /HTTP API\s+(http:\S+)/.exec(server.output)?.[1] ?? ''
    }
    return server
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Waits for the end; the exit code, or the signal that ended it. */
  async ended(): Promise<number | string> {
    await this.#exit
    return this.child.exitCode ?? this.child.signalCode ?? 'nothing'
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<number | string> {
    if (this.running) this.child.kill(signal)
    return this.ended()
  }
}
