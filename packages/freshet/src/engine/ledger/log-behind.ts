/**
 * Counts the events in a stream's log behind a position, by source and hour of arrival: from the headers of its frames, not from
 * what the loader says. It remembers what it has counted in spans of a few megabytes, so that asking again costs only what came since;
 * as the position moves on, spans fall away, and the one that it is in is read once more, in smaller pieces.
 */
import { hourMs } from '../../lake/ledger-rows.ts'
import type { Log, LoggedBatch, Position } from '../../log/log.ts'
import { FreshetError } from '../../runtime/errors.ts'

export interface CountedEvents {
  source: string | null
  /** Whole hours since 1970. */
  hour: number
  events: number
}

interface Span {
  from: Position
  to: Position
  bytes: number
  counted: CountedEvents[]
}

const partition = 0
const spanBytes = 8 * 1024 * 1024
const pieceBytes = 256 * 1024

export class LogBehind {
  readonly #log: Log
  readonly #stream: string
  #spans: Span[] = []
  /** Up to here the log is counted. */
  #to: Position = 0n

  constructor(log: Log, stream: string) {
    this.#log = log
    this.#stream = stream
  }

  /**
   * Counts on, from `position()` or where it left off, to the log's end.
   * @param bytesMax about how much it may read
   * @returns whether it has got there. A log that is damaged ends for it at the damage.
   */
  async advance(position: () => Position, bytesMax = Number.POSITIVE_INFINITY): Promise<boolean> {
    const end = (await this.#log.ends(this.#stream)).get(partition) ?? 0n
    let bytes = 0
    this.#continueFrom(position())
    while (this.#to < end) {
      if (bytes >= bytesMax) return false
      try {
        const span = await this.#read(this.#to, spanBytes)
        if (span.to === this.#to) return true
        this.#spans.push(span)
        this.#to = span.to
        bytes += span.bytes
      } catch (error) {
        if (!isUnreadable(error)) throw error
        // It may be loaded, committed and trimmed meanwhile.
        if (position() <= this.#to) return true
        this.#continueFrom(position())
      }
    }
    return true
  }

  /** What is counted behind `position`; undefined when it has to be counted anew, with `advance`. */
  async from(position: Position): Promise<CountedEvents[] | undefined> {
    if (position < this.#to && (this.#spans[0]?.from ?? this.#to) > position) return undefined
    this.#dropBelow(position)
    try {
      await this.#splitAt(position)
    } catch (error) {
      if (!isUnreadable(error)) throw error
      this.#spans = []
      this.#to = position
      return undefined
    }
    return this.#spans.flatMap(({ counted }) => counted)
  }

  #continueFrom(position: Position): void {
    const start = this.#spans[0]?.from ?? this.#to
    if (position < start || position > this.#to) {
      this.#spans = []
      this.#to = position
    }
    this.#dropBelow(position)
  }

  #dropBelow(position: Position): void {
    while (this.#spans[0] && this.#spans[0].to <= position) this.#spans.shift()
  }

  /** Makes the first span begin at `position`, which is within it, by reading the rest of it again. */
  async #splitAt(position: Position): Promise<void> {
    const first = this.#spans[0]
    if (first === undefined || first.from >= position) return
    const rest: Span[] = []
    let at = position
    let end = first.to
    let used = 1
    while (at < end) {
      const span = await this.#read(at, Math.min(pieceBytes, Number(end - at)))
      if (span.to === at) break
      rest.push(span)
      at = span.to
      // At least a whole batch is read, which may reach into the spans behind.
      while (at > end && used < this.#spans.length) end = this.#spans[used++]!.to
    }
    this.#spans.splice(0, used, ...rest)
    if (at > this.#to) this.#to = at
  }

  async #read(from: Position, maxBytes: number): Promise<Span> {
    const { next, bytes, batches } = await this.#log.read(this.#stream, partition, from, maxBytes)
    return { from, to: next, bytes: bytes.length, counted: countEvents(batches) }
  }
}

function countEvents(batches: readonly LoggedBatch[]): CountedEvents[] {
  const sums = new Map<string, CountedEvents>()
  for (const { source = null, receivedAtMs, count } of batches) {
    if (count === 0) continue
    const hour = Math.floor(receivedAtMs / hourMs)
    const key = source === null ? String(hour) : `${hour} ${source}`
    const sum = sums.get(key)
    if (sum === undefined) sums.set(key, { source, hour, events: count })
    else sum.events += count
  }
  return [...sums.values()]
}

function isUnreadable(error: unknown): boolean {
  return error instanceof FreshetError && (error.code === 'corrupt_log' || error.code === 'log_trimmed')
}
