/** All consumers of a plan, each with a runner of its own, and what can be asked of them. */
import type { Plan, SinkPlan, StreamPlan, TransformPlan } from '../config/plan.ts'
import { appendDeadLetters, type DeadLetter } from '../events/dead-letter.ts'
import type { AppendBatch } from '../log/log.ts'
import { FreshetError } from '../runtime/errors.ts'
import { nearest } from '../config/spelling.ts'
import { isLakePlace, type LogPlace } from './place.ts'
import { identityOf } from './recent-events.ts'
import type { Replayable, ReplayOutcome } from './replay-inputs.ts'
import { Runner, type ConsumerStatus, type RunnerDeps } from './runner.ts'
import { SinkConsumer, type SinkConsumerDeps } from './sink-consumer.ts'
import type { Functions } from './transforms/functions.ts'
import { TransformConsumer } from './transforms/transform-consumer.ts'

export interface WorkerDeps extends RunnerDeps {
  plan: Pick<Plan, 'streams' | 'sinks'>
  /** Appends batches to a stream's log in this order; resolves once all are durable. */
  appendAll: (stream: string, batches: readonly AppendBatch[]) => Promise<void>
  functionsOf: (stream: DerivedStream) => Functions
  openSink: (plan: SinkPlan) => Pick<SinkConsumerDeps, 'version' | 'open' | 'batchBytesMax'>
}

export type DerivedStream = StreamPlan & { transform: TransformPlan }

export class Worker {
  readonly #deps: WorkerDeps
  readonly #runners = new Map<string, { runner: Runner; consumer: Replayable }>()
  #unsubscribe: (() => void) | undefined

  constructor(deps: WorkerDeps) {
    this.#deps = deps
    const { plan, clock } = deps
    const bury = (letters: readonly DeadLetter[]): Promise<void> => appendDeadLetters(deps.log, letters)
    for (const stream of Object.values(derivedStreams(plan))) {
      const functions = deps.functionsOf(stream)
      this.#add(new TransformConsumer({ stream, functions, appendAll: deps.appendAll, bury, clock }))
    }
    for (const sink of Object.values(plan.sinks)) {
      const identity = identityOf(plan.streams[sink.from] ?? { id: null, time: null })
      this.#add(new SinkConsumer({ plan: sink, identity, ...deps.openSink(sink), bury, clock }))
    }
  }

  #add(consumer: TransformConsumer | SinkConsumer): void {
    this.#runners.set(consumer.name, { runner: new Runner(consumer, this.#deps), consumer })
  }

  start(): void {
    const byStream = Map.groupBy(this.#runners.values(), ({ consumer }) => (consumer as TransformConsumer).from)
    this.#unsubscribe = this.#deps.log.subscribe((stream) => {
      for (const { runner } of byStream.get(stream) ?? []) runner.wake()
    })
    for (const { runner } of this.#runners.values()) runner.start()
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.()
    await Promise.all([...this.#runners.values()].map(({ runner }) => runner.stop()))
  }

  async status(): Promise<ConsumerStatus[]> {
    const all = await Promise.all([...this.#runners.values()].map(({ runner }) => runner.status()))
    return all.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** Gives inputs to a consumer again, while it takes nothing of its stream. @throws FreshetError `not_found` */
  async replay(consumer: string, inputs: readonly string[], dryRun: boolean): Promise<ReplayOutcome[]> {
    const found = this.#find(consumer)
    const goOn = await found.runner.pause()
    try {
      return await found.consumer.replay(inputs, dryRun)
    } finally {
      goOn()
    }
  }

  /**
   * Makes the transform of a stream rest: what it has taken is in the stream's log, and it takes nothing more before `goOn` is called.
   * @throws FreshetError `not_found`, `worker_unavailable`, or `replay_refused` while it has not come to the log yet
   */
  async rest(stream: string): Promise<{ place: LogPlace; goOn: () => void }> {
    const { runner } = this.#find(`transform:${stream}`)
    const goOn = await runner.pause()
    const place = runner.restingPlace
    if (place !== undefined && !isLakePlace(place)) return { place, goOn }
    goOn()
    if (place === undefined) {
      const { problem } = await runner.status()
      throw new FreshetError('worker_unavailable', `The transform of ${stream} does not get on: ${problem}`)
    }
    throw new FreshetError(
      'replay_refused',
      `The transform of ${stream} is still taking what its source had before it.`,
      {
        hint: 'Ask again when `freshet status` says that it is running.',
      },
    )
  }

  #find(consumer: string): { runner: Runner; consumer: Replayable } {
    const found = this.#runners.get(consumer)
    if (found !== undefined) return found
    const names = [...this.#runners.keys()]
    const near = nearest(consumer, names)
    const hint = near === undefined ? `There are: ${names.join(', ') || 'none'}.` : `Did you mean "${near}"?`
    throw new FreshetError('not_found', `There is no consumer "${consumer.slice(0, 100)}".`, { hint })
  }
}

/** The streams that transforms make. */
export function derivedStreams({ streams }: Pick<Plan, 'streams'>): Record<string, DerivedStream> {
  return Object.fromEntries(
    Object.entries(streams).filter((entry): entry is [string, DerivedStream] => entry[1].transform !== undefined),
  )
}
