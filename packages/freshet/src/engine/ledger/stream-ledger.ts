/**
 * The ledger of a stream as it is at this moment (I6): for each source and hour of arrival
 *
 *     accepted = committed + deduplicated + dead-lettered + in flight
 *
 * It puts together what was taken down at different times and places, so that a mistake in one of them shows:
 * - the table's ledger (lake/ledger.ts): all that is committed, and what of it was removed since;
 * - the account (stream-account.ts): what became of the events that are loaded and not committed;
 * - the rows of the hot tables, counted by SQL: in flight;
 * - the events of the log behind those that are loaded, counted from its frames (log-behind.ts): accepted and in flight.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { ledgerTotals, readLedger } from '../../lake/ledger.ts'
import { totalOf, type LedgerCounts, type LedgerRow } from '../../lake/ledger-rows.ts'
import type { Log } from '../../log/log.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { ObjectStore } from '../../storage/object-store.ts'
import type { HotTable } from '../hot-table.ts'
import { LogBehind, type CountedEvents } from './log-behind.ts'
import type { StreamTable } from '../stream-table.ts'

export interface LedgerLine extends LedgerRow {
  /** Events that the log took and no commit has. */
  inFlight: number
}

export interface LedgerTotals extends Omit<LedgerCounts, 'accepted'> {
  /** null while the log behind what is loaded has not been counted yet. */
  accepted: number | null
  /** Likewise. */
  inFlight: number | null
}

/** What a look at the totals may read of the log, a fraction of a second: a longer backlog is counted over several looks. */
const totalsBytesMax = 16 * 1024 * 1024

export class StreamLedger {
  readonly #table: StreamTable
  readonly #store: ObjectStore
  readonly #behind: LogBehind
  readonly #turns = new Mutex()

  /** @param table of a stream that has a log */
  constructor(table: StreamTable, log: Log, store: ObjectStore) {
    this.#table = table
    this.#store = store
    this.#behind = new LogBehind(log, table.stream.name)
  }

  /** All lines, in no order. Reads the ledger's files, and the log behind what is loaded. */
  rows(): Promise<LedgerLine[]> {
    return this.#turns.run(async () => {
      for (;;) {
        await this.#behind.advance(() => this.#table.position)
        const seen = await this.#table.atRest(async (connection) => {
          const behind = await this.#behind.from(this.#table.position)
          const { table, account, hotTables } = this.#table
          return (
            behind && { behind, table, uncommitted: account.uncommitted(), hot: await countHot(connection, hotTables) }
          )
        })
        // The table was loaded anew meanwhile, and its position set back.
        if (seen === undefined) continue
        const committed = seen.table ? (await readLedger(this.#store, seen.table)).rows : []
        return this.#join(committed, seen.uncommitted, seen.hot, seen.behind)
      }
    })
  }

  /** What all lines add up to; null when the table's ledger is damaged. In flight is what the account says, not counted by SQL. */
  totals(): Promise<LedgerTotals | null> {
    return this.#turns.run(async () => {
      for (;;) {
        const whole = await this.#behind.advance(() => this.#table.position, totalsBytesMax)
        const { position } = this.#table
        const loaded = this.loaded()
        const behind = await this.#behind.from(position)
        if (loaded === null) return null
        if (behind === undefined) continue
        const inLog = behind.reduce((sum, { events }) => sum + events, 0)
        return {
          ...loaded,
          accepted: whole ? loaded.accepted + inLog : null,
          inFlight: whole ? loaded.inFlight + inLog : null,
        }
      }
    })
  }

  /** Likewise, of the events that are loaded. */
  loaded(): (LedgerCounts & { inFlight: number }) | null {
    const { table, account } = this.#table
    const committed = committedTotals(table)
    if (committed === null) return null
    const hot = totalOf(account.uncommitted())
    return {
      ...committed,
      accepted: committed.accepted + hot.accepted,
      deduplicated: committed.deduplicated + hot.deduplicated,
      deadLettered: committed.deadLettered + hot.deadLettered,
      inFlight: hot.committed,
    }
  }

  #join(
    committed: readonly LedgerRow[],
    uncommitted: readonly LedgerRow[],
    hot: readonly CountedEvents[],
    behind: readonly CountedEvents[],
  ): LedgerLine[] {
    const lines = new Map<string, LedgerLine>()
    const lineOf = (source: string | null, hour: number): LedgerLine => {
      const key = JSON.stringify([hour, source])
      const line = lines.get(key)
      if (line) return line
      const added = { source, hour, accepted: 0, committed: 0, deduplicated: 0, deadLettered: 0, inFlight: 0 }
      lines.set(key, added)
      return added
    }
    for (const row of [...committed, ...uncommitted]) {
      const line = lineOf(row.source, row.hour)
      line.accepted += row.accepted
      line.deduplicated += row.deduplicated
      line.deadLettered += row.deadLettered
    }
    for (const row of committed) {
      const line = lineOf(row.source, row.hour)
      line.committed += row.committed
      line.removed = (line.removed ?? 0) + (row.removed ?? 0)
    }
    const { account } = this.#table
    for (const { source, hour, events } of hot) lineOf(account.nameOf(source, hour), hour).inFlight += events
    for (const { source, hour, events } of behind) {
      const line = lineOf(account.nameOf(source, hour), hour)
      line.accepted += events
      line.inFlight += events
    }
    return [...lines.values()]
  }
}

function committedTotals(table: StreamTable['table']): LedgerCounts | null {
  if (table === undefined) return totalOf([])
  try {
    return ledgerTotals(table.metadata)
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'corrupt_table') return null
    throw error
  }
}

/** The rows of the hot tables by source and hour of arrival. */
async function countHot(connection: DuckDBConnection, tables: readonly HotTable[]): Promise<CountedEvents[]> {
  if (tables.length === 0) return []
  const rows = tables.map(({ relation }) => `SELECT _source, _received_at FROM ${relation}`).join(' UNION ALL ')
  const result = await connection.runAndReadAll(
    `SELECT _source, epoch_us(_received_at) // 3600000000 AS hour, count(*) FROM (${rows}) GROUP BY ALL`,
  )
  return result
    .getRows()
    .map(([source, hour, events]) => ({ source: source as string | null, hour: Number(hour), events: Number(events) }))
}
