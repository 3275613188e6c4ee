/** Runs a function over the events of a batch and makes the lines of its outputs; in the thread that the function has for itself. */
import type { StreamPlan } from '../../config/plan.ts'
import type { EventFault } from '../../events/refusal.ts'
import { messageOf } from '../../runtime/errors.ts'
import type { Run } from '../source-batch.ts'
import type { FailedEvent, MadeLines, TransformResult } from './functions.ts'
import type { Origin, OutputLines } from './output-lines.ts'

/** What a function is given besides events. */
interface CallContext {
  readonly signal: AbortSignal
  readonly object: (event: { bucket: string; sha256: string }) => Promise<Uint8Array>
}

export interface RunBatchOptions {
  kind: 'each' | 'batch'
  /** The user's function. */
  call: (events: never, context: CallContext) => unknown
  lines: OutputLines
  timeoutMs: number
  batchEventsMax: number
  readObject: (bucket: string, sha256: string) => Promise<Uint8Array>
  /** Told which event is being worked on, again and again: whoever watches finds out by it which one never ends. */
  atEvent: (index: number) => void
}

export interface Batch {
  bytes: Uint8Array
  runs: readonly Pick<Run, 'first' | 'count'>[]
  skip: number
  /** Events that are not to be looked at: they have failed before. */
  leaveOut: ReadonlySet<number>
}

/** Calls of an asynchronous function that wait at once. */
const waitingMax = 32

type Event = Origin & Record<string, unknown>

/** What came of one event: what the function returned, or how it failed. */
type Outcome = { returned: unknown } | { failure: Omit<FailedEvent, 'index'> }

/** By place in the batch; nothing for an event that is not looked at. */
type Events = readonly (Event | undefined)[]
type Outcomes = (Outcome | undefined)[]

export class BatchRunner {
  readonly #options: RunBatchOptions

  constructor(options: RunBatchOptions) {
    this.#options = options
  }

  async run(batch: Batch): Promise<TransformResult> {
    const events = readEvents(batch)
    const outcomes = this.#options.kind === 'each' ? await this.#each(events) : await this.#batches(events)
    return this.#write(batch, events, outcomes)
  }

  async #each(events: Events): Promise<Outcomes> {
    const outcomes: Outcomes = []
    const waiting = new Set<Promise<void>>()
    for (let index = 0; index < events.length; index++) {
      const event = events[index]
      outcomes.push(undefined)
      if (event === undefined) continue
      this.#options.atEvent(index)
      const context = new Call(this.#options)
      try {
        const returned = this.#options.call(event as never, context)
        if (!isThenable(returned)) {
          outcomes[index] = { returned }
          continue
        }
        const settle = async (): Promise<void> => {
          outcomes[index] = await this.#settle(returned, context)
        }
        const done: Promise<void> = settle().finally(() => waiting.delete(done))
        waiting.add(done)
        if (waiting.size >= waitingMax) await Promise.race(waiting)
      } catch (error) {
        outcomes[index] = { failure: failureOf(error) }
      }
    }
    await Promise.all(waiting)
    return outcomes
  }

  async #batches(events: Events): Promise<Outcomes> {
    const outcomes: Outcomes = Array.from(events, () => undefined)
    const all = events.flatMap((event, index): [number, Event][] => (event === undefined ? [] : [[index, event]]))
    for (let at = 0; at < all.length; at += this.#options.batchEventsMax) {
      await this.#part(all.slice(at, at + this.#options.batchEventsMax), outcomes)
    }
    return outcomes
  }

  /** Calls the function for many events at once; where that fails, for halves of them, so that others do not suffer from one. */
  async #part(part: readonly [number, Event][], outcomes: Outcomes): Promise<void> {
    if (part.length === 0) return
    this.#options.atEvent(part[0]![0])
    const context = new Call(this.#options)
    const outcome = await this.#callAll(part, context)
    if ('returned' in outcome) {
      const returned = outcome.returned as unknown[]
      for (const [place, [index]] of part.entries()) outcomes[index] = { returned: returned[place] }
    } else if (part.length === 1) {
      outcomes[part[0]![0]] = outcome
    } else {
      const half = part.length >> 1
      await this.#part(part.slice(0, half), outcomes)
      await this.#part(part.slice(half), outcomes)
    }
  }

  async #callAll(part: readonly [number, Event][], context: Call): Promise<Outcome> {
    let outcome: Outcome
    try {
      const returned = this.#options.call(part.map(([, event]) => event) as never, context)
      outcome = isThenable(returned) ? await this.#settle(returned, context) : { returned }
    } catch (error) {
      return { failure: failureOf(error) }
    }
    if ('failure' in outcome) return outcome
    const { returned } = outcome
    if (Array.isArray(returned) && returned.length === part.length) return outcome
    const found = Array.isArray(returned) ? `a list of ${returned.length}` : `a ${typeof returned}`
    const message = `the function returned ${found} for ${part.length} events: it must return a list with one entry for each`
    return { failure: { code: 'invalid_event', message } }
  }

  /** Waits for a promise of the function's, as long as it may take. */
  async #settle(returned: PromiseLike<unknown>, context: Call): Promise<Outcome> {
    const { timeoutMs } = this.#options
    const { promise, resolve } = Promise.withResolvers<Outcome>()
    const timer = setTimeout(() => {
      context.abort()
      resolve({ failure: { code: 'timeout', message: `it took longer than ${timeoutMs} ms` } })
    }, timeoutMs)
    returned.then(
      (value) => resolve({ returned: value }),
      (error: unknown) => resolve({ failure: failureOf(error) }),
    )
    try {
      return await promise
    } finally {
      clearTimeout(timer)
    }
  }

  #write({ runs }: Batch, events: Events, outcomes: Outcomes): TransformResult {
    const made: MadeLines[] = []
    const failed: FailedEvent[] = []
    for (const { first, count } of runs) {
      let text = ''
      let lines = 0
      for (let index = first; index < first + count; index++) {
        const outcome = outcomes[index]
        if (outcome === undefined) continue
        if ('failure' in outcome) {
          failed.push({ index, ...outcome.failure })
          continue
        }
        const written = this.#options.lines.make(outcome.returned, events[index]!)
        if ('code' in written) {
          failed.push({ index, ...invalid(written) })
          continue
        }
        text += written.text
        lines += written.count
      }
      made.push({ bytes: Buffer.from(text), count: lines })
    }
    return { made, failed }
  }
}

/** The function of a stream's transform, of the configuration's words. @throws Error when there is none */
export function functionOf(words: Record<string, unknown>, { name, transform }: StreamPlan): RunBatchOptions['call'] {
  const stream = (words['streams'] as Record<string, Record<string, unknown>> | undefined)?.[name]
  const found = stream?.[transform?.kind ?? '']
  if (typeof found === 'function') return found as RunBatchOptions['call']
  throw new Error(`The configuration no longer has the function streams.${name}.${transform?.kind}`)
}

/** Events' lines begin with `{"_e`, those of frames with `{"_f`. */
const tellingPlace = 3

/** The events that are to be looked at. The bytes are made text at once: a call for each line costs more than what is in it. */
function readEvents({ bytes, skip, leaveOut }: Batch): Events {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  const events: (Event | undefined)[] = []
  for (let start = 0; start < text.length;) {
    const found = text.indexOf('\n', start)
    const end = found < 0 ? text.length : found
    if (end > start && text[start + tellingPlace] !== 'f') {
      const index = events.length
      const isWanted = index >= skip && !leaveOut.has(index)
      events.push(isWanted ? (JSON.parse(text.slice(start, end)) as Event) : undefined)
    }
    start = end + 1
  }
  return events
}

class Call implements CallContext {
  readonly #options: RunBatchOptions
  #abort: AbortController | undefined

  constructor(options: RunBatchOptions) {
    this.#options = options
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    return this.#abort.signal
  }

  /** A function of its own, so that it can be taken out of the context: `(event, { object }) => ...`. */
  get object(): CallContext['object'] {
    return async ({ bucket, sha256 }) => this.#options.readObject(bucket, sha256)
  }

  abort(): void {
    this.#abort?.abort()
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

function failureOf(error: unknown): Omit<FailedEvent, 'index'> {
  const stack = error instanceof Error ? error.stack : undefined
  return { code: 'function_failed', message: messageOf(error), ...(stack !== undefined && { stack }) }
}

function invalid({ code, path, reason }: EventFault): Omit<FailedEvent, 'index'> {
  return { code, path, message: `the output ${path === '' ? '' : `at ${path} `}${reason}` }
}
