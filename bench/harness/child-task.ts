/**
 * Work in a child process of its own, asked for and answered by messages: the side that asks is `ChildTasks`, the side that works
 * calls `serveTasks`. A child ends when its parent does.
 */
import { fork, type ChildProcess } from 'node:child_process'

interface Request {
  id: number
  spec: unknown
}

type Reply = { id: number; result: unknown } | { id: number; error: string }

/** A child process that runs one module, and does what it is asked to, one thing after the other or several at once. */
export class ChildTasks<Spec, Result> {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, PromiseWithResolvers<Result>>()
  readonly #ended: Promise<void>
  #lastId = 0

  /** @param module URL of the module, which calls `serveTasks` */
  constructor(module: URL, args: readonly string[] = []) {
    this.#child = fork(module, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: ['--disable-warning=ExperimentalWarning'],
    })
    this.#child.on('message', (reply) => this.#onReply(reply as Reply))
    this.#ended = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        resolve()
        for (const { reject } of this.#waiting.values())
          reject(new Error(`${module.pathname} ended with ${signal ?? `code ${code}`}`))
        this.#waiting.clear()
      })
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** @throws Error what the work failed with, or that the process ended */
  run(spec: Spec): Promise<Result> {
    const waiting = Promise.withResolvers<Result>()
    this.#waiting.set(++this.#lastId, waiting)
    this.#child.send({ id: this.#lastId, spec } satisfies Request)
    return waiting.promise
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  #onReply(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if ('error' in reply) waiting?.reject(new Error(reply.error))
    else waiting?.resolve(reply.result as Result)
  }
}

/** Answers what the parent asks, by `work`. */
export function serveTasks(work: (spec: never) => Promise<unknown>): void {
  process.on('disconnect', () => process.exit())
  // Ctrl-C reaches every process of the terminal's group; the parent decides what it means.
  process.on('SIGINT', () => {})
  process.on('message', (message) => {
    const { id, spec } = message as Request
    void work(spec as never).then(
      (result) => process.send?.({ id, result } satisfies Reply),
      (error: unknown) =>
        process.send?.({ id, error: error instanceof Error ? error.message : String(error) } satisfies Reply),
    )
  })
}
