/**
 * The erasures that were asked for: taken down durably, done one after another in the order they came, resumed after a restart, and shown.
 */
import type { Column, StreamPlan } from '../../config/plan.ts'
import { FreshetError, messageOf, systemCodeOf } from '../../runtime/errors.ts'
import type { HotTable } from '../hot-table.ts'
import { mergeColumns } from '../columns.ts'
import { JobLoop } from '../job-loop.ts'
import { sqlError } from '../query/sql-error.ts'
import { selectHot } from '../stream-view.ts'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { ScanFile, ScanPlan } from '../../lake/scan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { erase, wait, type EraseDeps, type ErasedStream } from './erase.ts'
import { readPredicate, type Predicate } from './predicate.ts'
import {
  answerOf,
  emptyReport,
  openErasureRecords,
  type ErasureAnswer,
  type ErasureRecord,
  type ErasureRecords,
} from './record.ts'
import { columnsIn, countMatches, selectRows } from './rows.ts'
import type { ErasedTable } from './rewrite.ts'
import { mayBeMeant } from './wanted.ts'

/** What requests for erasures need of a stream's table beyond what is needed to work on it. */
interface ErasableTable extends ErasedTable {
  readonly hotTables: readonly HotTable[]
  atRest<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T>
}

export interface ErasableStream extends ErasedStream {
  kept: ErasableTable
}

export interface ErasuresDeps extends Omit<EraseDeps, 'save'> {
  /** Folder of the records. */
  dir: string
  streamOf: (name: string) => ErasableStream | undefined
}

export interface ErasureRequest {
  where: string
  /** Whether it may mean every event. */
  all: boolean
  /** Events that arrived until then are meant; ms since 1970. */
  untilMs: number
  /** Log position behind all of them, at which a segment begins. */
  position: bigint
  requestedBy: string | null
}

export interface ErasureCount {
  stream: string
  dryRun: true
  /** With a hash in the place of each value. */
  where: string
  /** Rows that are in queries and fulfil the condition, and all rows. */
  matches: number
  rows: number
  /** Data files that would be rewritten or removed, of all. */
  files: number
  filesAll: number
}

const unfinishedMax = 100

export class Erasures {
  readonly #deps: ErasuresDeps
  readonly #records: ErasureRecords
  readonly #loop: JobLoop<ErasureRecord>

  static async open(deps: ErasuresDeps): Promise<Erasures> {
    return new Erasures(deps, await openErasureRecords(deps))
  }

  private constructor(deps: ErasuresDeps, records: ErasureRecords) {
    this.#deps = deps
    this.#records = records
    const save = (record: ErasureRecord): Promise<void> => records.save(record)
    this.#loop = new JobLoop({
      records,
      work: (record, signal) => this.#work(record, signal),
      failed: async (record, error) => {
        await wait({ ...deps, save }, record, error).catch(() => undefined)
        return false
      },
      timers: deps.timers,
    })
  }

  /** Begins with what is not done. */
  start(): void {
    this.#loop.start()
  }

  /** Leaves what is under way where it is. */
  stop(): Promise<void> {
    return this.#loop.stop()
  }

  list(): ErasureAnswer[] {
    return this.#records.list().map(answerOf)
  }

  /** @throws FreshetError `unknown_erasure` */
  find(id: string): ErasureAnswer {
    const record = this.#records.get(id)
    if (record !== undefined) return answerOf(record)
    throw new FreshetError('unknown_erasure', `There is no erasure ${JSON.stringify(id.slice(0, 100))}.`, {
      hint: '`freshet erase --list` shows those there are.',
    })
  }

  /**
   * Checks what an erasure would mean, before the log is told to begin a new segment for it.
   * @throws FreshetError `unknown_stream`, `invalid_sql`, `forbidden_sql`, `erases_everything`, `too_many_erasures`
   */
  async admit(name: string, request: Pick<ErasureRequest, 'where' | 'all'>): Promise<Predicate> {
    const open = this.#records.list().filter(({ state }) => state !== 'done')
    if (open.length >= unfinishedMax) {
      throw new FreshetError('too_many_erasures', `${open.length} erasures are not done yet.`, {
        hint: 'Ask for this one when some are, or mean several keys by one condition: customer_id IN (...).',
      })
    }
    const stream = this.#stream(name)
    const predicate = await this.#read(stream, name, request.where)
    if (!request.all && (await this.#meansAll(stream, request.where))) {
      throw new FreshetError('erases_everything', `Every event of ${name} fulfils this condition.`, {
        hint: 'If that is meant, say so: "all": true, or --all.',
      })
    }
    return predicate
  }

  /** Takes an erasure down; it is durable when this resolves, and goes on by itself. @throws FreshetError as `admit` does */
  async request(name: string, request: ErasureRequest): Promise<ErasureAnswer> {
    const { where, literals, redacted } = await this.admit(name, request)
    const { clock, random, logger } = this.#deps
    const record: ErasureRecord = {
      format: 1,
      id: random.hex(12),
      stream: name,
      state: 'queued',
      requestedAt: new Date(clock.nowMs()).toISOString(),
      requestedBy: request.requestedBy,
      untilMs: request.untilMs,
      position: String(request.position),
      schemaId: this.#stream(name).kept.table?.metadata['current-schema-id'],
      where,
      literals,
      redacted,
      finishedAt: null,
      waitingFor: null,
      report: emptyReport(),
    }
    await this.#records.save(record).catch((error: unknown) => {
      throw notTakenDown(error)
    })
    logger.info(
      { audit: 'erasure', erasure: record.id, stream: name, where: redacted, by: request.requestedBy },
      'erasure requested',
    )
    this.#loop.wake()
    return answerOf(record)
  }

  /** How many events an erasure would mean now. Nothing changes. @throws FreshetError `unknown_stream`, `invalid_sql`, `forbidden_sql` */
  async count(name: string, where: string, untilMs: number): Promise<ErasureCount> {
    const { database, lakeDir } = this.#deps
    const stream = this.#stream(name)
    const { redacted } = await this.#read(stream, name, where)
    const condition = conditionOf(where)
    const { hot, hotRows, table, files, scanned } = await this.#atRest(stream, async (connection, relations) => {
      const counts = relations.map(
        (rows) => `SELECT count(*) FILTER (WHERE ${condition}) AS m, count(*) AS c FROM (${rows})`,
      )
      const result = await connection.runAndReadAll(`SELECT sum(m), sum(c) FROM (${counts.join(' UNION ALL ')})`)
      const [matched, all] = result.getRows()[0]!.map(Number) as [number, number]
      return { hot: matched, hotRows: all }
    })
    const counted = new Map<string, number>()
    if (table !== undefined && scanned !== undefined) {
      const choose = mayBeMeant(this.#deps, { stream: name, where, columns: columnsIn(table), untilMs })
      const request = { table, files: await choose(table, scanned), condition, lakeDir }
      const found = await database.with((connection) => countMatches(connection, request))
      for (const [key, count] of found) counted.set(key, count)
    }
    const committed = [...counted.values()].reduce((sum, count) => sum + count, 0)
    const rows = files.reduce((sum, { recordCount }) => sum + recordCount, hotRows)
    const matches = hot + committed
    return { stream: name, dryRun: true, where: redacted, matches, rows, files: counted.size, filesAll: files.length }
  }

  #stream(name: string): ErasableStream {
    const stream = this.#deps.streamOf(name)
    if (stream !== undefined) return stream
    throw new FreshetError('unknown_stream', `There is no stream ${JSON.stringify(name.slice(0, 100))}.`, {
      hint: 'SELECT name FROM freshet.streams lists the streams.',
    })
  }

  /** The condition, bound to the stream's columns. */
  async #read(stream: ErasableStream, name: string, where: string): Promise<Predicate> {
    const columns = columnsShown(stream.kept)
    const context = {
      stream: name,
      columns: columns.map((column) => column.name),
      former: formerNames(stream.kept.stream),
      salt: this.#deps.random.hex(16),
    }
    const predicate = await this.#deps.database.with((connection) => readPredicate(connection, where, context))
    await this.#atRest(stream, async (connection, relations) => {
      const sql = `SELECT 1 FROM (${relations[0]!}) WHERE ${conditionOf(where)} LIMIT 0`
      await connection.run(sql).catch((error: unknown) => {
        const { code, message } = sqlError(error, sql)
        throw new FreshetError(code, message, { hint: 'Compare columns with values of their own types.' })
      })
    })
    return predicate
  }

  /** Whether there are events, and none that the condition leaves alone. */
  async #meansAll(stream: ErasableStream, where: string): Promise<boolean> {
    const { database, lakeDir } = this.#deps
    const left = `NOT ${conditionOf(where)}`
    const { some, table, files, rows } = await this.#atRest(stream, async (connection, relations) => {
      const found = await connection.runAndReadAll(
        `SELECT 1 FROM (${relations.map((hot) => `SELECT * FROM (${hot}) WHERE ${left}`).join(' UNION ALL ')}) LIMIT 1`,
      )
      const { hotTables } = stream.kept
      return { some: found.currentRowCount > 0, rows: hotTables.reduce((sum, hot) => sum + hot.rows, 0) }
    })
    if (some || rows + files.length === 0 || table === undefined) return !some && rows > 0
    return database.with(async (connection) => {
      for (const file of files) {
        const rowsOfFile = await selectRows(connection, table, { files: [file], lakeDir })
        const select = `SELECT 1 FROM (${rowsOfFile}) WHERE ${left} LIMIT 1`
        if ((await connection.runAndReadAll(select)).currentRowCount > 0) return false
      }
      return true
    })
  }

  /** Runs `work` on the stream's hot tables, in the columns that it shows, and gives the files that go with them. */
  async #atRest<T extends object>(
    { kept }: ErasableStream,
    work: (connection: DuckDBConnection, relations: readonly string[]) => Promise<T | void>,
  ): Promise<T & { table: LoadedTable | undefined; files: readonly ScanFile[]; scanned: ScanPlan | undefined }> {
    return kept.atRest(async (connection) => {
      const columns = columnsShown(kept)
      const relations = kept.hotTables.map((hot) => selectHot(columns, hot))
      const result = (await work(connection, relations)) as T
      return { ...result, table: kept.table, files: kept.files, scanned: kept.scanned }
    })
  }

  async #work(record: ErasureRecord, signal: AbortSignal): Promise<void> {
    const stream = this.#deps.streamOf(record.stream)
    if (stream === undefined) throw new FreshetError('unknown_stream', `The stream ${record.stream} cannot be opened.`)
    await erase({ ...this.#deps, save: (one) => this.#records.save(one) }, stream, record, signal)
  }
}

function notTakenDown(error: unknown): FreshetError {
  const isFull = ['ENOSPC', 'EDQUOT'].includes(systemCodeOf(error) ?? '')
  const message = `The erasure could not be written down, and does not begin: ${messageOf(error)}.`
  return new FreshetError(isFull ? 'disk_full' : 'internal', message, {
    hint: isFull ? 'Free some space on the disk of the data folder, and ask again.' : 'Ask again.',
    cause: error,
  })
}

/** Never null, so that its opposite is what stays. */
function conditionOf(where: string): string {
  return `coalesce((\n${where}\n), false)`
}

/** The columns that queries see, of files and hot rows. */
function columnsShown({ table, hotTables }: Pick<ErasableTable, 'table' | 'hotTables'>): Column[] {
  return hotTables.reduce((columns, hot) => mergeColumns(columns, hot.columns), columnsIn(table))
}

/** The stream's columns by the names that they had before. */
function formerNames({ renames = [] }: StreamPlan): Map<string, string> {
  const top = renames.filter(({ path }) => path.length === 1)
  return new Map(top.flatMap(({ path, former }) => former.map((name) => [name, path[0]!] as const)))
}
