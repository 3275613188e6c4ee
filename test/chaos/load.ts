/** What goes in and what looks at it while processes are killed: three streams, each with its own way to recognise a repeat. */
import { producedStream, Producers, type ProducerOptions } from '../e2e/support/producers.ts'
import { Watcher } from '../e2e/support/watcher.ts'

const batchEvents = 20
const producersEach = 2
const paceMs = 40

/** By stream. `plain` is not declared: it has no ids, its columns are inferred, and it exists because it was posted to. */
const identities = { ordered: 'sequence', ids: 'ids', plain: 'key' } as const

export type StreamName = keyof typeof identities

export const streamNames = Object.keys(identities) as StreamName[]

/** Small segments and frequent commits, so that a round sees segments begun and trimmed, commits, and snapshots that expire. */
export const config = {
  log: { segment: '64 KiB' },
  lake: { flushInterval: '200 ms' },
  sql: { rows: 100_000_000 },
  streams: { ordered: producedStream, ids: { ...producedStream, partition: 'hour' } },
}

/** The batches of each producer, by stream. */
export type Progress = ReadonlyMap<StreamName, ReadonlyMap<string, number>>

export class Load {
  readonly producers = new Map<StreamName, Producers>()
  readonly watchers = new Map<StreamName, Watcher>()
  readonly #url: string

  constructor(url: string) {
    this.#url = url
    for (const stream of streamNames) {
      const options: ProducerOptions = {
        url,
        stream,
        count: producersEach,
        batchEvents,
        identity: identities[stream],
        paceMs,
      }
      this.producers.set(stream, new Producers(options))
    }
  }

  /** Starts to look: all streams are there. */
  watch(): void {
    for (const stream of streamNames) {
      this.watchers.set(stream, new Watcher({ url: this.#url, stream, batchEvents, paceMs }))
    }
  }

  /** What is acknowledged by now. */
  acknowledged(): Progress {
    return new Map(
      [...this.producers].map(([stream, { acknowledgedBatches }]) => [stream, new Map(acknowledgedBatches)]),
    )
  }

  /** Waits until everybody has got on, whatever was killed. @throws what a watcher saw or a producer was told */
  async progress(): Promise<void> {
    for (const producers of this.producers.values()) await producers.progress(2)
    for (const watcher of this.watchers.values()) await watcher.progress(2)
  }

  /** Whether a watcher has seen all of it. */
  hasSeen(progress: Progress): boolean {
    return streamNames.every((stream) => {
      const seen = this.watchers.get(stream)?.seen
      return [...(progress.get(stream) ?? [])].every(([producer, batches]) => (seen?.get(producer) ?? 0) >= batches)
    })
  }

  /** Lets the producers finish what they are at, and hands back what else than a 202 they were told. @throws see `progress` */
  async stop(): Promise<string[]> {
    for (const producers of this.producers.values()) await producers.stop()
    for (const watcher of this.watchers.values()) await watcher.stop()
    return [...this.producers.values()].flatMap(({ refusals }) => [...refusals.keys()])
  }

  async abandon(): Promise<void> {
    for (const producers of this.producers.values()) await producers.abandon()
    for (const watcher of this.watchers.values()) await watcher.stop().catch(() => undefined)
  }
}
