import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { runFile } from '../python.ts'

export type SparkRow = Record<string, unknown>

/** A Spark of its own process, for one lake folder; its catalog is `lake`, and `wh` is a catalog beside it. */
export class Spark {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string>
  readonly #scratch: string
  #log = ''

  private constructor(child: ChildProcess, scratch: string) {
    this.#child = child
    this.#scratch = scratch
    this.#answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
    child.stderr!.on('data', (piece: Buffer) => {
      this.#log = (this.#log + piece.toString()).slice(-20_000)
    })
  }

  /** Installs it the first time. @throws Error that says what cannot be installed */
  static async start(lakeDir: string): Promise<Spark> {
    const [python, jar] = (await runFile(join(import.meta.dirname, 'setup.sh'), [], '')).trim().split('\n')
    const scratch = await mkdtemp(join(tmpdir(), 'freshet-spark-'))
    const args = [join(import.meta.dirname, 'server.py'), jar!, lakeDir, join(scratch, 'wh'), join(scratch, 'local')]
    const child = spawn(python!, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    return new Spark(child, scratch)
  }

  /** Where the catalog `wh` has its tables. */
  get ownDir(): string {
    return join(this.#scratch, 'wh')
  }

  /** Runs one statement. @throws Error with what Spark said */
  async sql(statement: string): Promise<SparkRow[]> {
    this.#child.stdin!.write(`${JSON.stringify({ sql: statement })}\n`)
    const { value, done } = await this.#answers.next()
    if (done === true) throw new Error(`Spark ended at: ${statement}\n${this.#log}`)
    const answer = JSON.parse(value) as { rows?: SparkRow[]; error?: string }
    if (answer.rows === undefined) throw new Error(`${statement}: ${answer.error}`)
    return answer.rows
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('close', resolve))
    this.#child.stdin!.end()
    if (this.#child.exitCode === null && this.#child.signalCode === null) await ended
    await rm(this.#scratch, { recursive: true, force: true })
  }
}
