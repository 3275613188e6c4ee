/**
 * What SQL shows of a stream, one state after another (I4). A change of it, with the hot tables that it creates and drops, is one
 * transaction of the database, which also writes the number of the new state, its generation, to `tail.generations`. A query's
 * transaction reads these numbers first, so the state that a number names and the hot rows that the transaction sees belong together,
 * whatever changes meanwhile, and however many files a state has.
 *
 * A state is known before its transaction commits, and forgotten when every reader has ended that may have found its number.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column } from '../config/plan.ts'
import type { LoadedTable } from '../lake/catalog.ts'
import type { ScanPlan } from '../lake/scan.ts'
import { generationsTable, transaction } from './duckdb.ts'
import type { HotTable } from './hot-table.ts'
import type { Readers } from './readers.ts'
import { literal } from './sql-text.ts'

/** The rows of a stream at one moment: the data files of its table, and the hot tables behind them. Never changed. */
export interface StreamState {
  /** undefined while the stream has none. */
  table: LoadedTable | undefined
  /** The table's data files. */
  scan: ScanPlan | undefined
  /** Columns, as SQL shows them. */
  columns: readonly Column[]
  hot: readonly HotTable[]
}

export class ShownStream {
  readonly #stream: string
  readonly #readers: Readers
  readonly #states = new Map<number, StreamState>()
  #generation = 0
  #now: StreamState

  constructor(stream: string, columns: readonly Column[], readers: Readers) {
    this.#stream = stream
    this.#readers = readers
    this.#now = { table: undefined, scan: undefined, columns, hot: [] }
  }

  /** What is shown now; nothing that a query could see before the first `change`. */
  get now(): StreamState {
    return this.#now
  }

  /** The state that a query has found the number of. */
  at(generation: number): StreamState | undefined {
    return this.#states.get(generation)
  }

  /**
   * Shows what `work` returns, once the transaction has committed that it runs in. One call at a time.
   * @throws what `work` throws, or what kept the transaction from committing: then nothing has changed
   */
  async change(connection: DuckDBConnection, work: () => Promise<StreamState>): Promise<void> {
    const generation = this.#generation + 1
    try {
      await transaction(connection, async () => {
        this.#states.set(generation, await work())
        await connection.run(this.#note(generation))
      })
    } catch (error) {
      this.#states.delete(generation)
      throw error
    }
    const former = this.#generation
    this.#generation = generation
    this.#now = this.#states.get(generation)!
    void this.#readers.gone().then(() => this.#states.delete(former))
  }

  #note(generation: number): string {
    const stream = literal(this.#stream)
    if (generation > 1) return `UPDATE ${generationsTable} SET generation = ${generation} WHERE stream = ${stream}`
    // A stream that could not be opened at first may have left its row.
    return `DELETE FROM ${generationsTable} WHERE stream = ${stream}; INSERT INTO ${generationsTable} VALUES (${stream}, ${generation})`
  }
}

/** The generations of streams, by name, as the transaction of `connection` sees them. */
export async function generationsOf(
  connection: DuckDBConnection,
  streams: ReadonlySet<string>,
): Promise<Map<string, number>> {
  const names = [...streams].map(literal).join(', ')
  const found = await connection.runAndReadAll(
    `SELECT stream, generation FROM ${generationsTable} WHERE stream IN (${names})`,
  )
  return new Map(found.getRows().map(([stream, generation]) => [stream as string, Number(generation)]))
}
