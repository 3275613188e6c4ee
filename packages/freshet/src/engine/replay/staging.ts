/**
 * What the code makes of the events of a replay, on its way to be compared: lines are gathered, and go to Parquet files in scratch as they
 * would be loaded (chunk-intake.ts): new fields become columns, and lines that cannot be read are told of. Memory is bounded by one file.
 */
import { appendFile, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { eventNaming, type Naming } from '../../config/field-names.ts'
import { systemColumns, type Column, type StreamPlan } from '../../config/plan.ts'
import { ColumnGrowth } from '../column-growth.ts'
import type { Unreadable } from '../chunk-lines.ts'
import { mergeColumns } from '../columns.ts'
import { selectEvents } from '../present-value.ts'
import { literal } from '../sql-text.ts'
import { selectHot } from '../stream-view.ts'
import { inRange, mayOverlap, type TimeRange } from './time-range.ts'

export interface StagingOptions {
  stream: StreamPlan
  /** Used by nobody else. */
  connection: DuckDBConnection
  /** Scratch folder of its own. */
  dir: string
  /** The stream's columns, and the names that older values of other columns hide under. */
  known: readonly Column[]
  hidden: ReadonlySet<string>
  recordBytesMax: number
  /** Which of some lines cannot be loaded, and why (`StreamTable.unreadable`). */
  unreadable: (lines: readonly Buffer[]) => Promise<Unreadable[]>
  /** Told of a line that cannot be loaded. */
  onUnreadable: (line: string, reason: string) => void
}

/** A file of rows. */
interface Piece {
  relation: string
  columns: readonly Column[]
  eventTime: { lower: bigint | undefined; upper: bigint | undefined }
}

/** A piece is made of so many bytes of lines. */
const pieceBytes = 32 * 1024 * 1024

export class Staging {
  readonly #options: StagingOptions
  readonly #naming: Naming | undefined
  readonly #growth: ColumnGrowth
  readonly #pieces: Piece[] = []
  readonly #file: string
  #bytes = 0
  #columns: readonly Column[]

  constructor(options: StagingOptions) {
    const { stream, connection, dir, known, recordBytesMax } = options
    const declared = [...systemColumns, ...(stream.columns ?? [])]
    this.#options = options
    this.#naming = eventNaming(stream.renames)
    this.#growth = new ColumnGrowth(connection, stream, new Set(declared.map(({ name }) => name)), recordBytesMax)
    this.#columns = mergeColumns(declared, known)
    this.#file = join(dir, 'lines.ndjson')
  }

  /** The columns that the stream has with the rows so far. */
  get columns(): readonly Column[] {
    return this.#columns
  }

  /** @param lines whole lines of the stream's log */
  async add(lines: Buffer): Promise<void> {
    if (lines.length === 0) return
    await appendFile(this.#file, lines)
    this.#bytes += lines.length
    if (this.#bytes >= pieceBytes) await this.#load()
  }

  /** To be called before rows are read. */
  async finish(): Promise<void> {
    if (this.#bytes > 0) await this.#load()
  }

  /** A SELECT of the rows with these times, with `columns`; undefined where there can be none. */
  select(columns: readonly Column[], range: TimeRange): string | undefined {
    const pieces = this.#pieces.filter(({ eventTime }) => mayOverlap(range, eventTime))
    if (pieces.length === 0) return undefined
    const rows = pieces.map((piece) => selectHot(columns, piece)).join(' UNION ALL ')
    return `SELECT * FROM (${rows}) WHERE ${inRange('_event_time', range)}`
  }

  async #load(): Promise<void> {
    const { connection, stream, dir, recordBytesMax, hidden } = this.#options
    const piece = join(dir, `rows-${this.#pieces.length}.parquet`)
    for (let isSound = false; ; isSound = true) {
      try {
        const columns = stream.open ? await this.#growth.grow(this.#columns, this.#file, hidden) : this.#columns
        const rows = selectEvents(this.#file, columns, recordBytesMax, this.#naming)
        await connection.run(
          `COPY (SELECT * FROM (${rows}) WHERE _event_id IS NOT NULL) TO ${literal(piece)} (FORMAT parquet, COMPRESSION zstd)`,
        )
        this.#columns = columns
        const relation = `read_parquet(${literal(piece)})`
        const times = await connection.runAndReadAll(
          `SELECT min(epoch_us(_event_time)), max(epoch_us(_event_time)) FROM ${relation}`,
        )
        const [lower, upper] = times.getRows()[0] as [bigint | null, bigint | null]
        if (lower !== null && upper !== null) this.#pieces.push({ relation, columns, eventTime: { lower, upper } })
        break
      } catch (error) {
        await rm(piece, { force: true })
        if (isSound || !(await this.#leaveOut())) throw error
      }
    }
    await rm(this.#file, { force: true })
    this.#bytes = 0
  }

  /** Takes the lines that cannot be loaded out of the file. @returns whether there were any */
  async #leaveOut(): Promise<boolean> {
    const { unreadable, onUnreadable } = this.#options
    const lines = linesIn(await readFile(this.#file))
    const found = new Map((await unreadable(lines)).map(({ index, reason }) => [index, reason]))
    if (found.size === 0) return false
    await rm(this.#file, { force: true })
    const kept: Buffer[] = []
    for (const [index, line] of lines.entries()) {
      const reason = found.get(index)
      if (reason === undefined) kept.push(line)
      else onUnreadable(line.toString('utf8').trimEnd(), reason)
    }
    await appendFile(this.#file, Buffer.concat(kept))
    return true
  }
}

const lineFeed = 10

function linesIn(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = []
  let from = 0
  for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, from)) {
    lines.push(bytes.subarray(from, end + 1))
    from = end + 1
  }
  return lines
}
