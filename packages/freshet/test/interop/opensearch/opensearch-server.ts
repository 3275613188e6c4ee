import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request } from 'undici'
import { freePort } from '../../support/free-port.ts'
import { runFile } from '../python.ts'

const program = 'java'

/** A real OpenSearch in a process of its own, which can be killed and started again on its data. */
export class OpenSearchServer {
  readonly port: number
  readonly #jars: string
  readonly #folder: string
  #child: ChildProcess | undefined

  private constructor(port: number, jars: string, folder: string) {
    this.port = port
    this.#jars = jars
    this.#folder = folder
  }

  /** Installs it the first time. @throws Error that says what cannot be installed */
  static async create(): Promise<OpenSearchServer> {
    const jars = (await runFile(join(import.meta.dirname, 'setup.sh'), [], '')).trim()
    const server = new OpenSearchServer(await freePort(), jars, await mkdtemp(join(tmpdir(), 'freshet-opensearch-')))
    await server.start()
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const source = join(import.meta.dirname, 'Server.java')
    const args = ['-Xmx512m', '-cp', `${this.#jars}/*`, source, this.#folder, String(this.port)]
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child = child
    let log = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (piece: Buffer) => {
        log = (log + piece.toString()).slice(-20_000)
      })
    }
    const ended = once(child, 'close').then(() => Promise.reject(new Error(`OpenSearch ended:\n${log}`)))
    const ready = new Promise<void>((resolve) => {
      child.stdout.on('data', () => {
        if (/^ready$/m.test(log)) resolve()
      })
    })
    await Promise.race([ready, ended])
    ended.catch(() => undefined)
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const child = this.#child!
    const closed = once(child, 'close')
    child.kill('SIGKILL')
    await closed
  }

  /** What it answers to a GET, parsed; undefined for 404. */
  async get(path: string): Promise<Record<string, unknown> | undefined> {
    const { statusCode, body } = await request(`${this.url}${path}`)
    const text = await body.text()
    if (statusCode === 404) return undefined
    if (statusCode !== 200) throw new Error(`GET ${path}: ${statusCode} ${text}`)
    return JSON.parse(text) as Record<string, unknown>
  }

  async put(path: string, body: object): Promise<void> {
    const headers = { 'content-type': 'application/json' }
    const answer = await request(`${this.url}${path}`, { method: 'PUT', headers, body: JSON.stringify(body) })
    if (answer.statusCode !== 200) throw new Error(`PUT ${path}: ${answer.statusCode} ${await answer.body.text()}`)
    await answer.body.dump()
  }

  /** All documents of an index by their ids, after a refresh. */
  async documents(index: string): Promise<Record<string, unknown>> {
    await request(`${this.url}/${index}/_refresh`, { method: 'POST' }).then(({ body }) => body.dump())
    const found = (await this.get(`/${index}/_search?size=10000`)) as {
      hits: { hits: { _id: string; _source: unknown }[] }
    }
    return Object.fromEntries(found.hits.hits.map(({ _id, _source }) => [_id, _source]))
  }

  async remove(): Promise<void> {
    const child = this.#child
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const closed = once(child, 'close')
      child.stdin!.end()
      await closed
    }
    await rm(this.#folder, { recursive: true, force: true })
  }
}
