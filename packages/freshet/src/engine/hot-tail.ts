/**
 * The hot tail of one stream: the rows that are loaded from the log but not committed yet, in tables of the embedded database.
 * The last table takes new rows; the ones before it are frozen and on their way into the lake. A change of columns starts a new
 * table, so a table's columns never change.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column } from '../config/plan.ts'
import { readJson, sameColumns, storedSelect, storedType } from './columns.ts'
import { tailSchema } from './duckdb.ts'
import { identifier } from './sql-text.ts'

export interface HotTable {
  /** Its name as SQL, schema included. */
  relation: string
  columns: readonly Column[]
  rows: number
}

export class HotTail {
  readonly #stream: string
  readonly #tables: HotTable[] = []
  #created = 0

  constructor(stream: string) {
    this.#stream = stream
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

  add(table: HotTable): void {
    this.#tables.push(table)
  }

  /** Adds the events in an NDJSON file of log lines; returns how many. */
  async insert(connection: DuckDBConnection, file: string, recordBytesMax: number): Promise<number> {
    const table = this.#tables.at(-1)!
    const source = readJson(file, table.columns, recordBytesMax)
    const result = await connection.run(
      `INSERT INTO ${table.relation} SELECT ${storedSelect(table.columns)} FROM ${source} WHERE _event_id IS NOT NULL`,
    )
    table.rows += result.rowsChanged
    return result.rowsChanged
  }

  /** Drops tables; within the transaction that makes the view find their rows elsewhere. */
  async drop(connection: DuckDBConnection, tables: readonly HotTable[]): Promise<void> {
    for (const { relation } of tables) await connection.run(`DROP TABLE ${relation}`)
  }

  /** Forgets dropped tables, once that transaction has committed. */
  forget(tables: readonly HotTable[]): void {
    const gone = new Set(tables)
    const kept = this.#tables.filter((table) => !gone.has(table))
    this.#tables.splice(0, this.#tables.length, ...kept)
  }
}
