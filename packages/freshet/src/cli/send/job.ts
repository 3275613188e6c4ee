import { stat } from 'node:fs/promises'
import { FreshetError } from '../../runtime/errors.ts'
import type { Client } from '../client.ts'
import type { CliContext } from '../context.ts'
import { makeBatches, type Batch } from './batches.ts'
import type { CsvOptions } from './csv.ts'
import { Deliverer, type Compression } from './deliver.ts'
import { fileProducer, PipeKeys, type SendIdentity } from './identity.ts'
import { openInput, shapeOf, type InputFormat, type InputShape, type OpenInput, type Source } from './input.ts'
import { runPipeline } from './pipeline.ts'
import { Progress } from './progress.ts'
import { SendReport } from './report.ts'

export interface SendOptions {
  stream: string
  format: InputFormat | null
  delimiter: string | null
  csv: Omit<CsvOptions, 'delimiter'>
  batchEvents: number
  concurrency: number
  /** null: made from the content. */
  producer: string | null
  source: string | null
  compression: Compression
  rejectsFile: string | null
  errorsMax: number
  retryForMs: number | null
  lingerMs: number | null
  quiet: boolean
}

/** Bytes after which a batch is sent although it has fewer events than it may. Changing it changes what counts as a repeat. */
const batchBytesMax = 4 * 1024 * 1024

/**
 * Sends the events of all sources, each event once. What makes a repeat recognisable is made from the content: for a file a
 * producer id over all of it, with the number of the batch as sequence; for a pipe an idempotency key over all batches so far.
 * Memory holds the batches under way and one piece of input, whatever the size of the input.
 */
export class SendJob {
  readonly report: SendReport
  readonly #context: CliContext
  readonly #options: SendOptions
  readonly #deliverer: Deliverer
  readonly #stop = new AbortController()
  readonly #cut = new AbortController()
  #progress: Progress
  #input: OpenInput | null = null
  /** Sequence of the next batch under a producer that was named. */
  #nextSequence = 0
  #reached = 'before anything was acknowledged'

  constructor(client: Client, context: CliContext, options: SendOptions) {
    this.#context = context
    this.#options = options
    const print = (line: string): void => this.#progress.print(line)
    this.report = new SendReport({
      errorsMax: options.errorsMax,
      rejectsFile: options.rejectsFile,
      cwd: context.cwd,
      print,
    })
    this.#progress = this.#newProgress(null)
    this.#deliverer = new Deliverer({
      client,
      stream: options.stream,
      source: options.source,
      compression: options.compression,
      retryForMs: options.retryForMs,
      nowMs: () => context.nowMs(),
      sleep: (ms, signal) => context.sleep(ms, signal),
      jitter: Math.random,
      onRetry: (error, waitMs) => {
        this.report.retries++
        this.#progress.waiting(error.message, waitMs)
      },
    })
  }

  get interrupted(): boolean {
    return this.#stop.signal.aborted
  }

  get elapsedMs(): number {
    return this.#progress.elapsedMs
  }

  /** Up to where everything is acknowledged, as the end of a sentence that begins with "stopped". */
  get reached(): string {
    return this.#reached
  }

  /** The first time, what is under way is finished and nothing more begun; the second time, it is cut off. */
  interrupt(): void {
    if (this.interrupted) this.#cut.abort()
    this.#stop.abort()
    this.#input?.close()
  }

  close(): void {
    this.#progress.clear()
    this.report.close()
  }

  /** @throws FreshetError when the server refuses or cannot be reached, or input cannot be read. Not when interrupted. */
  async run(sources: readonly Source[]): Promise<void> {
    const sizes = sources.map((source) => source.size)
    this.#progress = this.#newProgress(
      sizes.includes(null) ? null : sizes.reduce<number>((sum, size) => sum + size!, 0),
    )
    try {
      for (const source of sources) {
        if (this.interrupted) return
        await this.#sendSource(source)
      }
    } catch (error) {
      if (!this.interrupted || this.#isServerError(error)) throw error
    }
  }

  async #sendSource(source: Source): Promise<void> {
    const shape = shapeOf(source.label, this.#options)
    const stamp = await stampOf(source)
    const identityOf = await this.#identify(source, shape)
    const input = await openInput(source, shape, {
      csv: this.#options.csv,
      onBytes: (count) => (this.#progress.bytesRead += count),
    })
    this.#input = input
    const batches = makeBatches(input.items, {
      eventsMax: this.#options.batchEvents,
      bytesMax: batchBytesMax,
      lingerMs: source.path === null ? this.#options.lingerMs : null,
      onBroken: (item) => this.report.broken(source.label, item),
      sleep: (ms, signal) => this.#context.sleep(ms, signal),
    })
    const identified = withIdentity(batches, identityOf)
    const done = new DoneMark()
    try {
      await runPipeline(
        identified,
        async (batch, stop) => {
          const outcome = await this.#deliverer.deliver(batch, batch.identity, stop, this.#cut.signal)
          this.report.answered(source.label, batch, outcome)
          const line = done.add(batch)
          if (line !== null) this.#reached = `after line ${line} of ${source.label}`
          this.#progress.update()
        },
        {
          concurrency: this.#options.concurrency,
          windowBatches: Math.max(16, 4 * this.#options.concurrency),
          stop: this.#stop.signal,
        },
      )
    } finally {
      input.close()
      this.#input = null
    }
    if (!this.interrupted && stamp !== (await stampOf(source))) throw changed(source.label)
  }

  /** The headers that identify each batch, in the order of the batches. */
  async #identify(source: Source, shape: InputShape): Promise<(batch: Batch) => Record<string, string>> {
    const { stream, producer, batchEvents, csv } = this.#options
    if (producer !== null) {
      return () => ({ 'freshet-producer': producer, 'freshet-sequence': String(this.#nextSequence++) })
    }
    const identity: SendIdentity = {
      stream,
      source: this.#options.source,
      batchEvents,
      batchBytes: batchBytesMax,
      shape,
      csv,
    }
    if (source.path === null) {
      const keys = new PipeKeys(identity)
      return (batch) => ({ 'idempotency-key': keys.next(batch.body) })
    }
    this.#progress.note(`Reading ${source.label} once, to tell whether it was sent before.`)
    const id = await fileProducer(identity, source, this.#stop.signal)
    return (batch) => ({ 'freshet-producer': id, 'freshet-sequence': String(batch.index) })
  }

  #newProgress(bytesTotal: number | null): Progress {
    return new Progress({ context: this.#context, report: this.report, bytesTotal, quiet: this.#options.quiet })
  }

  #isServerError(error: unknown): boolean {
    return error instanceof FreshetError && error.code !== 'invalid_request'
  }
}

type IdentifiedBatch = Batch & { identity: Record<string, string> }

async function* withIdentity(
  batches: AsyncGenerator<Batch>,
  identityOf: (batch: Batch) => Record<string, string>,
): AsyncGenerator<IdentifiedBatch> {
  for await (const batch of batches) yield { ...batch, identity: identityOf(batch) }
}

/** How far everything is done, although batches finish out of order. */
class DoneMark {
  readonly #lastLines = new Map<number, number>()
  #next = 0

  /** Marks a batch as done; the last line of the input up to which all is done, when that moved. */
  add(batch: Batch): number | null {
    let line: number | null = null
    this.#lastLines.set(batch.index, batch.lines.at(-1) ?? 0)
    for (let found = this.#lastLines.get(this.#next); found !== undefined; found = this.#lastLines.get(this.#next)) {
      line = found
      this.#lastLines.delete(this.#next)
      this.#next++
    }
    return line
  }
}

/** Size and time of change of a file; null for a pipe. */
async function stampOf(source: Source): Promise<string | null> {
  if (source.path === null) return null
  const found = await stat(source.path)
  return `${found.size} ${found.mtimeMs}`
}

function changed(label: string): FreshetError {
  return new FreshetError('invalid_request', `${label} was written to while it was being sent.`, {
    hint: 'Send it again when it is complete, or pipe it in.',
  })
}
