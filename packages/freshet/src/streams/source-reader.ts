/** Reads what is behind a place of a stream: rows of its table first, where the place is among them, and then the log. */
import type { Log, LoggedBatch } from '../log/log.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { BackFill } from './back-fill.ts'
import type { Intent } from './consumer-records.ts'
import { isLakePlace, logStart, type LakePlace, type LogPlace, type Place } from './place.ts'
import { eventLines, type SourceBatch } from './source-batch.ts'

const partition = 0

export class SourceReader {
  readonly #stream: string
  readonly #log: Log
  readonly #backFill: BackFill

  constructor(stream: string, log: Log, backFill: BackFill) {
    this.#stream = stream
    this.#log = log
    this.#backFill = backFill
  }

  /** Where a consumer begins that has been nowhere yet. */
  async start(consumer: string, at: 'all' | 'new'): Promise<Place> {
    if (at === 'new') return { log: await this.end(), skip: 0 }
    try {
      await this.#log.read(this.#stream, partition, 0n, 1)
      return logStart
    } catch (error) {
      if (!(error instanceof FreshetError) || error.code !== 'log_trimmed') throw error
    }
    const begun = await this.#backFill.begin(this.#stream, consumer)
    if (begun !== undefined) return { snapshot: begun.snapshot, next: begun.position, after: undefined }
    throw new FreshetError(
      'log_trimmed',
      `The log of ${this.#stream} does not reach back to its start, and there is no table that has what came before.`,
      { hint: 'Restore the table, or let the consumer start at what is new (`start: "new"`).' },
    )
  }

  /** The end of the stream's log. */
  async end(): Promise<bigint> {
    return (await this.#log.ends(this.#stream)).get(partition) ?? 0n
  }

  /** About so many bytes of the log, of anything that it still has. */
  readLog(from: bigint, bytesMax: number): Promise<{ bytes: Buffer; next: bigint }> {
    return this.#log.read(this.#stream, partition, from, bytesMax)
  }

  /** About `bytesMax` of what is behind a place; a batch without bytes at the end. */
  read(place: Place, bytesMax: number): Promise<SourceBatch> {
    return isLakePlace(place) ? this.#rows(place, bytesMax) : this.#logged(place, bytesMax)
  }

  /**
   * The batch that was begun at a place, just as it was.
   * @throws Error when the same cannot be read any more
   */
  async readAgain(place: Place, intent: Intent, bytesMax: number): Promise<SourceBatch> {
    if (isLakePlace(place)) return this.#rows(place, bytesMax)
    const pieces: Buffer[] = []
    const batches: LoggedBatch[] = []
    let count = 0
    let at = place.log
    while (batches.length < intent.batches) {
      const chunk = await this.#log.read(this.#stream, partition, at, bytesMax)
      if (chunk.batches.length === 0) {
        throw new Error(
          `Of ${intent.batches} batches of ${this.#stream} from ${place.log}, ${batches.length} are there`,
        )
      }
      const wanted = chunk.batches.slice(0, intent.batches - batches.length)
      const events = wanted.reduce((sum, batch) => sum + batch.count, 0)
      pieces.push(firstEvents(chunk.bytes, events))
      batches.push(...wanted)
      count += events
      at = chunk.next
    }
    return { bytes: Buffer.concat(pieces), count, skip: place.skip, batches, from: place, to: intent.to }
  }

  /** The place behind the last row, where the log goes on; lets the snapshot go. */
  async leaveLake(place: LakePlace, consumer: string): Promise<LogPlace> {
    await this.#backFill.end(this.#stream, consumer)
    return { log: place.next, skip: 0 }
  }

  async #logged(place: LogPlace, bytesMax: number): Promise<SourceBatch> {
    const { bytes, count, batches, next } = await this.#log.read(this.#stream, partition, place.log, bytesMax)
    return { bytes, count, skip: place.skip, batches, from: place, to: { log: next, skip: 0 } }
  }

  async #rows(place: LakePlace, bytesMax: number): Promise<SourceBatch> {
    const { bytes, count, batches, last } = await this.#backFill.read(this.#stream, place, bytesMax)
    return { bytes, count, skip: 0, batches, from: place, to: { ...place, after: last ?? place.after } }
  }
}

/** The lines of the first events in `bytes`. */
function firstEvents(bytes: Buffer, events: number): Buffer {
  if (events === 0) return bytes.subarray(0, 0)
  let seen = 0
  for (const { end } of eventLines(bytes)) if (++seen === events) return bytes.subarray(0, end + 1)
  throw new Error(`Of ${events} events, ${seen} are there`)
}
