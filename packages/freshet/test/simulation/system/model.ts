/**
 * The simulation's own record of one stream: which events were acknowledged, what readers have seen of the log, and so which rows a
 * table must have at each position. Every distinct event carries a serial number `n`; a repeat carries its first's.
 *
 * Events that are past their retention may go at any time, and may come back when they are sent again: of them is only asked that they are
 * never there twice, and that the ledger accounts for them.
 */
import { crc32 } from 'node:zlib'
import type { Chunk } from '../../../src/log/log.ts'
import { Violation } from './world.ts'

interface Batch {
  to: number
  checksum: number
  events: number
  /** Distinct events in the log up to and with this batch. */
  distinct: number
}

/** What a ledger says of one source of a stream. */
export interface LedgerLine {
  source: string | undefined
  accepted: number
  committed: number
  deduplicated: number
  deadLettered: number
  inFlight: number
  removed: number
}

const frameStart = '{"_frame"'

export class StreamModel {
  readonly name: string
  /** Events of batches that were answered 202. */
  readonly acknowledged = new Set<number>()
  /** Events that retention may drop. */
  readonly mayGo = new Set<number>()
  /** Events that cannot be loaded. */
  readonly dying = new Set<number>()
  /** Where they are in the log, by where they start. */
  readonly #dead = new Map<number, number>()
  /** Where the first batch with each of them ends. */
  readonly #seenDying = new Map<number, number>()
  /** Of these, where the first batch with it ends. */
  readonly #seenGoing = new Map<number, number>()
  /** Batches that readers have seen, by where they begin. */
  readonly #batches = new Map<number, Batch>()
  readonly #starts: number[] = []
  /** Place of each distinct event in the order of the log. */
  readonly #places = new Map<number, number>()
  /** By source: its events in the log, and those of them that no earlier one is the same as. */
  readonly #sources = new Map<string | undefined, { accepted: number; distinct: number; mayGo: number }>()
  /** Up to here readers have seen the log. */
  end = 0

  constructor(name: string) {
    this.name = name
  }

  /** Takes in what a reader was given. @throws Violation when it contradicts what was read before */
  observe(from: number, chunk: Chunk): void {
    if (from > this.end)
      throw new Violation('I4', `${this.name}: a reader went on at ${from}, but nobody read ${this.end} to there`)
    for (const { start, bytes } of batchesIn(chunk.bytes)) this.#observeBatch(from + start, bytes)
    if (Number(chunk.next) !== from + chunk.bytes.length)
      throw new Violation(
        'I4',
        `${this.name}: a chunk of ${chunk.bytes.length} bytes from ${from} is said to end at ${chunk.next}`,
      )
  }

  #observeBatch(from: number, bytes: Buffer): void {
    const known = this.#batches.get(from)
    const checksum = crc32(bytes)
    if (known !== undefined) {
      if (known.checksum !== checksum)
        throw new Violation('I2', `${this.name}: what was read at ${from} has changed since`)
      return
    }
    if (from !== this.end)
      throw new Violation('I2', `${this.name}: a batch begins at ${from}, within what was read before`)
    const source = sourceOf(bytes)
    const account = this.#sources.get(source) ?? { accepted: 0, distinct: 0, mayGo: 0 }
    const events = placedEventsIn(bytes)
    for (const { n, at } of events) {
      account.accepted++
      if (this.dying.has(n)) {
        this.#dead.set(from + at, n)
        if (!this.#seenDying.has(n)) this.#seenDying.set(n, from + bytes.length)
        continue
      }
      if (this.mayGo.has(n)) {
        account.mayGo++
        if (!this.#seenGoing.has(n)) this.#seenGoing.set(n, from + bytes.length)
        continue
      }
      if (this.#places.has(n)) continue
      account.distinct++
      this.#places.set(n, this.#places.size)
    }
    if (account.accepted > 0) this.#sources.set(source, account)
    this.end = from + bytes.length
    this.#batches.set(from, { to: this.end, checksum, events: events.length, distinct: this.#places.size })
    this.#starts.push(from)
  }

  /** Whether a batch was read that begins (or a reader stopped) there. */
  isBoundary(position: number): boolean {
    return position === 0 || position === this.end || this.#batches.has(position)
  }

  /** Distinct events below a position, without those that may go. */
  distinctBelow(position: number): number {
    if (position === 0) return 0
    if (position >= this.end) return this.#places.size
    const start = this.#starts[this.#starts.indexOf(position) - 1]
    return start === undefined ? 0 : this.#batches.get(start)!.distinct
  }

  /** Whether readers have seen the log to its end, and no events in it lie behind a position; heartbeats may. */
  isWhole(position: number, logEnd: number): boolean {
    if (this.end < logEnd) return false
    return [...this.#batches].every(([from, { events }]) => from < position || events === 0)
  }

  /** The counts of distinct events at every batch from a position on. */
  countsFrom(position: number): Set<number> {
    const counts = new Set([this.distinctBelow(position)])
    for (const { to, distinct } of this.#batches.values()) if (to > position) counts.add(distinct)
    return counts
  }

  /**
   * Checks that `rows` are the first distinct events of the log, each once.
   * @returns how many they are, without those that may go
   */
  checkRows(rows: readonly number[], what: string): number {
    const seen = new Set(rows)
    if (seen.size < rows.length) {
      const twice = rows.filter((n, index) => rows.indexOf(n) !== index)
      throw new Violation('I5', `${what}: ${twice.length} events are there twice, ${list(twice)}`)
    }
    const strangers = rows.filter((n) => this.mayGo.has(n) && !this.#seenGoing.has(n))
    if (strangers.length > 0)
      throw new Violation('I4', `${what}: there are events that nobody read, ${list(strangers)}`)
    const staying = rows.filter((n) => !this.mayGo.has(n))
    const first = [...this.#places].slice(0, staying.length).map(([n]) => n)
    const lacking = first.filter((n) => !seen.has(n))
    const known = new Set(first)
    const beyond = staying.filter((n) => !known.has(n))
    if (lacking.length > 0 || beyond.length > 0)
      throw new Violation(
        'I4',
        `${what}: of ${rows.length} rows, ${list(lacking)} lack and ${list(beyond)} come too early`,
      )
    return staying.length
  }

  /** What a batch that was read must look like, for every batch from `oldest` on. */
  *batchesFrom(oldest: number): Iterable<{ from: number; to: number; checksum: number }> {
    for (const from of this.#starts) if (from >= oldest) yield { from, ...this.#batches.get(from)! }
  }

  /** Whether readers have seen an event below a position. */
  wasRead(n: number, below: number): boolean {
    const goingAt = this.#seenGoing.get(n) ?? this.#seenDying.get(n)
    if (goingAt !== undefined) return goingAt <= below
    const place = this.#places.get(n)
    return place !== undefined && place < this.distinctBelow(below)
  }

  /** Every event that readers have seen in the log. */
  get everRead(): Set<number> {
    return new Set([...this.#places.keys(), ...this.#seenGoing.keys(), ...this.#seenDying.keys()])
  }

  /** Whether readers have seen every event that was acknowledged. */
  get isRead(): boolean {
    return [...this.acknowledged].every((n) => this.#places.has(n) || this.#seenGoing.has(n) || this.#seenDying.has(n))
  }

  /**
   * I6: the ledger balances; at the end, with nothing in flight, it says what the log holds.
   * @param rows how many rows there are at the end
   */
  checkLedger(lines: readonly LedgerLine[], rows?: number): void {
    for (const line of lines) {
      const { source, accepted, committed, deduplicated, deadLettered, inFlight } = line
      if (accepted !== committed + deduplicated + deadLettered + inFlight || inFlight < 0)
        throw new Violation('I6', `${this.name}: the ledger of ${source} does not balance: ${JSON.stringify(line)}`)
    }
    if (rows === undefined) return
    const present = lines.reduce((sum, { committed, removed }) => sum + committed - removed, 0)
    if (present !== rows)
      throw new Violation('I6', `${this.name}: by the ledger there are ${present} rows, but there are ${rows}`)
    const found = lines.map(({ source, accepted, committed, inFlight }) => {
      const { distinct = 0, mayGo = 0 } = this.#sources.get(source) ?? {}
      // An event that may go is new each time that it comes after it went.
      const isFair = committed >= distinct && committed <= distinct + mayGo
      return `${source} ${accepted} ${mayGo > 0 && isFair ? distinct : committed} ${inFlight}`
    })
    const expected = [...this.#sources].map(([source, { accepted, distinct }]) => `${source} ${accepted} ${distinct} 0`)
    if (found.toSorted().join('; ') !== expected.toSorted().join('; '))
      throw new Violation('I6', `${this.name}: the ledger says ${found.join('; ')}, the log ${expected.join('; ')}`)
  }

  /**
   * I6: of every event below a position that could not be loaded there is a letter.
   * @param letters where the events of the letters start, each as often as there is one
   */
  checkLetters(letters: readonly number[], below: number): void {
    const found = new Set(letters)
    const lost = [...this.#dead].filter(([at]) => at < below && !found.has(at)).map(([, n]) => n)
    if (lost.length > 0)
      throw new Violation('I6', `${this.name}: the table is at ${below}, and there are no letters of ${list(lost)}`)
  }

  /** Without those that may go. */
  get distinct(): number {
    return this.#places.size
  }
}

export function list(values: readonly number[]): string {
  return values.length === 0 ? 'none' : `${values.slice(0, 8).join(', ')}${values.length > 8 ? ', ...' : ''}`
}

/** The frames in log bytes, with the events behind each. */
export function batchesIn(bytes: Buffer): { start: number; bytes: Buffer }[] {
  const starts: number[] = []
  for (let at = 0; at < bytes.length;) {
    if (bytes.toString('latin1', at, at + frameStart.length) === frameStart) starts.push(at)
    const end = bytes.indexOf(10, at)
    at = end === -1 ? bytes.length : end + 1
  }
  return starts.map((start, index) => ({ start, bytes: bytes.subarray(start, starts[index + 1] ?? bytes.length) }))
}

function sourceOf(bytes: Buffer): string | undefined {
  const header = JSON.parse(bytes.toString('utf8', 0, bytes.indexOf(10))) as { _frame: { source?: string } }
  return header._frame.source
}

/** The serial numbers of the events in log bytes; lines that are cut short have none. */
export function eventsIn(bytes: Buffer): number[] {
  return placedEventsIn(bytes).map(({ n }) => n)
}

/** The same, with where their lines start. */
function placedEventsIn(bytes: Buffer): { n: number; at: number }[] {
  const found: { n: number; at: number }[] = []
  let at = 0
  for (const line of bytes.toString('utf8').split('\n')) {
    const match = /^\{"_event_id".*"n":(\d+)/.exec(line)
    if (match !== null) found.push({ n: Number(match[1]), at })
    at += Buffer.byteLength(line) + 1
  }
  return found
}
