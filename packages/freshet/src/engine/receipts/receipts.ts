/**
 * Says where the batch is now that a receipt names. Nothing is kept for it: the log tells the batch's events while it holds them, the
 * table's positions how far they have come, and each event is looked for exactly, by its id. A row with the id and the batch's arrival
 * time is the batch's own event, unless an earlier batch of the same arrival time brought it; one with another arrival time means
 * that the event was there before.
 *
 * Once the log has let go of the batch, only its numbers are left. What follows from them for certain is told, the rest is null.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { StreamPlan } from '../../config/plan.ts'
import { deadLettersOf } from '../../events/dead-letter.ts'
import { readLedger } from '../../lake/ledger.ts'
import { hourMs } from '../../lake/ledger-rows.ts'
import { currentSnapshot, parsePositions, positionsKey, snapshotById, type TableMetadata } from '../../lake/metadata.ts'
import { removedLetters } from '../../lake/removed-letters.ts'
import type { Log, Position } from '../../log/log.ts'
import { parseReceipt, unknownReceipt, type Receipt } from '../../log/receipt.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { ObjectStore } from '../../storage/object-store.ts'
import type { Database } from '../duckdb.ts'
import { isOutOfMemory } from '../duckdb-error.ts'
import { eachLoggedLetter } from '../dead-letters.ts'
import type { Scope } from '../dedup/scan.ts'
import { idScope } from '../id-source.ts'
import { readReceiptBatch, readSameArrival, type BatchEvent } from './receipt-batch.ts'
import { ReceiptRows, type RowsOptions, type TableState } from './receipt-rows.ts'
import { traceByNumbers, traceEvents, untraced, type Traced } from './receipt-trace.ts'
import type { StreamViews } from '../query/stream-views.ts'
import type { StreamTable } from '../stream-table.ts'

export interface ReceiptsOptions {
  database: Database
  views: StreamViews
  log: Log
  tmpDir: string
  /** Folder of the tables, for absolute paths. */
  lakeDir: string
  /** The longest that one receipt may take once it has its turn. */
  timeoutMs: number
  /** Where the tables' ledgers are. */
  store: ObjectStore
  /** A stream's table, where the engine follows it. */
  tableOf: (stream: string) => StreamTable | undefined
}

interface ReceiptAnswer extends Traced {
  receipt: string
  stream: string
  partition: number
  from: string
  to: string
  count: number
  receivedAt: string
  state: 'logged' | 'loaded' | 'committed'
  inLog: boolean
  /** The first snapshot that holds the batch; null before, and when it has expired. */
  snapshot: { id: string; committedAt: string } | null
  engine: { available: true }
}

/** One look-up: its connection, and what ends it before its time. */
interface LookUp {
  connection: DuckDBConnection
  signal: AbortSignal
}

/** No more than this many wait for their turn. */
const waitingMax = 32
const attemptsMax = 5
const interruptMs = 20

export class Receipts {
  readonly #options: ReceiptsOptions
  /** One at a time: that bounds the memory they take. */
  readonly #turns = new Mutex()
  #waiting = 0

  constructor(options: ReceiptsOptions) {
    this.#options = options
  }

  /**
   * Where the batch is now.
   * @throws FreshetError `unknown_receipt`, `too_many_queries`, `query_timeout`, `query_memory`
   */
  async find(text: string, signal: AbortSignal): Promise<ReceiptAnswer> {
    const receipt = parseReceipt(text)
    if (this.#waiting >= waitingMax) {
      throw new FreshetError('too_many_queries', `${waitingMax} receipts are being looked up.`, {
        hint: 'Try again in a moment.',
      })
    }
    this.#waiting++
    try {
      return await this.#turns.run(() => this.#inTime(signal, (lookUp) => this.#resolve(receipt, lookUp)))
    } finally {
      this.#waiting--
    }
  }

  /** Runs `work`, which is interrupted when its time is over or the client has gone. */
  #inTime<Result>(signal: AbortSignal, work: (lookUp: LookUp) => Promise<Result>): Promise<Result> {
    const { database, timeoutMs, views } = this.#options
    const leave = views.enter()
    const looking = database.with(async (connection) => {
      const stop = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
      let again: NodeJS.Timeout | undefined
      // Again and again: between two queries there is nothing to interrupt.
      const interrupt = (): void => {
        again = setInterval(() => connection.interrupt(), interruptMs)
      }
      stop.addEventListener('abort', interrupt)
      try {
        stop.throwIfAborted()
        return await work({ connection, signal: stop })
      } catch (error) {
        if (stop.aborted) {
          throw new FreshetError('query_timeout', `The receipt could not be looked up within ${timeoutMs} ms.`, {
            cause: error,
          })
        }
        if (!isOutOfMemory(error)) throw error
        throw new FreshetError('query_memory', 'There was not enough memory to look the receipt up.', { cause: error })
      } finally {
        stop.removeEventListener('abort', interrupt)
        clearInterval(again)
      }
    })
    return looking.finally(leave)
  }

  async #resolve(receipt: Receipt, lookUp: LookUp): Promise<ReceiptAnswer> {
    const { log, tableOf } = this.#options
    const { text, stream, partition, to } = receipt
    const end = (await log.ends(stream)).get(partition)
    if (end === undefined || to > end) throw unknownReceipt(text, 'the log ends before it')
    const table = tableOf(stream)
    const scope = table === undefined ? 'table' : scopeOf(table.stream)
    const events = await readReceiptBatch(log, receipt, scope)
    for (let attempt = 1; ; attempt++) {
      const state = table && stateOf(table)
      const reached = reachedBy(receipt, state)
      if (events === undefined && reached !== 'committed') {
        throw unknownReceipt(text, 'the log no longer reaches back to it, and the table does not hold it')
      }
      try {
        const traced =
          reached === 'logged'
            ? untraced(receipt, state !== undefined)
            : await this.#trace(receipt, table!.stream, state!, events, lookUp)
        // A table that was loaded anew meanwhile may have gone back behind the batch.
        if (reachedBy(receipt, table && stateOf(table)) === 'logged' && reached !== 'logged') throw new StaleState()
        return {
          ...describe(receipt),
          state: reached,
          inLog: events !== undefined,
          snapshot: reached === 'committed' ? firstSnapshot(state!.table!.metadata, receipt) : null,
          ...traced,
          engine: { available: true },
        }
      } catch (error) {
        // Hot tables are dropped once they are committed: looked up again, their rows are in files.
        if (attempt === attemptsMax || !isStale(error)) throw error
      }
    }
  }

  async #trace(
    receipt: Receipt,
    stream: StreamPlan,
    state: TableState,
    events: readonly BatchEvent[] | undefined,
    { connection, signal }: LookUp,
  ): Promise<Traced> {
    const { lakeDir, tmpDir, log, views } = this.#options
    const scope = scopeOf(stream)
    const letters = await this.#loggedLetters(receipt.stream)
    const rows = new ReceiptRows({ connection, state, scope, lakeDir, tmpDir, letters, signal })
    // Ids that the gateway gave are in no other batch.
    const before = stream.id === null || events === undefined ? [] : await readSameArrival(log, receipt, scope)
    // On one snapshot, as every query (query/run.ts).
    await connection.run('BEGIN TRANSACTION READ ONLY')
    try {
      if (letters.view !== undefined) await views.openWhole(connection, letters.view)
      const countRemoved = (): Promise<number | undefined> => this.#countRemoved(receipt, state)
      if (events === undefined) return await traceByNumbers(receipt, stream, rows, countRemoved)
      return await traceEvents(receipt, stream, { events, before }, rows, countRemoved)
    } finally {
      await connection.run('ROLLBACK').catch(() => undefined)
    }
  }

  /** Letters of the stream that are not in queries yet. Those that come to be so meanwhile are in both, and counted once. */
  async #loggedLetters(stream: string): Promise<RowsOptions['letters']> {
    const { log, tableOf } = this.#options
    const name = deadLettersOf(stream)
    const table = tableOf(name)
    const logged: Position[] = []
    const read = (): Promise<void> =>
      eachLoggedLetter(log, name, table?.position ?? 0n, ({ stage, position }) => {
        if (stage === 'load' && position !== undefined) logged.push(BigInt(position))
      })
    // What is trimmed meanwhile is committed, and in queries.
    await read().catch((error: unknown) => {
      if (!(error instanceof FreshetError && error.code === 'log_trimmed')) throw error
      return read()
    })
    return { view: table && name, logged }
  }

  /** Rows, and dead letters, that were taken out of those that arrived in the batch's hour; undefined when that cannot be read. */
  async #countRemoved({ stream, receivedAtMs }: Receipt, { table }: TableState): Promise<number | undefined> {
    const { store, tableOf } = this.#options
    const hour = Math.floor(receivedAtMs / hourMs)
    const letters = tableOf(deadLettersOf(stream))?.table
    try {
      const rows = table === undefined ? [] : (await readLedger(store, table)).rows
      const own = rows.filter((row) => row.hour === hour).map(({ removed = 0 }) => removed)
      const dead = letters === undefined ? [] : removedLetters(letters.metadata)
      const ownDead = dead.filter((row) => row.hour === hour).map(({ count }) => count)
      return Math.max(
        0,
        [...own, ...ownDead].reduce((sum, count) => sum + count, 0),
      )
    } catch (error) {
      if (error instanceof FreshetError && error.code === 'corrupt_table') return undefined
      throw error
    }
  }
}

/** The table has changed while it was looked at. */
class StaleState extends Error {}

function isStale(error: unknown): boolean {
  return error instanceof StaleState || (error instanceof Error && error.message.startsWith('Catalog Error'))
}

function scopeOf(stream: StreamPlan): Scope {
  return stream.id === null ? 'table' : idScope(stream)
}

function stateOf({ position, checkpoint, table, files, hotTables }: StreamTable): TableState {
  // The list changes as tables come and go.
  return { position, checkpoint, table, files, hot: [...hotTables] }
}

function reachedBy({ to }: Receipt, state: TableState | undefined): ReceiptAnswer['state'] {
  if (state === undefined || state.position < to) return 'logged'
  return state.checkpoint < to ? 'loaded' : 'committed'
}

function describe(
  receipt: Receipt,
): Pick<ReceiptAnswer, 'receipt' | 'stream' | 'partition' | 'from' | 'to' | 'count' | 'receivedAt'> {
  const { text, stream, partition, from, to, count, receivedAtMs } = receipt
  const receivedAt = new Date(receivedAtMs).toISOString()
  return { receipt: text, stream, partition, from: String(from), to: String(to), count, receivedAt }
}

/** The first snapshot whose positions cover the batch; null when it has expired, or cannot be told. */
function firstSnapshot(metadata: TableMetadata, { partition, to }: Receipt): ReceiptAnswer['snapshot'] {
  let found: ReceiptAnswer['snapshot'] = null
  for (let snapshot = currentSnapshot(metadata); snapshot !== undefined;) {
    const text = snapshot.summary[positionsKey]
    const reached: Position | undefined = text === undefined ? undefined : (parsePositions(text).get(partition) ?? 0n)
    if (reached !== undefined && reached < to) return found
    // One of another engine, in between, holds what the one before it does.
    if (reached !== undefined) {
      const committedAt = new Date(snapshot['timestamp-ms']).toISOString()
      found = { id: String(snapshot['snapshot-id']), committedAt }
    }
    const parent = snapshot['parent-snapshot-id']
    if (parent === undefined) return found
    snapshot = snapshotById(metadata, parent)
  }
  // The one before the oldest that is left may have been the first.
  return null
}
