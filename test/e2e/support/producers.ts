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
const paceMs = 20
const retryMs = 50

/**
 * Producers that each send batch after batch, every batch with the next number of their sequence and again and again until it is
 * acknowledged, and remember what was. Events lie on three days. From its second batch on, each batch also holds one event of the
 * batch before, for the engine to recognise.
 */
export class Producers {
  /** Ids of events that were acknowledged. */
  readonly acknowledged = new Set<string>()
  /** Answers other than 202, by status and code. */
  readonly refusals = new Map<string, Answer>()
  batches = 0
  readonly #options: Required<ProducerOptions>
  readonly #running: Promise<void>[] = []
  #stopping = false
  #abandoned = false
  #failure: Error | undefined

  constructor(options: ProducerOptions) {
    this.#options = { batchEvents: 20, padding: 0, ...options }
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
      const events = this.#batch(producer, sequence)
      const repeated = sequence === 0 ? [] : this.#batch(producer, sequence - 1).slice(0, 1)
      await this.#deliver([...events, ...repeated], producer, sequence)
      for (const { id } of events) this.acknowledged.add(id)
      this.batches++
      await delay(paceMs)
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
    const headers = { 'freshet-producer': producer, 'freshet-sequence': String(sequence) }
    for (;;) {
      try {
        const answer = await post(url, stream, events, headers)
        const { accepted, duplicates } = answer.body
        if (answer.status === 202) {
          if (Number(accepted) + Number(duplicates) === events.length) return
          throw new Lost(`${producer} ${sequence}: ${JSON.stringify(answer.body)}`)
        }
        this.refusals.set(`${answer.status} ${String(answer.body['code'])}`, answer)
        if (answer.status !== 503)
          throw new Lost(`${producer} ${sequence}: ${answer.status} ${JSON.stringify(answer.body)}`)
      } catch (error) {
        // Nobody answers, or not to the end: whether the batch was taken is not known, so it is sent again.
        if (error instanceof Lost || this.#abandoned) throw error
      }
      await delay(retryMs)
    }
  }
}

/** An answer that no repeat will change. */
class Lost extends Error {}
