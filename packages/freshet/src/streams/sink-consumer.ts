/**
 * A sink as a consumer. Events that the target will never take become dead letters, which are durable before the checkpoint passes them: first the
 * letters are appended, then the rest of the batch is delivered with the checkpoint behind all of it. A crash between the two appends the
 * same letters again, which are recognised by their ids (I5).
 */
import type { SinkPlan } from '../config/plan.ts'
import type { DeadLetter } from '../events/dead-letter.ts'
import type { Clock } from '../runtime/clock.ts'
import { EventsRefused, type Sink, type SinkEvent } from '../sinks/sink.ts'
import type { Consumer, TakeContext } from './consumer.ts'
import { formatPlace } from './place.ts'
import { placeBehind, type SourceBatch } from './source-batch.ts'
import type { Identity } from './recent-events.ts'
import type { Replayable, ReplayOutcome } from './replay-inputs.ts'
import { readEvent, sourceEvents, type PlacedEvent } from './source-events.ts'

export interface SinkConsumerDeps {
  plan: SinkPlan
  /** Hash of the code that the sink's settings have, '' for none. */
  version: string
  /** What the events of its stream are known by; left out where they have no ids of their own. */
  identity?: Identity | undefined
  /** Opens the target. @throws what may pass */
  open: () => Promise<Sink>
  /** Bytes of events that it is given at once. Left out: 1 MiB. */
  batchBytesMax?: number | undefined
  /** Appends letters to the log; resolves once they are durable. */
  bury: (letters: readonly DeadLetter[]) => Promise<void>
  clock: Clock
}

const batchBytesMax = 1024 * 1024

export class SinkConsumer implements Consumer, Replayable {
  readonly name: string
  readonly from: string
  readonly version: string
  readonly startsAt: 'all' | 'new'
  readonly identity: Identity | undefined
  readonly batchBytesMax: number
  readonly #deps: SinkConsumerDeps
  #sink: Sink | undefined

  constructor(deps: SinkConsumerDeps) {
    this.#deps = deps
    this.name = `sink:${deps.plan.name}`
    this.from = deps.plan.from
    this.version = deps.version
    this.startsAt = deps.plan.start
    this.identity = deps.identity
    this.batchBytesMax = deps.batchBytesMax ?? batchBytesMax
  }

  async checkpoint(): Promise<string | undefined> {
    this.#sink ??= await this.#deps.open()
    return this.#sink.checkpoint()
  }

  async take(batch: SourceBatch, { sequence }: TakeContext): Promise<number> {
    await this.#deliver(batch, sourceEvents(batch), batch.count)
    return sequence + 1
  }

  /** Delivers beside the stream, with the checkpoint as it is; to be called while the runner rests. */
  async replay(inputs: readonly string[], dryRun: boolean): Promise<ReplayOutcome[]> {
    // Only the target could tell, by taking them.
    if (dryRun) return inputs.map(() => ({ accepted: true }))
    const upTo = (await this.checkpoint()) ?? ''
    const outcomes: ReplayOutcome[] = []
    for (const input of inputs) {
      try {
        await this.#sink!.deliver([readEvent(input)], upTo)
        outcomes.push({ accepted: true })
      } catch (error) {
        if (!(error instanceof EventsRefused)) throw error
        outcomes.push({ accepted: false, code: 'refused', message: error.refused.get(0) ?? error.message })
      }
    }
    return outcomes
  }

  async close(): Promise<void> {
    await this.#sink?.close()
  }

  /**
   * @param placed some of the batch, one after the other
   * @param count how many events of the batch are dealt with when these are
   */
  async #deliver(batch: SourceBatch, placed: readonly PlacedEvent[], count: number): Promise<void> {
    const events = placed.map(({ event }) => event)
    const upTo = formatPlace(placeBehind(batch, count, events.at(-1)))
    try {
      await this.#sink!.deliver(events, upTo)
    } catch (error) {
      if (!(error instanceof EventsRefused) || events.length === 0) throw error
      if (error.refused.size === 0 && events.length > 1) {
        const half = placed.length >> 1
        await this.#deliver(batch, placed.slice(0, half), placed[half]!.index)
        await this.#deliver(batch, placed.slice(half), count)
        return
      }
      const refused = error.refused.size > 0 ? error.refused : new Map([[0, error.message]])
      await this.#deps.bury([...refused].map(([index, message]) => this.#letter(events[index]!, message)))
      await this.#sink!.deliver(
        events.filter((_, index) => !refused.has(index)),
        upTo,
      )
    }
  }

  #letter(event: SinkEvent, message: string): DeadLetter {
    const { source, tenant } = event
    return {
      stream: this.from,
      stage: 'sink',
      consumer: this.name,
      code: 'refused',
      message,
      event: event.text,
      eventId: event.id,
      failedAtMs: this.#deps.clock.nowMs(),
      eventTime: event.eventTime,
      receivedAt: event.receivedAt,
      ...(source !== undefined && { source }),
      ...(tenant !== undefined && { tenant }),
    }
  }
}
