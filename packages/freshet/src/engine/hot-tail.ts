/**
 * The hot tail of one stream: the rows that are loaded from the log but not committed yet, in tables of the embedded database.
 * The last table takes new rows; the ones before it are on their way into the lake. A change of columns starts a new table, so a
 * table's columns never change. A chunk that is large enough for a data file of its own goes to Parquet at once, and is hot as that
 * file: it is parsed once, takes no memory, and need only be put in place when it is committed.
 */
import { rm } from 'node:fs/promises'
import type { DuckDBConnection } from '@duckdb/node-api'
import { eventNaming, type Naming } from '../config/field-names.ts'
import type { Column, StreamPlan } from '../config/plan.ts'
import { sameColumns, storedType } from './columns.ts'
import { tailSchema, transaction } from './duckdb.ts'
import type { HotTable, ReadyFile } from './hot-table.ts'
import { selectEvents } from './present-value.ts'
import { identifier, literal } from './sql-text.ts'

export class HotTail {
  readonly #stream: string
  readonly #naming: Naming | undefined
  readonly #tables: HotTable[] = []
  #created = 0

  constructor({ name, renames }: Pick<StreamPlan, 'name' | 'renames'>) {
    this.#stream = name
    this.#naming = eventNaming(renames)
  }

  /** All tables, oldest first. */
  get tables(): readonly HotTable[] {
    return this.#tables
  }

  get rows(): number {
    return this.#tables.reduce((sum, table) => sum + table.rows, 0)
  }

  /** True when rows with these columns need a new table. */
  needsTable(columns: readonly Column[]): boolean {
    const last = this.#tables.at(-1)
    return last === undefined || !sameColumns(last.columns, columns)
  }

  /** Creates a table with these columns. It takes rows once it was added, after the transaction around this has committed. */
  async create(connection: DuckDBConnection, columns: readonly Column[]): Promise<HotTable> {
    const relation = `${tailSchema}.${identifier(`${this.#stream}_${++this.#created}`)}`
    const definitions = columns.map(({ name, type }) => `${identifier(name)} ${storedType(type)}`)
    await connection.run(`CREATE TABLE ${relation} (${definitions.join(', ')})`)
    return { relation, columns: [...columns], rows: 0 }
  }

  /** From now on rows go to this table. */
  add(table: HotTable): void {
    this.#tables.push(table)
  }

  /** A file with rows, as a table. It belongs to the tail once it was added with `addFile`. */
  fileTable(ready: ReadyFile, columns: readonly Column[]): HotTable {
    return { relation: `read_parquet(${literal(ready.file)})`, columns: [...columns], rows: ready.rows, ready }
  }

  /** Adds a file in front of the table that takes rows. */
  addFile(table: HotTable): void {
    this.#tables.splice(-1, 0, table)
  }

  /** Adds the events in an NDJSON file of log lines, all of them or none. @throws Error when they are not `count` (I6) */
  async insert(connection: DuckDBConnection, file: string, count: number, recordBytesMax: number): Promise<void> {
    const table = this.#tables.at(-1)!
    await transaction(connection, async () => {
      const insert = `INSERT INTO ${table.relation} ${this.selectNew(file, table.columns, recordBytesMax)}`
      const { rowsChanged } = await connection.run(insert)
      if (rowsChanged !== count) throw new Error(`Of ${count} events of ${this.#stream}, ${rowsChanged} were loaded`)
    })
    table.rows += count
  }

  /** The events in an NDJSON file of log lines, as rows with these columns. */
  selectNew(file: string, columns: readonly Column[], recordBytesMax: number): string {
    return `${selectEvents(file, columns, recordBytesMax, this.#naming)} WHERE _event_id IS NOT NULL`
  }

  /** Drops tables; within the transaction from which on their rows are shown from elsewhere. */
  async drop(connection: DuckDBConnection, tables: readonly HotTable[]): Promise<void> {
    for (const { relation, ready } of tables) if (!ready) await connection.run(`DROP TABLE ${relation}`)
  }

  /** Forgets dropped tables, once that transaction has committed; their files are removed when nobody reads them any more. */
  forget(tables: readonly HotTable[], readersGone: () => Promise<void>): void {
    const files = tables.flatMap(({ ready }) => (ready ? [ready.file] : []))
    if (files.length > 0) void readersGone().then(() => removeAll(files))
    const gone = new Set(tables)
    const kept = this.#tables.filter((table) => !gone.has(table))
    this.#tables.splice(0, this.#tables.length, ...kept)
  }
}

async function removeAll(files: readonly string[]): Promise<void> {
  // What cannot be removed now goes when the engine starts again.
  for (const file of files) await rm(file, { force: true }).catch(() => undefined)
}
