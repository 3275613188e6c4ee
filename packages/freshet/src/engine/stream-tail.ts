/** The hot end of a stream: takes new events in and shows them, each chunk whole or not at all. */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column, StreamPlan } from '../config/plan.ts'
import type { LoadedTable } from '../lake/catalog.ts'
import { currentSchema, evolveTable } from '../lake/metadata.ts'
import type { Random } from '../runtime/random.ts'
import type { NewEvents } from './chunk-intake.ts'
import { isReadOnly } from './columns.ts'
import { writeReadyFile } from './data-files.ts'
import type { HotTable } from './hot-table.ts'
import { HotTail } from './hot-tail.ts'
import type { Readers } from './readers.ts'
import { ShownStream, type StreamState } from './shown-stream.ts'

export interface StreamTailOptions {
  /** Used by nobody else while rows come in or what is shown changes. */
  connection: DuckDBConnection
  readers: Readers
  random: Random
  tmpDir: string
  recordBytesMax: number
  /** The stream's table in the lake, made with these columns if there is none yet. */
  ensureTable: (columns: readonly Column[]) => Promise<LoadedTable>
}

/** New events of at least this size become a data file of their own at once. */
const fileBytesMin = 32 * 1024 * 1024

export class StreamTail {
  readonly hot: HotTail
  readonly #stream: string
  readonly #shown: ShownStream
  readonly #options: StreamTailOptions

  /** @param columns those that the stream has from the start */
  constructor(stream: StreamPlan, columns: readonly Column[], options: StreamTailOptions) {
    this.#stream = stream.name
    this.#options = options
    this.hot = new HotTail(stream)
    this.#shown = new ShownStream(stream.name, columns, options.readers)
  }

  /** What SQL shows now. */
  get now(): StreamState {
    return this.#shown.now
  }

  /** What a query shows that has found the stream in this generation. */
  at(generation: number): StreamState | undefined {
    return this.#shown.at(generation)
  }

  /**
   * Shows what `work` returns, and else what was shown; `gone` are the tables that are shown no more. What is ours to remember
   * of it is so once this has resolved.
   */
  async show(work: () => Promise<Partial<StreamState>>, gone: readonly HotTable[] = []): Promise<void> {
    const { connection, readers } = this.#options
    await this.#shown.change(connection, async () => {
      const next = { ...this.now, ...(await work()) }
      await this.hot.drop(connection, gone)
      return next
    })
    this.hot.forget(gone, () => readers.gone())
  }

  /** From now on rows go to a new hot table with these columns. */
  async startTable(columns: readonly Column[]): Promise<void> {
    await this.show(async () => {
      const created = await this.hot.create(this.#options.connection, columns)
      return { columns, hot: [...this.hot.tables, created] }
    })
    this.hot.add(this.now.hot.at(-1)!)
  }

  /** Takes over what a table holds; all hot rows so far are gone, and new ones go to a table with `columns`. */
  async begin(state: Omit<StreamState, 'hot'>): Promise<void> {
    const stale = [...this.hot.tables]
    await this.show(
      async () => ({ ...state, hot: [await this.hot.create(this.#options.connection, state.columns)] }),
      stale,
    )
    this.hot.add(this.now.hot[0]!)
  }

  /** Makes the events of a chunk visible, all of them or none. */
  async insert(events: NewEvents): Promise<void> {
    const { file, columns, bytes, count } = events
    if (this.hot.needsTable(columns)) await this.startTable(columns)
    if (bytes >= fileBytesMin && (await this.#insertAsFile(events))) return
    await this.hot.insert(this.#options.connection, file, count, this.#options.recordBytesMax)
  }

  /**
   * Takes the events of a large scratch file as a data file that only has to be put in place at the next flush.
   * @returns false when they have to go through a hot table: they belong to several partitions, or bring new columns
   */
  async #insertAsFile({ file, columns, count }: NewEvents): Promise<boolean> {
    const { connection, random, tmpDir, recordBytesMax, ensureTable } = this.#options
    const table = await ensureTable(columns)
    if (evolveTable(table.metadata, columns)) return false
    const schema = currentSchema(table.metadata)
    const select = this.hot.selectNew(file, columns, recordBytesMax)
    const ready = await writeReadyFile(connection, { random, tmpDir }, { table, schema, columns, select })
    if (ready === undefined) return false
    if (ready.rows !== count) throw new Error(`Of ${count} events of ${this.#stream}, ${ready.rows} were loaded`)
    const added = this.hot.fileTable(
      ready,
      columns.filter((column) => !isReadOnly(column)),
    )
    await this.show(async () => ({ columns, hot: [...this.hot.tables, added] }))
    this.hot.addFile(added)
    return true
  }
}
