/**
 * SQL over one batch of events, for transforms that are a SELECT: on a database of its own in the process that asks, with a memory of its own. The
 * statement passes the gate that queries pass (query/gate.ts), and the only table that it finds is `batch`.
 *
 * The same batch gives the same rows in the same order, however often it is asked: rows with an `_event_id` in the order of these events
 * in the batch, the others behind them, and equal ones by their text. So what is made of a batch twice can be recognised.
 */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { systemColumns, type Column } from '../config/plan.ts'
import { FreshetError } from '../runtime/errors.ts'
import { columnTypeOf } from './column-type.ts'
import { readJson, storedSelect, storedType } from './columns.ts'
import { ColumnGrowth } from './column-growth.ts'
import { Database } from './duckdb.ts'
import { jsonObject } from './json-lines.ts'
import { admit, type Admitted } from './query/gate.ts'
import { sqlError } from './query/sql-error.ts'
import { emptyScratch } from './scratch.ts'
import { identifier } from './sql-text.ts'

export interface BatchSqlOptions {
  memoryBytes: number
  /** Scratch of its own; emptied at the start. It must be there. */
  tmpDir: string
  threads: number
  spillBytesMax?: number
}

interface BatchRequest {
  sql: string
  /** Events as lines of the log; lines of frames may be among them. */
  lines: Uint8Array
  /** The columns that the source declares, without system columns; null: found in the events. */
  columns: readonly Column[] | null
  timeoutMs: number
}

export interface BatchSql {
  /**
   * Whether a statement may run; for a check before there are events. @throws FreshetError `invalid_sql`, `forbidden_sql`
   */
  check(sql: string): Promise<void>
  /**
   * Runs a statement over a batch.
   * @returns its rows as lines of JSON, `_event_id` first where a row has one. What is NULL is left out
   * @throws FreshetError `invalid_sql`, `forbidden_sql`, `query_timeout`, `query_memory`
   */
  run(request: BatchRequest): Promise<Buffer>
  close(): void
}

const lineFeed = 0x0a
const table = 'batch'
const context = { streams: new Set([table]), systemTables: new Set<string>() }
/** DuckDB reads lines into buffers of twice this size. */
const lineBytesMin = 512 * 1024
const spillBytesDefault = 4 * 2 ** 30
/** Fields that a statement names and no event of the batch has; one more, and the statement is refused. */
const absentMax = 200

export async function openBatchSql(options: BatchSqlOptions): Promise<BatchSql> {
  const { tmpDir, memoryBytes, threads, spillBytesMax = spillBytesDefault } = options
  await emptyScratch(tmpDir)
  const folders = { tmpDir, lakeDir: tmpDir, logDir: tmpDir }
  const database = await Database.open({ memoryBytes, threads, spillBytesMax, ...folders })
  return new OwnBatchSql(database, tmpDir)
}

class OwnBatchSql implements BatchSql {
  readonly #database: Database
  readonly #tmpDir: string
  #files = 0

  constructor(database: Database, tmpDir: string) {
    this.#database = database
    this.#tmpDir = tmpDir
  }

  check(sql: string): Promise<void> {
    return this.#database.with(async (connection) => {
      await admitted(connection, sql)
    })
  }

  async run({ sql, lines, columns, timeoutMs }: BatchRequest): Promise<Buffer> {
    const path = this.#scratch('ndjson')
    const file = { path, lineBytesMax: longestLine(lines) }
    await writeFile(path, lines)
    try {
      return await this.#database.with(async (connection) => {
        let late = false
        const timer = setTimeout(() => {
          late = true
          connection.interrupt()
        }, timeoutMs)
        try {
          const { sql: select } = await admitted(connection, sql)
          const known = [...systemColumns, ...(columns ?? (await columnsIn(connection, file)))]
          const rows = await this.#rows(connection, select, { file, known })
          return inOrder(rows, lines)
        } catch (error) {
          if (!late) throw sqlError(error, sql)
          throw new FreshetError('query_timeout', `The statement ran longer than ${timeoutMs} ms and was stopped.`, {
            hint: 'Simplify it, or raise the `timeout` of the stream.',
          })
        } finally {
          clearTimeout(timer)
        }
      })
    } finally {
      await rm(path, { force: true })
    }
  }

  /** Fields that no event of the batch has are NULL, as they would be in another batch. */
  async #rows(
    connection: DuckDBConnection,
    select: string,
    { file, known }: { file: LineFile; known: readonly Column[] },
  ): Promise<MadeRow[]> {
    const absent: string[] = []
    for (;;) {
      try {
        return await rowsOf(connection, select, { file, known, absent })
      } catch (error) {
        const name = absentColumn(error)
        if (name === undefined || absent.includes(name) || absent.length >= absentMax) throw error
        absent.push(name)
      }
    }
  }

  close(): void {
    this.#database.close()
  }

  #scratch(ending: string): string {
    return join(this.#tmpDir, `${++this.#files}.${ending}`)
  }
}

async function admitted(connection: DuckDBConnection, sql: string): Promise<Admitted> {
  const found = await admit(connection, sql, context)
  if (found.kind !== 'select' || found.callsCompleteThrough || found.references.some(({ at }) => at !== undefined)) {
    throw new FreshetError('forbidden_sql', 'A transform is one SELECT over the table "batch", as it is.')
  }
  return found
}

/** The columns that events have beside the system columns, by what is in them. @throws UnfitField */
async function columnsIn(connection: DuckDBConnection, { path, lineBytesMax }: LineFile): Promise<readonly Column[]> {
  const fixed = new Set<string>(systemColumns.map(({ name }) => name))
  return new ColumnGrowth(connection, {}, fixed, lineBytesMax).grow([], path, new Set())
}

/** A file of lines, none of which is longer than it says. */
interface LineFile {
  path: string
  lineBytesMax: number
}

/** How long the longest line is, its end included; never less than DuckDB may be told. */
function longestLine(lines: Uint8Array): number {
  let longest = lineBytesMin
  let start = 0
  for (let end = lines.indexOf(lineFeed); end >= 0; end = lines.indexOf(lineFeed, start)) {
    longest = Math.max(longest, end + 1 - start)
    start = end + 1
  }
  return Math.max(longest, lines.length + 1 - start)
}

function readLines({ path, lineBytesMax }: LineFile, columns: readonly Column[]): string {
  return readJson(path, columns, lineBytesMax)
}

/** One row that was made: of which event, where it says so, and its text. */
type MadeRow = readonly [id: string | null, text: string]

async function rowsOf(
  connection: DuckDBConnection,
  select: string,
  { file, known, absent }: { file: LineFile; known: readonly Column[]; absent: readonly string[] },
): Promise<MadeRow[]> {
  const missing = absent.map((name) => `, CAST(NULL AS ${storedType({ kind: 'string' })}) AS ${identifier(name)}`)
  await connection.run(
    `CREATE OR REPLACE TEMP VIEW ${table} AS SELECT ${storedSelect(known)}${missing.join('')} FROM ${readLines(file, known)} WHERE _event_id IS NOT NULL`,
  )
  const statement = await connection.prepare(select)
  const count = statement.columnCount
  const names = Array.from({ length: count }, (_, index) => statement.columnName(index))
  checkNames(names)
  const columns = names.map((name, index) => ({ name, type: columnTypeOf(statement.columnType(index)) }))
  const id = columns.find(({ name }) => name === '_event_id')
  const ordered = id === undefined ? columns : [id, ...columns.filter((column) => column !== id)]
  const own = id === undefined ? 'NULL' : 'CAST(_event_id AS VARCHAR)'
  const made = await connection.runAndReadAll(`SELECT ${own}, ${jsonObject(ordered, 'number')} FROM (${select}\n)`)
  return made.getRows() as unknown as MadeRow[]
}

function checkNames(names: readonly string[]): void {
  const seen = new Set<string>()
  for (const name of names) {
    if (seen.has(name.toLowerCase())) {
      throw new FreshetError('invalid_sql', `The statement gives two columns the name "${name}".`, {
        hint: 'Name one of them otherwise with AS, or leave it out.',
      })
    }
    seen.add(name.toLowerCase())
  }
}

/** The second is said of a name that the statement itself gives to something. */
const absentPattern =
  /Binder Error: (?:Referenced column "([^"]+)" not found in FROM clause|Column "([^"]+)" referenced that exists in the SELECT clause)/

/** The name of a column that a statement reads and the table has not. */
function absentColumn(error: unknown): string | undefined {
  const found = absentPattern.exec(error instanceof Error ? error.message : '')
  return found?.[1] ?? found?.[2]
}

const idPattern = /\{"_event_id":("(?:[^"\\]|\\.)*")/g

/** The rows in the order of their events, as lines. */
function inOrder(rows: readonly MadeRow[], lines: Uint8Array): Buffer {
  const places = new Map<string, number>()
  if (rows.some(([id]) => id !== null)) {
    for (const [, text] of Buffer.from(lines.buffer, lines.byteOffset, lines.length).toString().matchAll(idPattern)) {
      const id = JSON.parse(text!) as string
      if (!places.has(id)) places.set(id, places.size)
    }
  }
  const placeOf = (id: string | null): number => (id === null ? undefined : places.get(id)) ?? places.size
  const placed = rows.map(([id, text]) => ({ place: placeOf(id), text }))
  placed.sort((a, b) => a.place - b.place || (a.text < b.text ? -1 : 1))
  return Buffer.from(placed.map(({ text }) => `${text}\n`).join(''))
}
