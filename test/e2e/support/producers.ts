import { setTimeout as delay } from 'node:timers/promises'
import { post, type Answer } from './api.ts'
import { until } from './until.ts'

export interface ProducerOptions {
  url: string
  stream: string
  /** How many send at once. */
  count: number
  batchEvents?: number
  /** Bytes of ballast in each event. */
  padding?: number
  /**
   * What a repeat is recognised by: the number of its batch in the producer's sequence, the Idempotency-Key of its batch (for
   * streams without an id), or nothing but the ids of its events.
   */
  identity?: 'sequence' | 'key' | 'ids'
  /** Milliseconds between two batches of one producer. */
  paceMs?: number
}

/** The configuration of a stream that takes what they send. */
export const producedStream = {
  schema: {
    type: 'object',
    properties: {
      id: { type: 'string' },
      at: { type: 'string', format: 'date-time' },
      producer: { type: 'string' },
      sequence: { type: 'integer' },
      ballast: { type: 'string' },
    },
    required: ['id', 'at', 'producer', 'sequence'],
  },
  id: 'id',
  time: 'at',
}

const dayMs = 24 * 3600 * 1000
const firstDay = Date.parse('2026-01-10T00:00:00Z')
/** Between batches of one producer: the load is to be steady, not heavy. */
const defaultPaceMs = 20
const retryMs = 50
/** Every so often a batch that was acknowledged is sent once more. */
const againEvery = 5
/** Longer than a server takes to come back; a connection that died without a word must not hold a producer up. */
const answerWithinMs = 30_000

/**
 * Producers that each send batch after batch, each again and again until it is acknowledged, and remember what was. Events lie on
 * three days. From its second batch on, each batch also holds one event of the batch before, for the engine to recognise by its
 * id, where the stream has ids.
 */
export class Producers {
  /** Ids of events that were acknowledged. */
  readonly acknowledged = new Set<string>()
  /** Answers other than 202, by status and code. */
  readonly refusals = new Map<string, Answer>()
  batches = 0
  /** Batches that were acknowledged, by producer. */
  readonly acknowledgedBatches = new Map<string, number>()
  /** Events that the answers called accepted. */
  accepted = 0
  /** Events of requests that were not answered: the log may hold them or not. */
  unanswered = 0
  readonly #options: Required<ProducerOptions>
  readonly #running: Promise<void>[] = []
  #stopping = false
  #abandoned = false
  #failure: Error | undefined

  constructor(options: ProducerOptions) {
    this.#options = { batchEvents: 20, padding: 0, identity: 'sequence', paceMs: defaultPaceMs, ...options }
    for (let index = 0; index < this.#options.count; index++) {
      this.#running.push(this.#run(`p${index}`).catch((error: Error) => void (this.#failure ??= error)))
    }
  }

  get batchEvents(): number {
    return this.#options.batchEvents
  }

  /** Waits until this many more batches are acknowledged. */
  async progress(batches = 10): Promise<void> {
    const goal = this.batches + batches
    await until(`${batches} more batches are acknowledged`, () => {
      if (this.#failure !== undefined) throw this.#failure
      return this.batches >= goal
    })
  }

  /** Lets every producer finish the batch it is at. @throws what a producer met that it could not repeat away */
  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#running)
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Ends at once, whatever became of the batches under way. */
  async abandon(): Promise<void> {
    this.#abandoned = true
    await this.stop().catch(() => undefined)
  }

  async #run(producer: string): Promise<void> {
    for (let sequence = 0; !this.#stopping; sequence++) {
      await this.#deliver(this.#body(producer, sequence), producer, sequence)
      for (const { id } of this.#batch(producer, sequence)) this.acknowledged.add(id)
      this.acknowledgedBatches.set(producer, sequence + 1)
      this.batches++
      if (sequence % againEvery === againEvery - 1) {
        const old = sequence - (sequence % 3)
        await this.#deliver(this.#body(producer, old), producer, old)
      }
      await delay(this.#options.paceMs)
    }
  }

  #body(producer: string, sequence: number) {
    const isWithoutIds = this.#options.identity === 'key'
    const repeated = sequence === 0 || isWithoutIds ? [] : this.#batch(producer, sequence - 1).slice(0, 1)
    return [...this.#batch(producer, sequence), ...repeated]
  }

  #identify(producer: string, sequence: number): Record<string, string> {
    switch (this.#options.identity) {
      case 'sequence':
        return { 'freshet-producer': producer, 'freshet-sequence': String(sequence) }
      case 'key':
        return { 'freshet-source': producer, 'idempotency-key': `${producer}-${sequence}` }
      case 'ids':
        return { 'freshet-source': producer }
    }
  }

  #batch(producer: string, sequence: number) {
    const { batchEvents, padding } = this.#options
    return Array.from({ length: batchEvents }, (_, index) => ({
      id: `${producer}-${sequence}-${index}`,
      at: new Date(firstDay + (index % 3) * dayMs + sequence * 1000 + index).toISOString(),
      producer,
      sequence,
      ...(padding > 0 && { ballast: `${producer}${sequence}`.padEnd(padding, 'x') }),
    }))
  }

  async #deliver(events: readonly unknown[], producer: string, sequence: number): Promise<void> {
    const { url, stream } = this.#options
    const headers = this.#identify(producer, sequence)
    for (;;) {
      try {
        const answer = await post(url, stream, events, headers, AbortSignal.timeout(answerWithinMs))
        const { accepted, duplicates } = answer.body
        if (answer.status === 202) {
          this.accepted += Number(accepted)
          if (Number(accepted) + Number(duplicates) === events.length) return
          throw new Lost(`${producer} ${sequence}: ${JSON.stringify(answer.body)}`)
        }
        this.refusals.set(`${answer.status} ${String(answer.body['code'])}`, answer)
        if (answer.status !== 503)
          throw new Lost(`${producer} ${sequence}: ${answer.status} ${JSON.stringify(answer.body)}`)
      } catch (error) {
        // Nobody answers, or not to the end: whether the batch was taken is not known, so it is sent again.
        if (error instanceof Lost || this.#abandoned) throw error
        this.unanswered += events.length
      }
      await delay(retryMs)
    }
  }
}

/** An answer that no repeat will change. */
class Lost extends Error {}
