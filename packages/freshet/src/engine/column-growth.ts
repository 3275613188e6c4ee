/** Finds the columns that a stream gets from its events, where it takes fields that nobody declared. */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column, StreamPlan } from '../config/plan.ts'
import { readJson, sameColumns } from './columns.ts'
import { emptyObjectProbe, inferColumns, withoutEmptyObjects } from './infer.ts'
import { literal } from './sql-text.ts'

/** A field that cannot be a column. */
export class UnfitField extends Error {}

export class ColumnGrowth {
  readonly #connection: DuckDBConnection
  readonly #stream: Pick<StreamPlan, 'renames' | 'drops'>
  readonly #fixed: ReadonlySet<string>
  readonly #recordBytesMax: number

  /**
   * @param stream its events' former names are no columns of their own, and fields that it has dropped are none
   * @param fixed names whose type is settled: system columns and declared ones
   */
  constructor(
    connection: DuckDBConnection,
    stream: Pick<StreamPlan, 'renames' | 'drops'>,
    fixed: ReadonlySet<string>,
    recordBytesMax: number,
  ) {
    this.#connection = connection
    this.#stream = stream
    this.#fixed = fixed
    this.#recordBytesMax = recordBytesMax
  }

  /**
   * The columns, grown by what the events in a file of log lines hold; `known` itself when they bring nothing new.
   * @param hidden names, in lower case, under which the table keeps older values of other columns
   * @throws UnfitField when a field of theirs cannot be a column
   */
  async grow(known: readonly Column[], file: string, hidden: ReadonlySet<string>): Promise<readonly Column[]> {
    const structure = await this.#structureOf(file, known)
    if (structure === undefined) return known
    const { columns, refused } = inferColumns(known, structure, this.#fixed, this.#stream)
    for (const [name, reason] of refused) throw new UnfitField(`Field "${name}": ${reason}`)
    const taken = columns.find(({ name }) => hidden.has(name.toLowerCase()))
    if (taken)
      throw new UnfitField(`Field "${taken.name}": the table keeps older values of another column under this name`)
    return sameColumns(columns, known) ? known : columns
  }

  /** What `json_group_structure` says of a file's lines, with no type for empty objects; undefined for no lines. */
  async #structureOf(file: string, known: readonly Column[]): Promise<string | undefined> {
    const source = readJson(file, [{ name: 'json', type: { kind: 'json' } }], this.#recordBytesMax)
    const lines = `SELECT json FROM ${source.replace(/\)$/, ', records = false)')}`
    const structure = await this.#grouped(lines)
    if (structure === undefined) return undefined
    const probe = emptyObjectProbe(known, structure, this.#fixed)
    if (probe === undefined) return structure
    const probed = await this.#grouped(`${lines} UNION ALL SELECT CAST(${literal(probe)} AS JSON)`)
    return withoutEmptyObjects(structure, probed!)
  }

  /** One event of each shape says as much as all of them, and grouping every event takes ten times their size in memory. */
  async #grouped(lines: string): Promise<string | undefined> {
    const shapes = `SELECT any_value(json) AS json FROM (${lines}) GROUP BY json_structure(json)`
    const result = await this.#connection.runAndReadAll(`SELECT json_group_structure(json) FROM (${shapes})`)
    return (result.getRows()[0]?.[0] as string | null) ?? undefined
  }
}
