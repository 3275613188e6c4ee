/**
 * A stream that is made of another one, as a consumer: what the function makes of a batch is appended to the stream's own log, run by run (source and
 * hour of arrival, as the ledger counts), each with the next number of this producer's sequence. A run without outputs is appended as a
 * heartbeat, so the numbers follow from the input alone, and completeness goes on through the transform.
 *
 * Order: dead letters, then the outputs. A crash in between, or among them, does all of it again: letters are known by their ids, outputs by their
 * numbers (runner.ts).
 */
import type { StreamPlan, TransformPlan } from '../../config/plan.ts'
import type { DeadLetter } from '../../events/dead-letter.ts'
import type { AppendBatch } from '../../log/log.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Consumer, TakeContext } from '../consumer.ts'
import { runsOf, type Run, type SourceBatch } from '../source-batch.ts'
import { appendsOf, batchOf, type Replayable, type ReplayOutcome } from '../replay-inputs.ts'
import { failedLetters } from './failed-letters.ts'
import type { Functions, TransformResult } from './functions.ts'

export interface TransformConsumerDeps {
  /** A stream with a transform. */
  stream: StreamPlan & { transform: TransformPlan }
  functions: Functions
  /** Appends batches to a stream's log in this order; resolves once all are durable. */
  appendAll: (stream: string, batches: readonly AppendBatch[]) => Promise<void>
  /** Appends letters to the log; resolves once they are durable. */
  bury: (letters: readonly DeadLetter[]) => Promise<void>
  clock: Clock
}

const batchBytesMax = 2 * 1024 * 1024

export class TransformConsumer implements Consumer, Replayable {
  readonly name: string
  readonly from: string
  readonly version: string
  readonly startsAt = 'all'
  readonly batchBytesMax = batchBytesMax
  readonly #deps: TransformConsumerDeps
  readonly #prepared = new WeakMap<SourceBatch, Promise<TransformResult>>()

  constructor(deps: TransformConsumerDeps) {
    this.#deps = deps
    const { name, transform } = deps.stream
    this.name = `transform:${name}`
    this.from = transform.from
    this.version = transform.version
  }

  async checkpoint(): Promise<undefined> {
    return undefined
  }

  prepare(batch: SourceBatch): void {
    const result = this.#run(batch)
    // What goes wrong shows when the batch is taken.
    result.catch(() => undefined)
    this.#prepared.set(batch, result)
  }

  async take(batch: SourceBatch, { sequence }: TakeContext): Promise<number> {
    const { made, failed, release } = await (this.#prepared.get(batch) ?? this.#run(batch))
    this.#prepared.delete(batch)
    const { stream, bury, appendAll, clock } = this.#deps
    if (failed.length > 0) await bury(failedLetters(stream, batch, failed, clock.nowMs()))
    const runs = runsOf(batch.batches)
    const batches = runs.map((run, index): AppendBatch => ({
      lines: made[index]!.count === 0 ? [] : [made[index]!.bytes],
      count: made[index]!.count,
      ...arrivalOf(run),
      producer: { id: this.name, sequence: sequence + index },
    }))
    await appendAll(stream.name, batches)
    release?.()
    return sequence + runs.length
  }

  async replay(inputs: readonly string[], dryRun: boolean): Promise<ReplayOutcome[]> {
    const batch = batchOf(inputs)
    const { made, failed } = await this.#run(batch)
    const { stream, appendAll } = this.#deps
    if (!dryRun) await appendAll(stream.name, appendsOf(batch, made))
    const failures = new Map(failed.map(({ index, code, path, message }) => [index, { code, path, message }]))
    return inputs.map((_, index): ReplayOutcome => {
      const failure = failures.get(index)
      if (failure === undefined) return { accepted: true }
      const { path, ...rest } = failure
      return { accepted: false, ...rest, ...(path !== undefined && { path }) }
    })
  }

  close(): Promise<void> {
    return this.#deps.functions.close()
  }

  #run(batch: SourceBatch): Promise<TransformResult> {
    return this.#deps.functions.run({ batch, runs: runsOf(batch.batches) })
  }
}

function arrivalOf({ source, receivedAtMs, eventTimeMaxMs }: Run): Omit<AppendBatch, 'lines' | 'count'> {
  return {
    receivedAtMs,
    ...(source !== undefined && { source }),
    ...(eventTimeMaxMs !== undefined && { eventTimeMaxMs }),
  }
}
