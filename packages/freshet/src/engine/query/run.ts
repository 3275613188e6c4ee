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
import { DuckDBTypeId, type DuckDBConnection, type DuckDBType, type DuckDBValue } from '@duckdb/node-api'
import { FreshetError, toProblem } from '../../runtime/errors.ts'
import type { Random } from '../../runtime/random.ts'
import type { Database } from '../duckdb.ts'
import { isMissingFile } from '../duckdb-error.ts'
import { identifier, literal } from '../sql-text.ts'
import { tellCompleteThrough, type FindCompleteThrough } from './complete-through.ts'
import { admit, type Admitted, type GateContext } from './gate.ts'
import { explainRows } from './explain.ts'
import { bindParameters, type Parameters } from './parameters.ts'
import { sqlError } from './sql-error.ts'
import type { StreamScan, StreamViews } from './stream-views.ts'
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
  /** The moment as of which streams are read, where the statement has none for them: a time, a snapshot's id, or a tag. */
  asOf?: string
  /** Aborted when the client has gone. */
  signal: AbortSignal
}

/** Where a result goes. `begin` is called once, before anything is written, when it is known that the statement runs. */
export interface ResultTarget {
  begin(headers: Readonly<Record<string, string>>): Writable
}

export interface RunnerOptions {
  database: Database
  views: Pick<StreamViews, 'enter' | 'open' | 'openWhole'>
  random: Random
  tmpDir: string
  timeoutMs: number
  rowsMax: number
  concurrency: number
  /** Resolves when statements may run at all; held back by it, they hold their turn. */
  ready: (signal: AbortSignal) => Promise<void>
  /** What an answer says, in headers, about the tables that its statement is about to read. */
  headers: (reads: Pick<Admitted, 'streams' | 'systemTables'>) => Readonly<Record<string, string>>
  /** How far streams are complete, by what SQL shows. */
  completeThrough: FindCompleteThrough
  /** What may be read now. */
  context: () => GateContext
  /** Takes over what other engines have committed, who may have removed files that streams still show; true when there was anything. */
  refreshTables: () => Promise<boolean>
  /** Brings system tables up to date. */
  refreshSystemTables: (names: ReadonlySet<string>) => Promise<void>
}

/** Statements that may wait for their turn. */
const waitingMax = 64
const writeBytes = 64 * 1024
const interruptMs = 20
const wideInteger = /\bU?HUGEINT\b/
const wideIntegers = /\bU?HUGEINT\b/g

export class QueryRunner {
  readonly #options: RunnerOptions
  #running = 0
  readonly #waiting: (() => void)[] = []

  constructor(options: RunnerOptions) {
    this.#options = options
  }

  /** What streams are read through. */
  get views(): RunnerOptions['views'] {
    return this.#options.views
  }

  /**
   * Runs one statement and writes its result.
   * @throws FreshetError when it fails before `target.begin` was called; afterwards a failure ends the result with an error
   */
  async run(request: QueryRequest, target: ResultTarget): Promise<void> {
    await this.#enter(request.signal)
    try {
      await this.#options.ready(request.signal)
      const { database, refreshTables } = this.#options
      const attempt = (): Promise<void> => database.with((connection) => this.#runOn(connection, request, target))
      await attempt().catch(async (error: Error) => {
        if (!isMissingFile(error.cause) || !(await refreshTables())) throw error
        await attempt()
      })
    } finally {
      this.#leave()
    }
  }

  async #enter(signal: AbortSignal): Promise<void> {
    if (this.#running < this.#options.concurrency) {
      this.#running++
      return
    }
    if (this.#waiting.length >= waitingMax) {
      throw new FreshetError('too_many_queries', `${this.#running} queries run and ${waitingMax} wait.`, {
        hint: 'Try again in a moment.',
      })
    }
    await new Promise<void>((resolve, reject) => {
      const turn = (): void => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(turn), 1)
        reject(clientGone())
      }
      signal.addEventListener('abort', leave, { once: true })
      this.#waiting.push(turn)
    })
  }

  #leave(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#running--
  }

  async #runOn(connection: DuckDBConnection, request: QueryRequest, target: ResultTarget): Promise<void> {
    const { timeoutMs, context, headers, completeThrough, refreshSystemTables, views } = this.#options
    const stopper = new Stopper(connection)
    const onGone = (): void => stopper.stop(clientGone())
    const timer = setTimeout(() => stopper.stop(this.#timeout()), timeoutMs)
    request.signal.addEventListener('abort', onGone)
    const leave = views.enter()
    let text = request.sql
    try {
      if (request.signal.aborted) throw clientGone()
      const admitted = await admit(connection, request.sql, context())
      if (admitted.systemTables.size > 0) await refreshSystemTables(admitted.systemTables)
      const about = {
        ...headers(admitted),
        ...(await tellCompleteThrough(connection, admitted, completeThrough)),
      }
      const told: ResultTarget = { begin: (own) => target.begin({ ...about, ...own }) }
      text = admitted.sql
      const { parameters, asOf } = request
      // Planned and run on one snapshot (I4): a plan relies on the statistics of the hot rows it was made for, and rows that came
      // in between would be left out or misread. Closing the connection ends the transaction.
      const scans = await views.open(connection, { ...admitted, parameters, asOf })
      if (request.format === 'parquet') await this.#sendParquet(connection, admitted, request, told, stopper)
      else await this.#sendRows(connection, { ...admitted, scans }, request, told, stopper)
    } catch (error) {
      throw stopper.reason ?? sqlError(error, text)
    } finally {
      leave()
      clearTimeout(timer)
      stopper.end()
      request.signal.removeEventListener('abort', onGone)
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
    { sql, kind, scans, atParameters }: Admitted & { scans: readonly StreamScan[] },
    { parameters, format }: QueryRequest,
    target: ResultTarget,
    stopper: Stopper,
  ): Promise<void> {
    const statement = await connection.prepare(sql)
    bindParameters(statement, parameters, atParameters)
    stopper.check()
    const result = await statement.stream()
    const names = result.deduplicatedColumnNames()
    const first = await result.fetchChunk()
    const out = target.begin({ 'content-type': contentTypes[format] })
    const frame = frameOf(format, names, result.columnTypes())
    let text = frame.head
    let rows = 0
    try {
      const send = async (row: readonly DuckDBValue[]): Promise<void> => {
        if (rows === this.#options.rowsMax) throw this.#tooLarge()
        text += (rows > 0 ? frame.between : '') + frame.row(row)
        rows++
        if (text.length <= writeBytes) return
        const whole = text
        text = ''
        await write(out, whole, stopper.signal)
      }
      for (let chunk = first; chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
        for (const row of chunk.getRows()) await send(row)
      }
      if (kind === 'explain') for (const row of explainRows(scans)) await send(row)
      out.end(text + frame.tail(rows))
    } catch (error) {
      endWithError(out, text, format, stopper.reason ?? sqlError(error, sql))
    }
  }

  async #sendParquet(
    connection: DuckDBConnection,
    { sql, kind, atParameters }: Admitted,
    { parameters }: QueryRequest,
    target: ResultTarget,
    stopper: Stopper,
  ): Promise<void> {
    if (kind === 'explain') {
      throw new FreshetError('invalid_sql', 'EXPLAIN has no Parquet form.', { hint: 'Ask for json, ndjson or csv.' })
    }
    const file = join(this.#options.tmpDir, `result-${this.#options.random.hex(8)}.parquet`)
    try {
      const limit = this.#options.rowsMax + 1
      const select = await parquetSelect(connection, sql, parameters, atParameters)
      const statement = await connection.prepare(
        `COPY (${select} LIMIT ${limit}) TO ${literal(file)} (FORMAT parquet, COMPRESSION zstd)`,
      )
      bindParameters(statement, parameters, atParameters)
      stopper.check()
      const result = await statement.run()
      if (result.rowsChanged > this.#options.rowsMax) throw this.#tooLarge()
      const out = target.begin({
        'content-type': contentTypes.parquet,
        'content-length': String((await stat(file)).size),
      })
      await pipeline(createReadStream(file), out, { signal: stopper.signal })
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

/**
 * The statement as one whose values Parquet holds: it has no 128-bit integers, and DuckDB would write them as doubles, so they
 * become decimals of 38 digits. Preparing the statement by itself also reports its mistakes where they are.
 */
async function parquetSelect(
  connection: DuckDBConnection,
  sql: string,
  parameters: Parameters,
  atParameters: ReadonlySet<string>,
): Promise<string> {
  const statement = await connection.prepare(sql)
  bindParameters(statement, parameters, atParameters)
  const indexes = Array.from({ length: statement.columnCount }, (_, index) => index)
  // The type of a column that is nothing but a parameter is not known yet, and is none of those.
  const types = indexes.map((index) =>
    statement.columnTypeId(index) === DuckDBTypeId.INVALID ? '' : statement.columnType(index).toString(),
  )
  const names = indexes.map((index) => statement.columnName(index))
  statement.destroySync()
  if (!types.some((type) => wideInteger.test(type))) return `SELECT * FROM (${sql}\n)`
  const list = types.map((type, index) => {
    const value = wideInteger.test(type)
      ? `CAST(c${index} AS ${type.replace(wideIntegers, 'DECIMAL(38, 0)')})`
      : `c${index}`
    return `${value} AS ${identifier(names[index]!)}`
  })
  return `SELECT ${list.join(', ')} FROM (${sql}\n) AS result(${types.map((_, index) => `c${index}`).join(', ')})`
}

async function write(out: Writable, text: string, signal: AbortSignal): Promise<void> {
  if (out.destroyed) throw clientGone()
  if (out.write(text)) return
  const settled = new AbortController()
  const options = { signal: AbortSignal.any([signal, settled.signal]) }
  try {
    await Promise.race([once(out, 'drain', options), once(out, 'close', options)])
  } finally {
    settled.abort()
  }
}

/**
 * A result that cannot be finished must not look finished: JSON closes its list and carries an `error` member, NDJSON ends with a
 * line that holds only one, and CSV, which has no place for it, breaks off.
 */
function endWithError(out: Writable, text: string, format: ResultFormat, error: FreshetError): void {
  const problem = JSON.stringify(toProblem(error))
  if (format === 'json') out.end(`${text}],"error":${problem}}\n`)
  else if (format === 'ndjson') out.end(`${text}{"error":${problem}}\n`)
  else out.write(text, () => out.destroy())
}

function clientGone(): FreshetError {
  return new FreshetError('shutting_down', 'The client has gone.')
}

/**
 * Stops what a connection does. A statement that begins just after an interrupt would not notice it, so interrupts are repeated
 * until the query has ended.
 */
class Stopper {
  readonly #connection: DuckDBConnection
  readonly #controller = new AbortController()
  #reason: FreshetError | undefined
  #repeat: NodeJS.Timeout | undefined

  constructor(connection: DuckDBConnection) {
    this.#connection = connection
  }

  /** Why it was stopped. */
  get reason(): FreshetError | undefined {
    return this.#reason
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  stop(reason: FreshetError): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#connection.interrupt()
    this.#repeat = setInterval(() => this.#connection.interrupt(), interruptMs)
    this.#controller.abort(reason)
  }

  /** @throws the reason, once it was stopped */
  check(): void {
    if (this.#reason !== undefined) throw this.#reason
  }

  /** The query has ended: its connection is about to be closed. */
  end(): void {
    clearInterval(this.#repeat)
  }
}
