/** The server that a run starts for itself: in a folder of its own, on a free port, to be killed and started again. */
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { FreshetError } from '../../runtime/errors.ts'
import { usageError } from '../exit-codes.ts'
import { CliChild } from './child-process.ts'
import { Door } from './door.ts'

export interface OwnServerOptions {
  /** Folder to use, which must be empty or not exist yet; null: a new one below the system's temporary folder. */
  folder: string | null
  env: Readonly<Record<string, string | undefined>>
  /** The `streams` of its configuration. */
  streams: Record<string, unknown>
}

const startsMax = 20
const startPauseMs = 300
const readyTimeoutMs = 90_000
const lookAgainMs = 25
const stopPatienceMs = 60_000

/** Commits and begins segments often, so that there is always something that a kill can interrupt. */
const settings = { log: { segment: '8 MiB' }, lake: { flushInterval: '5 s' } }

export class OwnServer {
  readonly folder: string
  readonly dataDir: string
  readonly url: string
  /** What the server and its processes print. */
  readonly outputFile: string
  readonly #env: NodeJS.ProcessEnv
  readonly #door: Door
  #child: CliChild | undefined
  /** True while processes of a supervisor that was killed may still be there. */
  #orphans = false
  #stopped = false

  /** Makes the folder; nothing runs yet. @throws FreshetError `invalid_usage` when the folder is in use */
  static async create(options: OwnServerOptions): Promise<OwnServer> {
    return new OwnServer(options, await freePort())
  }

  private constructor(options: OwnServerOptions, port: number) {
    this.folder = makeFolder(options.folder)
    this.dataDir = join(this.folder, 'data')
    this.outputFile = join(this.folder, 'server.log')
    this.#env = { ...options.env }
    this.url = `http://127.0.0.1:${port}`
    this.#door = new Door(this.url, 2)
    const config = { dataDir: this.dataDir, http: { port }, ...settings, streams: options.streams }
    writeFileSync(join(this.folder, 'freshet.config.mjs'), `export default ${JSON.stringify(config, null, 2)}\n`)
  }

  /** Process id of the supervisor; 0 while there is none. */
  get pid(): number {
    return this.#child?.running === true ? this.#child.pid : 0
  }

  /** Starts it and waits until it takes events and answers queries. @throws FreshetError when it does not start */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const child = new CliChild(['start', '--config', 'freshet.config.mjs', '--log-level', 'warn'], {
        cwd: this.folder,
        env: this.#env,
        outputFile: this.outputFile,
      })
      this.#child = child
      if (await this.#isReady(child)) {
        this.#orphans = false
        return
      }
      if (this.#stopped) throw new FreshetError('shutting_down', 'The server was stopped.')
      // After a kill, what is left of the server before may still hold its folder or its port for a moment.
      if (attempt === startsMax)
        throw new FreshetError('server_unreachable', `The server does not start:\n${this.lastOutput()}`)
      await delay(startPauseMs)
    }
  }

  /** kill -9 of the supervisor; its processes end by themselves. */
  async killSupervisor(): Promise<void> {
    this.#orphans = true
    await this.#child?.kill()
  }

  /** Ends it in an orderly way. Returns whether it ended as it should. */
  async stop(): Promise<boolean> {
    this.#stopped = true
    const code = await this.#child?.stop(stopPatienceMs)
    this.#stopped = false
    return code === undefined || code === 0
  }

  /** Ends what runs at once; nothing is started again. */
  abandon(): void {
    this.#stopped = true
    if (this.#child?.running === true || this.#orphans) this.#child?.killGroup()
  }

  /** Ends what runs at once, and removes the folder unless it is to be kept. */
  async close(keep: boolean): Promise<void> {
    this.abandon()
    await this.#child?.ended()
    await this.#door.close()
    // Processes of a supervisor that was killed may write for a moment still.
    if (!keep) rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }

  lastOutput(): string {
    try {
      return readFileSync(this.outputFile, 'utf8').split('\n').slice(-20).join('\n')
    } catch {
      return ''
    }
  }

  async #isReady(child: CliChild): Promise<boolean> {
    const deadline = performance.now() + readyTimeoutMs
    while (child.running && !this.#stopped && performance.now() < deadline) {
      try {
        const { processes, engine } = await this.#door.status()
        const supervisor = processes.find(({ role }) => role === 'supervisor')
        if (supervisor?.pid === child.pid && engine.available) return true
      } catch (error) {
        if (!(error instanceof Error)) throw error
      }
      await delay(lookAgainMs)
    }
    if (child.running) await child.stop(stopPatienceMs)
    return false
  }
}

function makeFolder(wanted: string | null): string {
  if (wanted === null) return mkdtempSync(join(tmpdir(), 'freshet-prove-'))
  if (existsSync(wanted) && readdirSync(wanted).length > 0)
    throw usageError(
      `The folder ${wanted} is not empty.`,
      'Name one that does not exist yet: prove starts from nothing.',
    )
  mkdirSync(wanted, { recursive: true, mode: 0o700 })
  return wanted
}

/** A port of 127.0.0.1 on which nothing listens now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
