/**
 * Reads dead letters for those who ask: by the same views as queries, so hot ones too. A condition goes through the query gate as the
 * WHERE of a SELECT, and may be nothing but one expression over the columns of the letters.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { systemColumns } from '../../config/plan.ts'
import { deadLettersOf, deadLetterStream } from '../../events/dead-letter.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { Database } from '../duckdb.ts'
import { readPredicate } from '../erasure/predicate.ts'
import { sqlError } from '../query/sql-error.ts'
import type { StreamViews } from '../query/stream-views.ts'
import { identifier, literal } from '../sql-text.ts'
import { letterList, storedLetter, textOf, type LetterKey, type StoredLetter } from './stored-letter.ts'

export interface LetterReaderDeps {
  database: Database
  views: Pick<StreamViews, 'enter' | 'openWhole'>
  /** Whether there is a stream of that name, which may be one of letters. */
  hasStream: (name: string) => boolean
  /** Resolves when letters may be read: at its start the engine may be behind. */
  ready: (signal: AbortSignal) => Promise<void>
  timeoutMs: number
}

/** Which letters are asked for; all of them without a condition. */
export interface LetterChoice {
  where?: string | undefined
}

export interface StageCount {
  stage: string
  consumer: string | null
  letters: number
}

const interruptMs = 20

export class LetterReader {
  readonly #deps: LetterReaderDeps

  constructor(deps: LetterReaderDeps) {
    this.#deps = deps
  }

  /**
   * The newest letters of a stream first.
   * @throws FreshetError `unknown_stream`, `invalid_sql`, `forbidden_sql`
   */
  async list(stream: string, choice: LetterChoice, limit: number, signal: AbortSignal): Promise<StoredLetter[]> {
    const condition = await this.condition(stream, choice)
    const rows = await this.#rows(stream, signal, (letters) => {
      return `SELECT ${letterList} FROM ${letters} WHERE ${condition} ORDER BY failed_at DESC, _event_id LIMIT ${limit}`
    })
    return rows.map(storedLetter)
  }

  /** The letter with an id: the one that failed last, where ids repeat at other times. @throws FreshetError `not_found` */
  async find(stream: string, id: string, signal: AbortSignal): Promise<StoredLetter> {
    const [row] = await this.#rows(stream, signal, (letters) => {
      return `SELECT ${letterList} FROM ${letters} WHERE _event_id = ${literal(id)} ORDER BY failed_at DESC LIMIT 1`
    })
    if (row !== undefined) return storedLetter(row)
    throw new FreshetError('not_found', `${stream} has no dead letter ${JSON.stringify(id.slice(0, 200))}.`, {
      hint: `It may have been replayed, dropped, or be past its retention; GET /v1/streams/${stream}/dead-letters lists them.`,
    })
  }

  /** How many letters a stream has, by stage and consumer. */
  async count(stream: string, signal: AbortSignal): Promise<StageCount[]> {
    const rows = await this.#rows(
      stream,
      signal,
      (letters) => `SELECT stage, consumer, count(*) FROM ${letters} GROUP BY ALL ORDER BY ALL`,
    )
    return rows.map(([stage, consumer, letters]) => ({
      stage: textOf(stage),
      consumer: consumer === null ? null : textOf(consumer),
      letters: Number(letters),
    }))
  }

  /** How many letters fulfil a condition that `condition` gave. */
  async matching(stream: string, condition: string, signal: AbortSignal): Promise<number> {
    const [row] = await this.#rows(stream, signal, (letters) => `SELECT count(*) FROM ${letters} WHERE ${condition}`)
    return Number(row?.[0] ?? 0)
  }

  /**
   * The keys of letters, the oldest first.
   * @param below letters of events that could not be loaded count only below this position
   */
  async keys(
    stream: string,
    choice: LetterChoice,
    below: bigint,
    signal: AbortSignal,
  ): Promise<{ keys: LetterKey[]; more: boolean }> {
    const condition = await this.condition(stream, choice)
    const rows = await this.#rows(stream, signal, (letters) => {
      const settled = `(stage <> 'load' OR position < ${below})`
      return (
        `SELECT _event_id, epoch_us(_event_time) FROM ${letters} WHERE ${condition} AND ${settled} ` +
        `ORDER BY failed_at, _event_id LIMIT ${keysMax + 1}`
      )
    })
    const keys = rows.slice(0, keysMax).map(([id, micros]): LetterKey => [textOf(id), textOf(micros)])
    return { keys, more: rows.length > keysMax }
  }

  /** The letters that have these keys and are there, in the order of the keys. */
  async read(stream: string, keys: readonly LetterKey[], signal: AbortSignal): Promise<StoredLetter[]> {
    if (keys.length === 0) return []
    const list = keys.map(([id]) => literal(id)).join(', ')
    const rows = await this.#rows(
      stream,
      signal,
      (letters) => `SELECT ${letterList} FROM ${letters} WHERE _event_id IN (${list})`,
    )
    const found = new Map(rows.map(storedLetter).map((letter) => [letter.key.join('\n'), letter]))
    return keys.flatMap((key) => found.get(key.join('\n')) ?? [])
  }

  /** How many of the first of these letters have at most so many bytes of events together; one at least. */
  async fitting(stream: string, keys: readonly LetterKey[], bytesMax: number, signal: AbortSignal): Promise<number> {
    if (keys.length === 0) return 0
    const list = keys.map(([id]) => literal(id)).join(', ')
    const rows = await this.#rows(stream, signal, (letters) => {
      return `SELECT _event_id, epoch_us(_event_time), strlen(event) FROM ${letters} WHERE _event_id IN (${list})`
    })
    const bytesOf = new Map(rows.map(([id, micros, bytes]) => [`${textOf(id)}\n${textOf(micros)}`, Number(bytes)]))
    let bytes = 0
    const end = keys.findIndex((key) => (bytes += bytesOf.get(key.join('\n')) ?? 0) > bytesMax)
    return end === -1 ? keys.length : Math.max(1, end)
  }

  /** A condition over letters as SQL, never null. @throws FreshetError `invalid_sql`, `forbidden_sql` */
  async condition(stream: string, { where }: LetterChoice, isStable = false): Promise<string> {
    if (where === undefined) return 'true'
    const name = deadLettersOf(stream)
    const columns = [...systemColumns, ...deadLetterStream(stream).columns!].map((column) => column.name)
    await this.#deps.database.with((connection) =>
      readPredicate(connection, where, { stream: name, columns, salt: '', isStable }),
    )
    return `coalesce((\n${where}\n), false)`
  }

  /** The rows of a statement over a stream's letters; none where it has never had one. */
  async #rows(
    stream: string,
    signal: AbortSignal,
    sqlOver: (letters: string) => string,
  ): Promise<readonly (readonly unknown[])[]> {
    const { database, views, hasStream, ready } = this.#deps
    await ready(signal)
    const name = deadLettersOf(stream)
    if (!hasStream(name)) {
      if (hasStream(stream)) return []
      throw new FreshetError('unknown_stream', `There is no stream ${JSON.stringify(stream.slice(0, 100))}.`, {
        hint: 'SELECT name FROM freshet.streams lists the streams.',
      })
    }
    const sql = sqlOver(identifier(name))
    const leave = views.enter()
    try {
      return await database.with((connection) =>
        this.#inTime(connection, signal, () => read(connection, views, name, sql)),
      )
    } finally {
      leave()
    }
  }

  async #inTime<T>(connection: DuckDBConnection, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { timeoutMs } = this.#deps
    const stop = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    let again: NodeJS.Timeout | undefined
    // Again and again: between two statements there is nothing to interrupt.
    const interrupt = (): void => {
      again = setInterval(() => connection.interrupt(), interruptMs)
    }
    stop.addEventListener('abort', interrupt)
    try {
      stop.throwIfAborted()
      return await work()
    } catch (error) {
      if (!stop.aborted) throw error
      throw new FreshetError('query_timeout', `Dead letters could not be read within ${timeoutMs} ms.`, {
        cause: error,
      })
    } finally {
      stop.removeEventListener('abort', interrupt)
      clearInterval(again)
    }
  }
}

/** Letters that one request chooses at most; they are all named in a record. */
const keysMax = 100_000

async function read(
  connection: DuckDBConnection,
  views: Pick<StreamViews, 'openWhole'>,
  name: string,
  sql: string,
): Promise<readonly (readonly unknown[])[]> {
  // On one snapshot, as every query (query/run.ts).
  await connection.run('BEGIN TRANSACTION READ ONLY')
  try {
    await views.openWhole(connection, name)
    return (await connection.runAndReadAll(sql)).getRows()
  } catch (error) {
    throw sqlError(error, sql)
  } finally {
    await connection.run('ROLLBACK').catch(() => undefined)
  }
}
