import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FreshetProcess } from '../../freshet-process.ts'
import { freePort } from '../../../packages/freshet/test/support/free-port.ts'

/** A folder with a configuration and a data folder, and the servers that run on it one after another, all on one port. */
export class Scene {
  readonly folder: string
  readonly dataDir: string
  readonly #port: number
  readonly #servers: FreshetProcess[] = []

  /** @param words the configuration, plain JSON */
  static async create(name: string, words: Record<string, unknown> = {}, dataDir?: string): Promise<Scene> {
    return new Scene(name, words, await freePort(), dataDir)
  }

  private constructor(name: string, words: Record<string, unknown>, port: number, dataDir?: string) {
    this.folder = mkdtempSync(join(tmpdir(), `freshet-${name}-`))
    this.dataDir = dataDir ?? join(this.folder, 'data')
    this.#port = port
    mkdirSync(this.dataDir, { recursive: true, mode: 0o700 })
    const config = JSON.stringify({ dataDir: this.dataDir, ...words })
    writeFileSync(join(this.folder, 'freshet.config.mjs'), `export default ${config}\n`)
  }

  /** The address of every server of this scene with a gateway. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  get port(): number {
    return this.#port
  }

  /** Starts a server and waits until it is ready. */
  async serve(args: readonly string[] = []): Promise<FreshetProcess> {
    const server = await FreshetProcess.serve(this.folder, ['--port', String(this.#port), ...args])
    this.#servers.push(server)
    return server
  }

  /** Runs any command in the folder; a server among them is stopped with the others. */
  run(args: readonly string[]): FreshetProcess {
    const running = new FreshetProcess(args, this.folder)
    this.#servers.push(running)
    return running
  }

  /** Stops everything and removes the folder, unless it is to be kept. */
  async close({ keep = false } = {}): Promise<void> {
    for (const server of this.#servers) await server.stop()
    if (!keep) rmSync(this.folder, { recursive: true, force: true })
  }
}
