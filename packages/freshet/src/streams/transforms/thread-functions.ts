/**
 * Runs a transform's function in a thread of its own. An event at which the thread has to be ended, for time, for memory or because it ended itself, is
 * left out from then on, as failed, and the rest of the batch is run again. Memory may have been filled by those before it: only an event at
 * which that happens again, in a fresh thread, is taken to be the cause.
 */
import { CallFailed, CodeThread, ThreadEnded, type CodeThreadOptions } from './code-thread.ts'
import type { FailedEvent, Functions, TransformJob, TransformResult } from './functions.ts'
import { Rooms } from './rooms.ts'

/** What outputs are expected to need: most of what the events have, or a little more. */
const roomFactor = 1.25
/** Lines are written where there is room for three bytes a character. */
const roomBytesSpare = 256 * 1024

export class ThreadFunctions implements Functions {
  readonly #thread: CodeThread
  readonly #rooms = new Rooms()

  constructor(options: CodeThreadOptions) {
    this.#thread = new CodeThread({ ...options, onIdle: () => this.#rooms.clear() })
  }

  async run({ batch, runs }: TransformJob): Promise<TransformResult> {
    const ended: FailedEvent[] = []
    const suspects = new Set<number>()
    for (;;) {
      const bytes = this.#rooms.copyOf(batch.bytes)
      const room = this.#rooms.take(Math.ceil(bytes.byteLength * roomFactor) + roomBytesSpare)
      try {
        const answer = await this.#thread.ask({
          type: 'batch',
          bytes,
          room,
          runs: runs.map(({ first, count }) => ({ first, count })),
          skip: batch.skip,
          leaveOut: ended.map(({ index }) => index),
        })
        if (answer.type !== 'made') throw new Error('The thread answered something else')
        this.#rooms.give(bytes)
        const failed = [...ended, ...answer.failed].toSorted((a, b) => a.index - b.index)
        return { made: answer.made, failed, release: () => this.#rooms.give(room) }
      } catch (error) {
        if (!(error instanceof ThreadEnded)) throw error
        const { index, why, message } = error
        const isCause = why === 'timeout' || suspects.has(index)
        suspects.add(index)
        if (isCause) ended.push({ index, code: why, message })
      }
    }
  }

  close(): Promise<void> {
    return this.#thread.close()
  }
}

/** Calls functions that a sink has among its settings. */
export class SinkFunctions {
  readonly #thread: CodeThread

  constructor(options: CodeThreadOptions) {
    this.#thread = new CodeThread(options)
  }

  /** @throws Error that says what the function did wrong */
  async call(name: string, args: readonly unknown[]): Promise<unknown> {
    try {
      const answer = await this.#thread.ask({ type: 'call', name, args })
      return answer.type === 'returned' ? answer.value : undefined
    } catch (error) {
      if (!(error instanceof ThreadEnded) && !(error instanceof CallFailed)) throw error
      throw new Error(`The function ${name}: ${error.message}`, { cause: error })
    }
  }

  close(): Promise<void> {
    return this.#thread.close()
  }
}
