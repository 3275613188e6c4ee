import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { extname, join } from 'node:path'

// The same file runs from src, by type stripping, and from dist.
const childModule = join(import.meta.dirname, `cli-child${extname(import.meta.filename)}`)

/** A `freshet` command in a process of its own, with what it prints in a file. */
export class CliChild {
  readonly #process: ChildProcess
  readonly #exit: Promise<unknown>

  constructor(args: readonly string[], options: { cwd: string; env: NodeJS.ProcessEnv; outputFile: string }) {
    const output = openSync(options.outputFile, 'a', 0o600)
    try {
      this.#process = fork(childModule, [...args], {
        cwd: options.cwd,
        // As bin/freshet.js does: queries and file access share the pool.
        env: { UV_THREADPOOL_SIZE: '16', ...options.env },
        execArgv: ['--disable-warning=ExperimentalWarning'],
        stdio: ['ignore', output, output, 'ipc'],
        // A group of its own, so that a Ctrl-C reaches it in an orderly way, and what is left of it can be ended together.
        detached: true,
      })
    } finally {
      closeSync(output)
    }
    this.#exit = once(this.#process, 'exit').catch(() => undefined)
  }

  /** 0 when it could not be started. */
  get pid(): number {
    return this.#process.pid ?? 0
  }

  get running(): boolean {
    return this.pid !== 0 && this.#process.exitCode === null && this.#process.signalCode === null
  }

  /** Waits for its end. Returns the exit code; null when a signal ended it. */
  async ended(): Promise<number | null> {
    if (this.running) await this.#exit
    return this.#process.exitCode
  }

  /** kill -9 of this process alone. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.ended()
  }

  /** Asks it to end, and ends it and everything it started when it does not within `patienceMs`. */
  async stop(patienceMs: number): Promise<number | null> {
    if (!this.running) return this.#process.exitCode
    this.#process.kill('SIGTERM')
    const timer = setTimeout(() => this.killGroup(), patienceMs)
    try {
      return await this.ended()
    } finally {
      clearTimeout(timer)
    }
  }

  /** kill -9 of this process and of all that it started. */
  killGroup(): void {
    try {
      if (this.pid !== 0) process.kill(-this.pid, 'SIGKILL')
    } catch {
      // There is nothing left of it, or no such thing as a group on this system.
      this.#process.kill('SIGKILL')
    }
  }
}
