/** Events as rows of MySQL or MariaDB: many rows in a statement, as far as the server takes them. */
import { createConnection, type Connection, type ResultSetHeader } from 'mysql2/promise'
import { escape } from 'mysql2'
import { placeOf, readAddress, readTls } from '../sql/address.ts'
import { targetFault } from '../sql/fault.ts'
import type { SqlOptions } from '../sql/settings.ts'
import { openSqlSink } from '../sql/sql-sink.ts'
import type { SqlDialect, SqlRow, SqlSession, SqlTable, WantedColumn, WriteOrder } from '../sql/sql-target.ts'
import type { SinkDeps, SinkKind } from '../sink.ts'
import { faultOf, hintFor } from './faults.ts'
import { checkpointTable, find, insertAround, keyTuple, removeAround, removeOne, tuple, update } from './statements.ts'
import { prepareTable } from './table.ts'

/** Statements are kept to this length at most, and to half of what the server takes. */
const statementCharsMax = 2 ** 20

class MySqlSession implements SqlSession {
  readonly #connection: Connection
  readonly #options: SqlOptions
  readonly #checkpoints: string
  #charsMax = statementCharsMax
  #lost = false

  constructor(connection: Connection, options: SqlOptions) {
    this.#connection = connection
    this.#options = options
    this.#checkpoints = checkpointTable(options.table)
    // Without a listener, a connection that ends between two batches would end the process.
    connection.on('error', () => (this.#lost = true))
    connection.on('end', () => (this.#lost = true))
  }

  get usable(): boolean {
    return !this.#lost
  }

  /** Settles what the session's statements rely on. */
  async settle(): Promise<void> {
    const waitS = Math.max(1, Math.floor(this.#options.timeout / 1000))
    await this.#query(
      `SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00', innodb_lock_wait_timeout = ${waitS}`,
    )
    await this.#query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED')
    const [row] = await this.#query('SELECT @@max_allowed_packet AS bytes')
    // A character has at most four bytes.
    this.#charsMax = Math.min(statementCharsMax, Math.floor(Number(row?.['bytes'] ?? 2 ** 22) / 8))
  }

  async prepare(wanted: readonly WantedColumn[], consumer: string): Promise<SqlTable> {
    const table = await prepareTable((sql) => this.#query(sql), this.#options, wanted)
    await this.#query(
      `INSERT IGNORE INTO ${this.#checkpoints} (consumer, checkpoint, updated_at) VALUES (${escape(consumer)}, '', UTC_TIMESTAMP(6))`,
    )
    return table
  }

  checkpoint(consumer: string): Promise<string | undefined> {
    return this.#stored(consumer, '')
  }

  async begin(consumer: string): Promise<string | undefined> {
    await this.#query('START TRANSACTION')
    return this.#stored(consumer, ' FOR UPDATE')
  }

  async remove(table: SqlTable, rows: readonly SqlRow[]): Promise<void> {
    if (table.newest !== undefined) {
      for (const row of rows) await this.#query(removeOne(table, row))
      return
    }
    await this.#inParts(rows, removeAround(table), (row) => keyTuple(table, row))
  }

  async write(table: SqlTable, rows: readonly SqlRow[], { findMissing }: WriteOrder): Promise<number[]> {
    if (table.mode !== 'update') {
      await this.#inParts(rows, insertAround(table), (row) => tuple(table, row))
      return []
    }
    const unmatched: number[] = []
    for (const row of rows) {
      const { affectedRows } = await this.#change(update(table, row))
      if (!findMissing || affectedRows > 0) continue
      // An older event changes nothing either, though its row is there.
      const there = table.newest !== undefined && (await this.#query(find(table, row))).length > 0
      if (!there) unmatched.push(row.index)
    }
    return unmatched
  }

  async keep(consumer: string, checkpoint: string): Promise<void> {
    await this.#query(
      `INSERT INTO ${this.#checkpoints} (consumer, checkpoint, updated_at) VALUES (${escape(consumer)}, ${escape(checkpoint)}, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE checkpoint = VALUES(checkpoint), updated_at = VALUES(updated_at)`,
    )
  }

  async commit(): Promise<void> {
    await this.#query('COMMIT')
  }

  async rollback(): Promise<void> {
    await this.#query('ROLLBACK')
  }

  async close(): Promise<void> {
    // A server that is away would not say goodbye.
    if (this.#lost) this.#connection.destroy()
    else await this.#connection.end()
    this.#lost = true
  }

  async #stored(consumer: string, lock: string): Promise<string | undefined> {
    const rows = await this.#query(
      `SELECT checkpoint FROM ${this.#checkpoints} WHERE consumer = ${escape(consumer)}${lock}`,
    )
    return rows[0] === undefined ? undefined : String(rows[0]['checkpoint'])
  }

  /** One statement after another, each with as many rows as may be. */
  async #inParts(
    rows: readonly SqlRow[],
    { before, after }: { before: string; after: string },
    words: (row: SqlRow) => string,
  ): Promise<void> {
    let part: string[] = []
    let chars = 0
    for (const row of rows) {
      const text = words(row)
      if (part.length > 0 && chars + text.length > this.#charsMax) {
        await this.#query(before + part.join(',') + after)
        part = []
        chars = 0
      }
      part.push(text)
      chars += text.length + 1
    }
    await this.#query(before + part.join(',') + after)
  }

  async #query(sql: string): Promise<Record<string, unknown>[]> {
    return (await this.#send(sql)) as Record<string, unknown>[]
  }

  async #change(sql: string): Promise<ResultSetHeader> {
    return (await this.#send(sql)) as ResultSetHeader
  }

  async #send(sql: string): Promise<unknown> {
    try {
      const [answer] = await this.#connection.query({ sql, timeout: this.#options.timeout })
      return answer
    } catch (error) {
      if (faultOf(error) === 'connection') this.#lost = true
      throw error
    }
  }
}

async function connect(options: SqlOptions, deps: Pick<SinkDeps, 'baseDir' | 'fileSystem'>): Promise<SqlSession> {
  const address = readAddress(options.url, 3306)
  const { host, port, user, password, database } = address
  const tls = await readTls(options, host, deps)
  try {
    const connection = await createConnection({
      ...(host.startsWith('/') ? { socketPath: host } : { host, port }),
      user,
      ...(password !== undefined && { password }),
      ...(database !== undefined && { database }),
      ...(tls !== false && {
        ssl: {
          rejectUnauthorized: tls.rejectUnauthorized,
          verifyIdentity: tls.rejectUnauthorized,
          ...(tls.ca !== undefined && { ca: tls.ca }),
        },
      }),
      charset: 'utf8mb4',
      connectTimeout: options.timeout,
      dateStrings: true,
      supportBigNumbers: true,
      bigNumberStrings: true,
      enableKeepAlive: true,
      multipleStatements: false,
      // So that a row counts that an event leaves as it was.
      flags: ['FOUND_ROWS'],
    })
    const session = new MySqlSession(connection, options)
    await session.settle()
    return session
  } catch (error) {
    const message = `MySQL at ${placeOf(address)} cannot be reached: ${(error as Error).message}`
    throw targetFault(message, hintFor(error), error)
  }
}

const dialect: SqlDialect = { connect, fault: faultOf, hint: hintFor, takesNul: true }

export const mysqlKind: SinkKind = {
  open: (deps) => openSqlSink(deps, dialect),
}
