/** Events as rows of PostgreSQL: a statement for each batch, its rows as one list of values a column. */
import pg from 'pg'
import { placeOf, readAddress, readTls } from '../sql/address.ts'
import { targetFault } from '../sql/fault.ts'
import type { SqlOptions } from '../sql/settings.ts'
import { openSqlSink } from '../sql/sql-sink.ts'
import type { SqlDialect, SqlRow, SqlSession, SqlTable, WantedColumn, WriteOrder } from '../sql/sql-target.ts'
import type { SinkDeps, SinkKind } from '../sink.ts'
import { faultOf, hintFor } from './faults.ts'
import { checkpointTable, insert, missing, remove, update, type Statement } from './statements.ts'
import { prepareTable } from './table.ts'

/** Rows in one statement: what it holds in memory stays small, and more would not make it faster. */
const statementRowsMax = 10_000
/** The server gives up by itself; when it says nothing at all, the connection is given up this much later. */
const graceMs = 5000

class PostgresSession implements SqlSession {
  readonly #client: pg.Client
  readonly #options: SqlOptions
  readonly #checkpoints: string
  #lost = false

  constructor(client: pg.Client, options: SqlOptions) {
    this.#client = client
    this.#options = options
    this.#checkpoints = checkpointTable(options.table)
    // Without a listener, a connection that ends between two batches would end the process.
    client.on('error', () => (this.#lost = true))
    client.on('end', () => (this.#lost = true))
  }

  get usable(): boolean {
    return !this.#lost
  }

  async prepare(wanted: readonly WantedColumn[], consumer: string): Promise<SqlTable> {
    const client = { query: (text: string, values?: unknown[]) => this.#query({ text, values: values ?? [] }) }
    const table = await prepareTable(client as Pick<pg.Client, 'query'>, this.#options, wanted)
    const text = `INSERT INTO ${this.#checkpoints} (consumer, checkpoint) VALUES ($1, '') ON CONFLICT DO NOTHING`
    await this.#query({ text, values: [consumer] })
    return table
  }

  checkpoint(consumer: string): Promise<string | undefined> {
    return this.#stored(consumer, '')
  }

  async begin(consumer: string): Promise<string | undefined> {
    const { timeout } = this.#options
    // A worker that stands still must not keep the row from the one that took its place.
    await this.#run(
      `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = ${timeout}; SET LOCAL idle_in_transaction_session_timeout = ${timeout + graceMs}`,
    )
    return this.#stored(consumer, ' FOR UPDATE')
  }

  async remove(table: SqlTable, rows: readonly SqlRow[]): Promise<void> {
    for (const part of parts(rows)) await this.#query(remove(table, part))
  }

  async write(table: SqlTable, rows: readonly SqlRow[], order: WriteOrder): Promise<number[]> {
    const unmatched: number[] = []
    for (const part of parts(rows)) {
      if (order.findMissing) {
        const { rows: found } = await this.#query<{ n: number }>(missing(table, part))
        unmatched.push(...found.map(({ n }) => part[n - 1]!.index))
      }
      await this.#query(table.mode === 'update' ? update(table, part, order) : insert(table, part, order))
    }
    return unmatched
  }

  async keep(consumer: string, checkpoint: string): Promise<void> {
    const text = `INSERT INTO ${this.#checkpoints} (consumer, checkpoint) VALUES ($1, $2)
      ON CONFLICT (consumer) DO UPDATE SET checkpoint = excluded.checkpoint, updated_at = now()`
    await this.#query({ text, values: [consumer, checkpoint] })
  }

  async commit(): Promise<void> {
    await this.#run('COMMIT')
  }

  async rollback(): Promise<void> {
    await this.#run('ROLLBACK')
  }

  async close(): Promise<void> {
    // A server that is away would not say goodbye.
    const { connection } = this.#client as unknown as { connection: { stream: { destroy(): void } } }
    if (this.#lost) connection.stream.destroy()
    else await this.#client.end()
    this.#lost = true
  }

  async #stored(consumer: string, lock: string): Promise<string | undefined> {
    const text = `SELECT checkpoint FROM ${this.#checkpoints} WHERE consumer = $1${lock}`
    const { rows } = await this.#query<{ checkpoint: string }>({ text, values: [consumer] })
    return rows[0]?.checkpoint
  }

  #run(text: string): Promise<unknown> {
    return this.#guarded(this.#client.query(text))
  }

  #query<Row extends pg.QueryResultRow>(statement: Statement): Promise<pg.QueryResult<Row>> {
    return this.#guarded(this.#client.query<Row>(statement.text, statement.values))
  }

  async #guarded<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer
    } catch (error) {
      if (faultOf(error) === 'connection') this.#lost = true
      throw error
    }
  }
}

function* parts(rows: readonly SqlRow[]): Generator<readonly SqlRow[]> {
  for (let at = 0; at < rows.length; at += statementRowsMax)
    yield rows.length <= statementRowsMax ? rows : rows.slice(at, at + statementRowsMax)
}

async function connect(options: SqlOptions, deps: Pick<SinkDeps, 'baseDir' | 'fileSystem'>): Promise<SqlSession> {
  const address = readAddress(options.url, 5432)
  const { host, port, user, password, database } = address
  const client = new pg.Client({
    host,
    port,
    user,
    // As a function, so that none is looked for elsewhere.
    password: () => password ?? '',
    ...(database !== undefined && { database }),
    ssl: await readTls(options, host, deps),
    connectionTimeoutMillis: options.timeout,
    query_timeout: options.timeout + graceMs,
    keepAlive: true,
    application_name: 'freshet',
  })
  const session = new PostgresSession(client, options)
  try {
    await client.connect()
  } catch (error) {
    throw targetFault(
      `PostgreSQL at ${placeOf(address)} cannot be reached: ${(error as Error).message}`,
      hintFor(error),
      error,
    )
  }
  return session
}

const dialect: SqlDialect = { connect, fault: faultOf, hint: hintFor, takesNul: false }

export const postgresKind: SinkKind = {
  open: (deps) => openSqlSink(deps, dialect),
}
