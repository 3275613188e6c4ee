/**
 * The events of the benchmarks: the real trades of the quickstart's sample, over and over, each with an id and an event time of its
 * own. Event number n always has the same bytes, whoever makes it, so that a generator, a file for DuckDB and a check agree
 * without talking to each other. Made fast, by copying ready lines and overwriting digits: a generator that shares two cores with
 * the server must not need one of them.
 */
import { open } from 'node:fs/promises'
import { readSample, venueNames } from '../../examples/quickstart/sample.ts'
import { sum } from './statistics.ts'

/** How many events arrive in a second of event time. */
const eventsPerSecond = 20_000
const eventsPerMs = eventsPerSecond / 1000
const dayMs = 24 * 3600 * 1000

/** `{"id":"P-` and `","at":"2013-10-07T` have fixed lengths, so the digits behind them have fixed places. */
const idDigitsAt = 9
const idDigits = 10
const timeAt = 38

/** All events are of this day. */
const day = '2013-10-07'
const zeroTime = '00:00:00.000'

/** Consecutive events, sent as one request. */
export interface BatchShape {
  events: number
  /** How many of them, at the end, are also the first of the next batch: repeats, that only the id gives away. */
  overlap: number
}

/** How many different events `batches` consecutive batches hold. */
export function distinctEvents(batches: number, shape: BatchShape): number {
  return batches === 0 ? 0 : batches * (shape.events - shape.overlap) + shape.overlap
}

/** Number of the first event of the batch with this index, when the very first batch starts with event `first`. */
export function batchStart(first: number, batch: number, shape: BatchShape): number {
  return first + batch * (shape.events - shape.overlap)
}

/** Event time of event `number`, ISO 8601. */
export function eventTime(number: number): string {
  return new Date(Date.parse(`${day}T${zeroTime}Z`) + Math.floor(number / eventsPerMs)).toISOString()
}

export class Corpus {
  readonly #lines: Buffer
  /** Where each line starts, and where the last one ends. */
  readonly #starts: Int32Array
  readonly #venues: string[]
  readonly #sizes: number[]
  /** Longest line, bytes, with its line feed. */
  readonly lineBytesMax: number
  /** Mean length of a line, bytes, with its line feed. */
  readonly lineBytesMean: number

  constructor() {
    const trades = readSample()
    const lines = trades.map((trade, index) => {
      const { symbol, venue, price, size, condition, suspicious } = trade
      const event = {
        id: `${venue}-${'0'.repeat(idDigits)}`,
        at: `${day}T${zeroTime}Z`,
        symbol,
        venue,
        exchange: venueNames[venue],
        currency: 'USD',
        price,
        size,
        notional: Math.round(price * size * 100) / 100,
        condition,
        suspicious,
        file: '20131007_spy_Trade_Tick.csv',
        line: index + 1,
      }
      return Buffer.from(`${JSON.stringify(event)}\n`, 'latin1')
    })
    this.#venues = trades.map((trade) => trade.venue)
    this.#sizes = trades.map((trade) => trade.size)
    this.#lines = Buffer.concat(lines)
    this.#starts = new Int32Array(lines.length + 1)
    lines.forEach((line, index) => (this.#starts[index + 1] = this.#starts[index]! + line.length))
    this.lineBytesMax = Math.max(...lines.map((line) => line.length))
    this.lineBytesMean = this.#lines.length / lines.length
  }

  /** The id of event `number`. */
  id(number: number): string {
    return `${this.#venues[number % this.#venues.length]}-${String(number).padStart(idDigits, '0')}`
  }

  /** All `size` fields of the first `count` events, added up. */
  sizes(count: number): number {
    const lines = this.#sizes.length
    return Math.floor(count / lines) * sum(this.#sizes) + sum(this.#sizes.slice(0, count % lines))
  }

  /**
   * Writes the lines of `count` events from number `first` on into `target` at `offset`.
   * @returns where the last line ends
   */
  fill(target: Buffer, offset: number, first: number, count: number): number {
    const lines = this.#venues.length
    let at = offset
    for (let done = 0; done < count;) {
      const row = (first + done) % lines
      const rows = Math.min(count - done, lines - row)
      const base = this.#starts[row]!
      const end = at + this.#lines.copy(target, at, base, this.#starts[row + rows])
      for (let index = 0; index < rows; index++) {
        const line = at + this.#starts[row + index]! - base
        const number = first + done + index
        writeDigits(target, line + idDigitsAt, idDigits, number)
        writeTime(target, line + timeAt, Math.floor(number / eventsPerMs))
      }
      at = end
      done += rows
    }
    return at
  }

  /** Writes the events of consecutive batches, repeats and all, to a file: what a client would send, one line an event. */
  async writeFile(path: string, first: number, batches: number, shape: BatchShape): Promise<void> {
    const batchesAtOnce = 20
    const buffer = Buffer.allocUnsafe(this.lineBytesMax * shape.events * batchesAtOnce)
    await using file = await open(path, 'w')
    for (let batch = 0; batch < batches;) {
      let used = 0
      const until = Math.min(batches, batch + batchesAtOnce)
      for (; batch < until; batch++) used = this.fill(buffer, used, batchStart(first, batch, shape), shape.events)
      await file.writeFile(buffer.subarray(0, used))
    }
  }
}

function writeDigits(target: Buffer, at: number, digits: number, value: number): void {
  let rest = value
  for (let place = at + digits - 1; place >= at; place--) {
    const tenth = Math.floor(rest / 10)
    target[place] = 48 + rest - tenth * 10
    rest = tenth
  }
}

/** `HH:MM:SS.mmm` of a time of day. @throws RangeError past midnight: event numbers end at 1.7 billion */
function writeTime(target: Buffer, at: number, timeMs: number): void {
  if (timeMs >= dayMs) throw new RangeError('event numbers do not go that far')
  const seconds = Math.floor(timeMs / 1000)
  const minutes = Math.floor(seconds / 60)
  writeDigits(target, at, 2, Math.floor(minutes / 60))
  writeDigits(target, at + 3, 2, minutes % 60)
  writeDigits(target, at + 6, 2, seconds % 60)
  writeDigits(target, at + 9, 3, timeMs % 1000)
}
