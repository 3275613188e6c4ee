/** Runs a function over the events of a batch and makes the lines of its outputs; in the thread that the function has for itself. */
import type { StreamPlan } from '../../config/plan.ts'
import { messageOf } from '../../runtime/errors.ts'
import type { Run } from '../source-batch.ts'
import type { FailedEvent, TransformResult } from './functions.ts'
import type { Origin, OutputLines } from './output-lines.ts'
import { ResultWriter, type Outcome } from './result-writer.ts'

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
  /** Where lines are put that fit. */
  room?: Uint8Array
}

/** Calls of an asynchronous function that wait at once. */
const waitingMax = 32

type Event = Origin & Record<string, unknown>

/** An event whose outputs wait for those of the ones before it; without an outcome while its own promise is not kept. */
interface Held {
  index: number
  event: Event
  outcome: Outcome | undefined
}

export class BatchRunner {
  readonly #options: RunBatchOptions

  constructor(options: RunBatchOptions) {
    this.#options = options
  }

  async run(batch: Batch): Promise<TransformResult> {
    const results = new ResultWriter(batch, this.#options.lines)
    if (this.#options.kind === 'each') await this.#each(batch, results)
    else await this.#batches(batch, results)
    return results.end()
  }

  /** An event's lines are written before the next one is read, so that nothing of it is kept. */
  async #each(batch: Batch, results: ResultWriter): Promise<void> {
    const held: Held[] = []
    const waiting = new Set<Promise<void>>()
    for (const { index, event } of eventsOf(batch)) {
      this.#options.atEvent(index)
      const context = new Call(this.#options)
      const called = this.#call(event, context)
      if (!('promised' in called)) {
        if (held.length === 0) results.write(index, event, called)
        else held.push({ index, event, outcome: called })
        continue
      }
      const place: Held = { index, event, outcome: undefined }
      held.push(place)
      const settle = async (): Promise<void> => {
        place.outcome = await this.#settle(called.promised, context)
      }
      const done: Promise<void> = settle().finally(() => waiting.delete(done))
      waiting.add(done)
      if (waiting.size < waitingMax) continue
      await Promise.race(waiting)
      writeSettled(held, results)
    }
    await Promise.all(waiting)
    writeSettled(held, results)
  }

  #call(given: unknown, context: Call): Outcome | { promised: PromiseLike<unknown> } {
    try {
      const returned = this.#options.call(given as never, context)
      return isThenable(returned) ? { promised: returned } : { returned }
    } catch (error) {
      return { failure: failureOf(error) }
    }
  }

  async #batches(batch: Batch, results: ResultWriter): Promise<void> {
    let part: PlacedEvent[] = []
    for (const placed of eventsOf(batch)) {
      part.push(placed)
      if (part.length < this.#options.batchEventsMax) continue
      await this.#part(part, results)
      part = []
    }
    await this.#part(part, results)
  }

  /** Calls the function for many events at once; where that fails, for halves of them, so that others do not suffer from one. */
  async #part(part: readonly PlacedEvent[], results: ResultWriter): Promise<void> {
    if (part.length === 0) return
    this.#options.atEvent(part[0]!.index)
    const context = new Call(this.#options)
    const outcome = await this.#callAll(part, context)
    if ('returned' in outcome) {
      const returned = outcome.returned as unknown[]
      for (const [place, { index, event }] of part.entries()) results.write(index, event, { returned: returned[place] })
    } else if (part.length === 1) {
      results.write(part[0]!.index, part[0]!.event, outcome)
    } else {
      const half = part.length >> 1
      await this.#part(part.slice(0, half), results)
      await this.#part(part.slice(half), results)
    }
  }

  async #callAll(part: readonly PlacedEvent[], context: Call): Promise<Outcome> {
    const called = this.#call(
      part.map(({ event }) => event),
      context,
    )
    const outcome = 'promised' in called ? await this.#settle(called.promised, context) : called
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
const lineFeed = 0x0a
const textBytes = 64 * 1024

interface PlacedEvent {
  index: number
  event: Event
}

/** The events that are to be looked at. */
function* eventsOf({ bytes, skip, leaveOut }: Batch): Generator<PlacedEvent> {
  let index = -1
  for (const text of textsOf(bytes)) {
    for (let start = 0; start < text.length;) {
      const found = text.indexOf('\n', start)
      const end = found < 0 ? text.length : found
      if (end > start && text[start + tellingPlace] !== 'f' && ++index >= skip && !leaveOut.has(index)) {
        yield { index, event: JSON.parse(text.slice(start, end)) as Event }
      }
      start = end + 1
    }
  }
}

/**
 * Whole lines as text, some dozens at once: a call for each line costs more than what is in it, and a text of all of them is so large that it fills
 * the part of the heap that is seldom cleared.
 */
function* textsOf({ buffer, byteOffset, byteLength }: Uint8Array): Generator<string> {
  const bytes = Buffer.from(buffer, byteOffset, byteLength)
  for (let start = 0; start < bytes.length;) {
    const last = start + textBytes < bytes.length ? bytes.lastIndexOf(lineFeed, start + textBytes) : bytes.length
    const found = last < start ? bytes.indexOf(lineFeed, start) : last
    const end = found < 0 ? bytes.length : found + 1
    yield bytes.toString('utf8', start, end)
    start = end
  }
}

/** Writes what can be written in order. */
function writeSettled(held: Held[], results: ResultWriter): void {
  let count = 0
  for (const { index, event, outcome } of held) {
    if (outcome === undefined) break
    results.write(index, event, outcome)
    count++
  }
  held.splice(0, count)
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
