/**
 * One thread that runs functions of the configuration, from outside: started when it is first needed, watched, ended when it takes too long or too
 * much memory or has nothing to do for a while, and started anew at the next call. What is sent to it is done one after the other.
 */
import { extname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Timers } from '../../runtime/timers.ts'
import type { FromThread, ThreadData, ToThread } from './thread-messages.ts'

export interface CodeThreadOptions {
  data: Omit<ThreadData, 'progress'>
  /** What a call may take; a thread is given a little longer before it is ended. */
  timeoutMs: number
  memoryBytes: number
  readObject: (bucket: string, sha256: string) => Promise<Uint8Array | undefined>
  timers: Timers
  /** Called when the thread was ended because it had nothing to do. */
  onIdle?: () => void
}

/** The thread ended, or was ended, before it answered. */
export class ThreadEnded extends Error {
  readonly why: 'timeout' | 'out_of_memory' | 'crashed'
  /** Place of the event that it was working on. */
  readonly index: number

  constructor(why: ThreadEnded['why'], index: number, message: string) {
    super(message)
    this.why = why
    this.index = index
  }
}

/** The function has failed, not its thread. */
export class CallFailed extends Error {
  constructor(message: string, stack: string | undefined) {
    super(message)
    if (stack !== undefined) this.stack = stack
  }
}

type Answer = FromThread & { type: 'made' | 'returned' }
type Request = (ToThread & { type: 'batch' }) | (ToThread & { type: 'call' })
/** A request without the number that its answer is known by. */
type Unnumbered<R> = R extends { id: number } ? Omit<R, 'id'> : never

/** Loading the configuration is not counted in. */
const graceMs = 1000
/** A thread has tens of megabytes, and a plan may have dozens of them; to start one takes about as long as a second of work. */
const idleMs = 60_000
const MiB = 2 ** 20

interface Running {
  worker: Worker
  progress: Int32Array
  ready: Promise<void>
  isReady: boolean
}

export class CodeThread {
  readonly #options: CodeThreadOptions
  #running: Running | undefined
  #calls = 0
  #turn: Promise<unknown> = Promise.resolve()
  /** Requests that are not answered. */
  #asked = 0
  #stay: (() => void) | undefined
  #waiting: { id: number; answer: PromiseWithResolvers<Answer> } | undefined

  constructor(options: CodeThreadOptions) {
    this.#options = options
  }

  /** @throws ThreadEnded, CallFailed; Error when the configuration cannot be run */
  async ask(request: Unnumbered<Request>): Promise<Answer> {
    this.#asked++
    this.#stay?.()
    const answer = this.#turn.then(() => this.#ask({ ...request, id: ++this.#calls }))
    this.#turn = answer.catch(() => undefined)
    try {
      return await answer
    } finally {
      if (--this.#asked === 0) this.#stay = this.#options.timers.after(idleMs, () => void this.#leave())
    }
  }

  async close(): Promise<void> {
    this.#stay?.()
    await this.#end()
  }

  async #leave(): Promise<void> {
    await this.#end()
    this.#options.onIdle?.()
  }

  async #end(): Promise<void> {
    const running = this.#running
    this.#running = undefined
    await running?.worker.terminate()
  }

  /** Whose functions it runs. */
  get #owner(): string {
    const { stream, sink } = this.#options.data
    return stream === undefined ? `the sink ${sink}` : `the stream ${stream.name}`
  }

  async #ask(request: Request): Promise<Answer> {
    const running = (this.#running ??= this.#start())
    await running.ready
    const answer = Promise.withResolvers<Answer>()
    this.#waiting = { id: request.id, answer }
    const unwatch = this.#watch(running)
    try {
      running.worker.postMessage(request)
      return await answer.promise
    } finally {
      unwatch()
      this.#waiting = undefined
    }
  }

  #start(): Running {
    const progress = new SharedArrayBuffer(8)
    const worker = new Worker(join(import.meta.dirname, `thread${extname(import.meta.filename)}`), {
      workerData: { ...this.#options.data, progress } satisfies ThreadData,
      resourceLimits: { maxOldGenerationSizeMb: Math.ceil(this.#options.memoryBytes / MiB) },
      execArgv: ['--disable-warning=ExperimentalWarning'],
    })
    worker.unref()
    const ready = Promise.withResolvers<void>()
    ready.promise.catch(() => undefined)
    const running = { worker, progress: new Int32Array(progress), ready: ready.promise, isReady: false }
    worker.on('message', (message: FromThread) => {
      if (message.type === 'ready') {
        running.isReady = true
        ready.resolve()
      } else this.#received(worker, message)
    })
    const ended = (why: ThreadEnded['why'], message: string): void => {
      const isOwn = this.#running === running
      if (isOwn) this.#running = undefined
      if (!running.isReady) ready.reject(new Error(`The thread of ${this.#owner} cannot start: ${message}`))
      else if (isOwn) this.#waiting?.answer.reject(new ThreadEnded(why, Atomics.load(running.progress, 0), message))
    }
    worker.on('error', (error: Error & { code?: string }) => {
      if (error.code === 'ERR_WORKER_OUT_OF_MEMORY')
        ended(
          'out_of_memory',
          `it needs more than the ${Math.ceil(this.#options.memoryBytes / MiB)} MiB that it may have`,
        )
      else ended('crashed', `it ended its thread: ${error.message}`)
    })
    worker.on('exit', (code) => ended('crashed', `it ended its thread with code ${code}`))
    return running
  }

  #received(worker: Worker, message: Exclude<FromThread, { type: 'ready' }>): void {
    if (message.type === 'object') {
      void this.#answerObject(worker, message)
      return
    }
    const waiting = this.#waiting
    if (waiting?.id !== message.id) return
    if (message.type === 'failed') waiting.answer.reject(new CallFailed(message.message, message.stack))
    else waiting.answer.resolve(message)
  }

  async #answerObject(worker: Worker, { id, bucket, sha256 }: FromThread & { type: 'object' }): Promise<void> {
    const say = (message: ToThread): void => worker.postMessage(message)
    try {
      const bytes = await this.#options.readObject(bucket, sha256)
      const problem = `the bucket ${bucket} has no object ${sha256}`
      say(bytes === undefined ? { type: 'object', id, bytes, problem } : { type: 'object', id, bytes })
    } catch (error) {
      say({ type: 'object', id, bytes: undefined, problem: error instanceof Error ? error.message : String(error) })
    }
  }

  /** Ends the thread when it stays at one event for longer than a call may take. */
  #watch({ worker, progress }: Running): () => void {
    const { timers, timeoutMs } = this.#options
    const limitMs = timeoutMs + graceMs
    let beat = Atomics.load(progress, 1)
    let sinceMs = timers.monotonicMs()
    return timers.every(Math.max(20, Math.min(limitMs / 4, 1000)), () => {
      const now = Atomics.load(progress, 1)
      if (now !== beat) {
        beat = now
        sinceMs = timers.monotonicMs()
      } else if (timers.monotonicMs() - sinceMs > limitMs) {
        const error = new ThreadEnded('timeout', Atomics.load(progress, 0), `it took longer than ${timeoutMs} ms`)
        this.#waiting?.answer.reject(error)
        void worker.terminate()
        this.#running = undefined
      }
    })
  }
}
