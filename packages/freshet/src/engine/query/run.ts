/**
 * Runs admitted statements: a few at once, each with a time limit, its result streamed chunk by chunk, never whole in memory.
 *
 * The row limit: JSON, NDJSON and CSV end early, with an error, when a result has more rows; Parquet is made whole first, so it is
 * refused before anything is sent.
 */
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { DuckDBConnection, DuckDBType } from '@duckdb/node-api'
import { FreshetError, toProblem } from '../../runtime/errors.ts'
import type { Random } from '../../runtime/random.ts'
import type { Database } from '../duckdb.ts'
import { literal } from '../sql-text.ts'
import { admit, type Admitted, type GateContext } from './gate.ts'
import { bindParameters, type Parameters } from './parameters.ts'
import { sqlError } from './sql-error.ts'
import { csvField, csvRow, jsonRows, type RowWriter } from './values.ts'

export type ResultFormat = 'json' | 'ndjson' | 'csv' | 'parquet'

export const contentTypes: Readonly<Record<ResultFormat, string>> = {
  json: 'application/json; charset=utf-8',
  ndjson: 'application/x-ndjson; charset=utf-8',
  csv: 'text/csv; charset=utf-8; header=present',
  parquet: 'application/vnd.apache.parquet',
}

export interface QueryRequest {
  sql: string
  parameters: Parameters
  format: ResultFormat
  /** Aborted when the client has gone. */
  signal: AbortSignal
}

/** Where a result goes. `begin` is called once, before anything is written, when it is known that the statement runs. */
export interface ResultTarget {
  begin(contentType: string, contentLength?: number): Writable
}

export interface RunnerOptions {
  database: Database
  random: Random
  tmpDir: string
  timeoutMs: number
  rowsMax: number
  concurrency: number
  /** What may be read now. */
  context: () => GateContext
  /** Brings system tables up to date. */
  refreshSystemTables: (names: ReadonlySet<string>) => Promise<void>
}

/** Statements that may wait for their turn. */
const waitingMax = 64
const writeBytes = 64 * 1024

export class QueryRunner {
  readonly #options: RunnerOptions
  #running = 0
  readonly #waiting: (() => void)[] = []

  constructor(options: RunnerOptions) {
    this.#options = options
  }

  /**
   * Runs one statement and writes its result.
   * @throws FreshetError when it fails before `target.begin` was called; afterwards a failure ends the result with an error
   */
  async run(request: QueryRequest, target: ResultTarget): Promise<void> {
    await this.#enter()
    try {
      await this.#options.database.with((connection) => this.#runOn(connection, request, target))
    } finally {
      this.#leave()
    }
  }

  async #enter(): Promise<void> {
    if (this.#running < this.#options.concurrency) {
      this.#running++
      return
    }
    if (this.#waiting.length >= waitingMax) {
      throw new FreshetError('too_many_queries', `${this.#running} queries run and ${waitingMax} wait.`, {
        hint: 'Try again in a moment.',
      })
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  #leave(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#running--
  }

  async #runOn(connection: DuckDBConnection, request: QueryRequest, target: ResultTarget): Promise<void> {
    const { timeoutMs, context, refreshSystemTables } = this.#options
    let timedOut = false
    const stop = (): void => connection.interrupt()
    const timer = setTimeout(() => {
      timedOut = true
      stop()
    }, timeoutMs)
    request.signal.addEventListener('abort', stop)
    try {
      const admitted = await admit(connection, request.sql, context())
      if (admitted.systemTables.size > 0) await refreshSystemTables(admitted.systemTables)
      if (request.format === 'parquet') await this.#sendParquet(connection, admitted, request, target)
      else await this.#sendRows(connection, admitted, request, target, () => timedOut)
    } catch (error) {
      throw timedOut ? this.#timeout() : sqlError(error, request.sql)
    } finally {
      clearTimeout(timer)
      request.signal.removeEventListener('abort', stop)
    }
  }

  #timeout(): FreshetError {
    return new FreshetError(
      'query_timeout',
      `The query ran longer than ${this.#options.timeoutMs} ms and was stopped.`,
      {
        hint: 'Read less (a filter on _event_time skips files), or raise sql.timeout in the configuration.',
      },
    )
  }

  #tooLarge(): FreshetError {
    return new FreshetError('result_too_large', `The result has more than ${this.#options.rowsMax} rows.`, {
      hint: 'Add a LIMIT or aggregate, or raise sql.rows in the configuration.',
    })
  }

  async #sendRows(
    connection: DuckDBConnection,
    { sql }: Admitted,
    { parameters, format, sql: original }: QueryRequest,
    target: ResultTarget,
    timedOut: () => boolean,
  ): Promise<void> {
    const statement = await connection.prepare(sql)
    bindParameters(statement, parameters)
    const result = await statement.stream()
    const names = result.deduplicatedColumnNames()
    const first = await result.fetchChunk()
    const out = target.begin(contentTypes[format])
    const frame = frameOf(format, names, result.columnTypes())
    let text = frame.head
    let rows = 0
    try {
      for (let chunk = first; chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
        for (const row of chunk.getRows()) {
          if (rows === this.#options.rowsMax) throw this.#tooLarge()
          text += (rows > 0 ? frame.between : '') + frame.row(row)
          rows++
          if (text.length > writeBytes) {
            await write(out, text)
            text = ''
          }
        }
      }
      out.end(text + frame.tail(rows))
    } catch (error) {
      const known = timedOut() ? this.#timeout() : sqlError(error, original)
      await endWithError(out, text, format, known)
    }
  }

  async #sendParquet(
    connection: DuckDBConnection,
    { sql, kind }: Admitted,
    { parameters }: QueryRequest,
    target: ResultTarget,
  ): Promise<void> {
    if (kind === 'explain') {
      throw new FreshetError('invalid_sql', 'EXPLAIN has no Parquet form.', { hint: 'Ask for json, ndjson or csv.' })
    }
    const file = join(this.#options.tmpDir, `result-${this.#options.random.hex(8)}.parquet`)
    try {
      const limit = this.#options.rowsMax + 1
      const statement = await connection.prepare(
        `COPY (SELECT * FROM (${sql}\n) LIMIT ${limit}) TO ${literal(file)} (FORMAT parquet, COMPRESSION zstd)`,
      )
      bindParameters(statement, parameters)
      const result = await statement.run()
      if (result.rowsChanged > this.#options.rowsMax) throw this.#tooLarge()
      const out = target.begin(contentTypes.parquet, (await stat(file)).size)
      await pipeline(createReadStream(file), out)
    } finally {
      await rm(file, { force: true })
    }
  }
}

interface Frame {
  head: string
  between: string
  row: RowWriter
  tail: (rows: number) => string
}

function frameOf(format: ResultFormat, names: readonly string[], types: readonly DuckDBType[]): Frame {
  if (format === 'csv') {
    const head = `${names.map(csvField).join(',')}\r\n`
    return { head, between: '', row: (values) => `${csvRow(values)}\r\n`, tail: () => '' }
  }
  const row = jsonRows(names, types)
  if (format === 'ndjson') return { head: '', between: '', row: (values) => `${row(values)}\n`, tail: () => '' }
  const columns = names.map((name, index) => ({ name, type: types[index]!.toString() }))
  return {
    head: `{"columns":${JSON.stringify(columns)},"rows":[`,
    between: ',',
    row,
    tail: (rows) => `],"rowCount":${rows}}\n`,
  }
}

async function write(out: Writable, text: string): Promise<void> {
  if (out.destroyed) throw new Error('the client has gone')
  if (!out.write(text)) await Promise.race([once(out, 'drain'), once(out, 'close')])
}

/**
 * A result that cannot be finished must not look finished: JSON closes its list and carries an `error` member, NDJSON ends with a
 * line that holds only one, and CSV, which has no place for it, breaks off.
 */
async function endWithError(out: Writable, text: string, format: ResultFormat, error: FreshetError): Promise<void> {
  const problem = JSON.stringify(toProblem(error))
  if (format === 'json') out.end(`${text}],"error":${problem}}\n`)
  else if (format === 'ndjson') out.end(`${text}{"error":${problem}}\n`)
  else {
    await write(out, text).catch(() => undefined)
    out.destroy(error)
  }
}
