/**
 * What stands between a chunk of the log and the hot tail: repeats are left out (I5), new fields become columns, and events that do
 * not fit go to the dead letters, so that one of them never holds up the others.
 */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { eventNaming, type Naming } from '../config/field-names.ts'
import type { Column, StreamPlan } from '../config/plan.ts'
import type { DeadLetter } from '../events/dead-letter.ts'
import type { Chunk, Position } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import { messageOf } from '../runtime/errors.ts'
import type { ChunkFate } from './ledger/batch-tally.ts'
import { blankEvent, findUnreadable, linesOf, withoutEvents, type Unreadable } from './chunk-lines.ts'
import { UnfitField, type ColumnGrowth } from './column-growth.ts'
import { loadLetter } from './dead-letters.ts'
import type { IdBook } from './dedup/id-book.ts'
import { scanEvents, type ScannedEvents } from './dedup/scan.ts'
import { selectEvents } from './present-value.ts'

/** The events of a chunk that are to be inserted: an NDJSON file of log lines, and the columns they have. */
export interface NewEvents {
  file: string
  bytes: number
  /** How many there are. */
  count: number
  columns: readonly Column[]
}

export interface IntakeOptions {
  stream: StreamPlan
  /** Used by nobody else while a chunk is taken. */
  connection: DuckDBConnection
  tmpDir: string
  recordBytesMax: number
  /** undefined for a stream whose ids the gateway gives: they cannot repeat. */
  ids: IdBook | undefined
  growth: ColumnGrowth
  /** The stream's columns as they are now, and the names that older values of other columns hide under. */
  columns: () => { known: readonly Column[]; hidden: ReadonlySet<string> }
  /** Takes events that cannot be loaded; resolves once they are durable in their own log, and throws when they are not. */
  onDeadLetters: (letters: DeadLetter[]) => Promise<void>
  clock: Clock
}

export class ChunkIntake {
  readonly #options: IntakeOptions
  readonly #naming: Naming | undefined
  #chunks = 0

  constructor(options: IntakeOptions) {
    this.#options = options
    this.#naming = eventNaming(options.stream.renames)
  }

  /** Where the events of a chunk are, and their ids' hashes; undefined for a stream whose ids the gateway gives. */
  scan(chunk: Chunk): ScannedEvents | undefined {
    return this.#options.ids?.scan(chunk.bytes, chunk.count)
  }

  /**
   * Hands the new events of a chunk to `insert`, which takes all of them or throws; says what became of the others.
   * @param from where in the log the chunk starts
   * @param first what `scan` says of it
   */
  async take(
    chunk: Chunk,
    from: Position,
    first: ScannedEvents | undefined,
    insert: (events: NewEvents) => Promise<void>,
  ): Promise<ChunkFate> {
    const { ids, stream, tmpDir } = this.#options
    let scanned = first
    const scratch = join(tmpDir, `${stream.name}-${++this.#chunks % 1024}.ndjson`)
    let dead: number[] = []
    try {
      for (;;) {
        const repeats = ids && scanned ? await ids.repeats(chunk.bytes, scanned) : []
        const pieces = scanned ? withoutEvents(chunk.bytes, scanned, repeats) : [chunk.bytes]
        const count = chunk.count - repeats.length - dead.length
        const fate = { repeats: placesAmong(repeats, dead), deadLetters: dead }
        if (count === 0) return fate
        const untouched = count === chunk.count
        const file = untouched && chunk.file !== undefined ? chunk.file : scratch
        if (file === scratch) await writeFile(file, pieces)
        const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0)
        try {
          const note = ids && scanned && ids.prepare(chunk.bytes, scanned, repeats)
          await insert({ file, bytes, count, columns: await this.#columnsFor(file) })
          note?.()
          return fate
        } catch (error) {
          // Without those that cannot be read it is tried again, repeats included: what they repeat may be among the dead.
          const buried = await this.#bury(chunk, from, scanned, repeats, error)
          dead = [...dead, ...placesAmong(buried, dead)].toSorted((a, b) => a - b)
          scanned = this.scan(chunk)
        }
      }
    } finally {
      await rm(scratch, { force: true }).catch(() => undefined)
    }
  }

  /** Which of some lines DuckDB cannot read into the columns that they would give the stream. */
  unreadable(lines: readonly Buffer[]): Promise<Unreadable[]> {
    const bytes = Buffer.concat(lines)
    return this.#findDead(bytes, scanEvents(bytes, lines.length, 'table', 0), [])
  }

  /** The columns that the events in a file need. @throws UnfitField */
  async #columnsFor(file: string): Promise<readonly Column[]> {
    const { stream, growth, columns } = this.#options
    const { known, hidden } = columns()
    return stream.open ? growth.grow(known, file, hidden) : known
  }

  /** Moves the events that DuckDB cannot read from the chunk to the dead letters; which. @throws `cause` if there are none */
  async #bury(
    chunk: Chunk,
    from: Position,
    scanned: ScannedEvents | undefined,
    repeats: readonly number[],
    cause: unknown,
  ): Promise<number[]> {
    if (!isAboutData(cause)) throw cause
    const events = scanned ?? scanEvents(chunk.bytes, chunk.count, 'table', 0)
    const dead = await this.#findDead(chunk.bytes, events, repeats)
    if (dead.length === 0) throw cause
    await this.#options.onDeadLetters(dead.map((letter) => this.#letter(chunk, events, from, letter)))
    for (const { index } of dead) blankEvent(chunk.bytes, events, index)
    return dead.map(({ index }) => index)
  }

  /** The events, other than repeats, that DuckDB cannot read into the columns they would give the stream. */
  async #findDead(bytes: Buffer, events: ScannedEvents, repeats: readonly number[]): Promise<Unreadable[]> {
    const skipped = new Set(repeats)
    const indexes = Array.from({ length: events.count }, (_, index) => index).filter((index) => !skipped.has(index))
    const file = join(this.#options.tmpDir, `${this.#options.stream.name}-probe.ndjson`)
    const read = async (lines: Buffer[]): Promise<string | undefined> => {
      await writeFile(file, lines)
      try {
        const columns = await this.#columnsFor(file)
        const select = selectEvents(file, columns, this.#options.recordBytesMax, this.#naming)
        await this.#options.connection.run(`CREATE OR REPLACE TEMP TABLE probe AS ${select}`)
        return undefined
      } catch (error) {
        if (!isAboutData(error)) throw error
        return reasonOf(error)
      }
    }
    try {
      return await findUnreadable(bytes, events, indexes, read)
    } finally {
      await this.#options.connection.run('DROP TABLE IF EXISTS temp.probe')
      await rm(file, { force: true })
    }
  }

  #letter(chunk: Chunk, events: ScannedEvents, from: Position, { index, reason }: Unreadable): DeadLetter {
    const line = linesOf(chunk.bytes, events, [index])[0]!.toString('utf8').trimEnd()
    const position = from + BigInt(events.start[index]!)
    const { stream, clock } = this.#options
    return loadLetter(line, {
      stream: stream.name,
      position,
      code: 'unreadable',
      message: reason,
      failedAtMs: clock.nowMs(),
    })
  }
}

/** Scans do not count the events that were buried before: where events of a scan are among all, given the buried ones in order. */
function placesAmong(indexes: readonly number[], buried: readonly number[]): number[] {
  let before = 0
  return indexes.map((index) => {
    while (before < buried.length && buried[before]! <= index + before) before++
    return index + before
  })
}

/** Whether an error blames the rows, so that others could be loaded; not so for one that blames memory, disk or ourselves. */
function isAboutData(error: unknown): boolean {
  return (
    error instanceof UnfitField ||
    (error instanceof Error &&
      /^(Invalid Input|Conversion|Out of Range|Binder|Catalog|Parser) Error/.test(error.message))
  )
}

function reasonOf(error: unknown): string {
  return messageOf(error)
    .replace(/^[A-Za-z ]+Error: (JSON transform error)?/, '')
    .replace(/ in file "[^"]*", in line \d+:?/, '')
    .replace(/ Try setting 'auto_detect'[\s\S]*$/, '')
    .split('\n')[0]!
    .trim()
    .slice(0, 500)
}
