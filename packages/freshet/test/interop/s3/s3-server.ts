import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BucketSettings } from '../../../src/storage/object-store.ts'
import { freePort } from '../../support/free-port.ts'
import { runFile } from '../python.ts'
import { waitUntil } from '../wait-until.ts'

/** A real S3 server in a process of its own, which can be killed and started again on its data. */
export class S3Server {
  readonly port: number
  readonly #program: string
  readonly #folder: string
  #process: ChildProcess | undefined
  #buckets = 0

  private constructor(program: string, port: number) {
    this.#program = program
    this.port = port
    this.#folder = mkdtempSync(join(tmpdir(), 'freshet-s3-'))
  }

  /** Builds it the first time. @throws Error that says what it needs for that */
  static async make(): Promise<S3Server> {
    const program = (await runFile(join(import.meta.dirname, 'setup.sh'), [], '')).trim()
    const server = new S3Server(program, await freePort())
    await server.start()
    return server
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** A new bucket, as the sink is told of it: here a bucket is a folder. */
  bucket(): BucketSettings & { bucket: string } {
    const bucket = `bucket-${++this.#buckets}`
    mkdirSync(join(this.#folder, bucket))
    return { bucket, endpoint: this.endpoint, accessKeyId: 'freshet', secretAccessKey: 'not-so-secret' }
  }

  async start(): Promise<void> {
    const args = ['--port', `127.0.0.1:${this.port}`, '--quiet', 'posix', this.#folder]
    const env = { ...process.env, ROOT_ACCESS_KEY: 'freshet', ROOT_SECRET_KEY: 'not-so-secret' }
    const child = spawn(this.#program, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = child
    let log = ''
    child.stderr.on('data', (piece: Buffer) => (log = (log + piece.toString()).slice(-5000)))
    await waitUntil(async () => {
      if (child.exitCode !== null) throw new Error(`The S3 server ended with ${child.exitCode}:\n${log}`)
      return canConnect(this.port)
    })
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const child = this.#process!
    const closed = once(child, 'close')
    child.kill('SIGKILL')
    await closed
  }

  async remove(): Promise<void> {
    const child = this.#process
    if (child !== undefined && child.exitCode === null && child.signalCode === null) await this.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

async function canConnect(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return new Promise((resolve) => {
    socket.on('connect', () => resolve(true))
    socket.on('error', () => resolve(false))
  }).finally(() => socket.destroy()) as Promise<boolean>
}
