/** Posting batches of the corpus over a number of connections, as fast as they are acknowledged or at a given rate. */
import { setTimeout as sleep } from 'node:timers/promises'
import { quantile } from '../../examples/quickstart/quantile.ts'
import { batchStart, distinctEvents, type BatchShape, type Corpus } from './corpus.ts'
import { HttpConnection } from './http-connection.ts'

export interface LoadSpec {
  port: number
  connections: number
  shape: BatchShape
  /** Number of the first event; the run sends consecutive ones. */
  first: number
  /** The run ends when it has sent this many batches, or begins no more after this time. */
  batches?: number
  seconds?: number
  /** Events a second, all connections together; left out: as fast as they are acknowledged. */
  eventsPerSecond?: number
  /** Each connection is a producer of this name and a number, with a sequence of its own; left out: no producers. */
  producer?: string
}

export interface LoadResult {
  batches: number
  /** How many different events were in them; the next run starts behind these. */
  distinct: number
  accepted: number
  duplicates: number
  /** From the first request to the last answer. */
  seconds: number
  /** CPU time this process took, user and system. */
  cpuSeconds: number
  /** From writing a request to its answer. */
  latencyMs: { p50: number; p99: number }
}

/** The room in front of a body for its head, so that both go out in one write. */
const headBytesMax = 512
const latencySamplesMax = 200_000

/**
 * @param onAcknowledged called for each batch as soon as its answer is here, with its index in the run
 * @throws Error as soon as an answer is anything but a 202 without rejected events
 */
export async function runLoad(
  corpus: Corpus,
  spec: LoadSpec,
  onAcknowledged?: (batch: number) => void,
): Promise<LoadResult> {
  const run = new LoadRun(corpus, spec, onAcknowledged)
  return run.result()
}

class LoadRun {
  readonly #corpus: Corpus
  readonly #spec: LoadSpec
  readonly #onAcknowledged: ((batch: number) => void) | undefined
  readonly #latenciesMs: number[] = []
  #startedAt = 0
  #batches = 0
  #accepted = 0
  #duplicates = 0

  constructor(corpus: Corpus, spec: LoadSpec, onAcknowledged: ((batch: number) => void) | undefined) {
    this.#corpus = corpus
    this.#spec = spec
    this.#onAcknowledged = onAcknowledged
  }

  async result(): Promise<LoadResult> {
    const { connections: count, port } = this.#spec
    const connections = await Promise.all(Array.from({ length: count }, () => HttpConnection.connect(port)))
    try {
      const cpu = process.cpuUsage()
      this.#startedAt = performance.now()
      await Promise.all(connections.map((connection, index) => this.#drive(connection, index)))
      const seconds = (performance.now() - this.#startedAt) / 1000
      const { user, system } = process.cpuUsage(cpu)
      return {
        batches: this.#batches,
        distinct: distinctEvents(this.#batches, this.#spec.shape),
        accepted: this.#accepted,
        duplicates: this.#duplicates,
        seconds,
        cpuSeconds: (user + system) / 1e6,
        latencyMs: { p50: quantile(this.#latenciesMs, 0.5), p99: quantile(this.#latenciesMs, 0.99) },
      }
    } finally {
      for (const connection of connections) connection.close()
    }
  }

  async #drive(connection: HttpConnection, index: number): Promise<void> {
    const { shape, first, producer } = this.#spec
    const buffer = Buffer.allocUnsafe(headBytesMax + this.#corpus.lineBytesMax * shape.events)
    for (let turn = 0; this.#goesOn(); turn++) {
      if (!(await this.#due(index, turn))) return
      const batch = this.#batches++
      const end = this.#corpus.fill(buffer, headBytesMax, batchStart(first, batch, shape), shape.events)
      const head = requestHead(
        end - headBytesMax,
        producer === undefined ? undefined : { name: `${producer}-${index}`, sequence: turn },
      )
      const start = headBytesMax - head.length
      buffer.write(head, start, 'latin1')
      const sentAt = performance.now()
      const answer = await connection.request(buffer.subarray(start, end))
      this.#onAcknowledged?.(batch)
      if (this.#latenciesMs.length < latencySamplesMax) this.#latenciesMs.push(performance.now() - sentAt)
      this.#count(batch, answer)
    }
  }

  #goesOn(): boolean {
    const { batches = Infinity, seconds = Infinity } = this.#spec
    return this.#batches < batches && performance.now() - this.#startedAt < seconds * 1000
  }

  /** Waits for a connection's next turn, if there is a rate to keep; false when the run is over by then. */
  async #due(index: number, turn: number): Promise<boolean> {
    const { eventsPerSecond, connections, shape } = this.#spec
    if (eventsPerSecond === undefined) return true
    const everyMs = (1000 * connections * (shape.events - shape.overlap)) / eventsPerSecond
    const waitMs = this.#startedAt + (turn + index / connections) * everyMs - performance.now()
    if (waitMs <= 0) return true
    await sleep(waitMs)
    return this.#goesOn()
  }

  #count(batch: number, answer: { status: number; body: string }): void {
    if (answer.status !== 202)
      throw new Error(`batch ${batch} was answered ${answer.status}: ${answer.body.slice(0, 500)}`)
    const { accepted, duplicates, rejected } = JSON.parse(answer.body) as Record<string, number>
    if (rejected !== 0) throw new Error(`batch ${batch} was answered ${answer.body.slice(0, 500)}`)
    this.#accepted += accepted ?? 0
    this.#duplicates += duplicates ?? 0
  }
}

function requestHead(bodyBytes: number, producer: { name: string; sequence: number } | undefined): string {
  const identity =
    producer === undefined
      ? ''
      : `freshet-producer: ${producer.name}\r\nfreshet-sequence: ${producer.sequence}\r\nfreshet-source: ${producer.name}\r\n`
  return (
    'POST /v1/streams/trades/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-ndjson\r\n' +
    `${identity}content-length: ${bodyBytes}\r\n\r\n`
  )
}
