/**
 * Events as rows of a SQL database, exactly once: the rows of a batch and the checkpoint behind it are one transaction of the target.
 *
 * Invariants
 * - The checkpoint's row is locked before a batch is written and holds what this sink saw last; otherwise nothing is written. So of two
 *   workers that deliver to one target only one gets on, and the other is told so until it asks for the checkpoint anew.
 * - A batch whose commit was sent but never answered may be there or not. It is delivered again: the checkpoint then says that it is.
 *
 * Crashes: before the commit the database undoes everything; after it, the checkpoint passes the batch.
 */
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import { EventsRefused, type Sink, type SinkDeps, type SinkEvent } from '../sink.ts'
import { targetFault } from './fault.ts'
import { wantedColumns } from './mapping.ts'
import type { SqlOptions } from './settings.ts'
import type { SqlDialect, SqlSession, SqlTable } from './sql-target.ts'
import { stepsOf } from './steps.ts'
import { readRows, type ReadRows } from './values.ts'

class SqlSink implements Sink {
  readonly #deps: SinkDeps
  readonly #dialect: SqlDialect
  readonly #options: SqlOptions
  readonly #consumer: string
  #open: { session: SqlSession; table: SqlTable } | undefined
  /** The checkpoint as this sink last saw it. */
  #known = ''
  /** That of a commit which was sent and not answered. */
  #unanswered: string | undefined

  constructor(deps: SinkDeps, dialect: SqlDialect) {
    this.#deps = deps
    this.#dialect = dialect
    this.#options = deps.plan.options as unknown as SqlOptions
    this.#consumer = `sink:${deps.plan.name}`
  }

  async checkpoint(): Promise<string> {
    return this.#with(async ({ session }) => {
      this.#known = (await session.checkpoint(this.#consumer)) ?? ''
      this.#unanswered = undefined
      return this.#known
    })
  }

  async deliver(batch: readonly SinkEvent[], upTo: string): Promise<void> {
    await this.#with(async ({ session, table }) => {
      const rows = readRows(batch, {
        columns: table.columns,
        tombstone: this.#options.delete,
        takesNul: this.#dialect.takesNul,
      })
      if (rows.refused.size > 0) throw EventsRefused.each(rows.refused)
      if (!(await this.#begin(session, upTo))) return
      await this.#write(session, table, rows)
      await session.keep(this.#consumer, upTo)
      await this.#commit(session, upTo)
    })
  }

  async close(): Promise<void> {
    const { session } = this.#open ?? {}
    this.#open = undefined
    await session?.close()
  }

  async #commit(session: SqlSession, upTo: string): Promise<void> {
    this.#unanswered = upTo
    try {
      await session.commit()
    } catch (error) {
      // A database that answers has not committed.
      if (this.#dialect.fault(error) !== 'connection') this.#unanswered = undefined
      throw error
    }
    this.#unanswered = undefined
    this.#known = upTo
  }

  /** Takes the checkpoint's row. @returns false when the batch turns out to be delivered */
  async #begin(session: SqlSession, upTo: string): Promise<boolean> {
    const stored = (await session.begin(this.#consumer)) ?? ''
    if (stored === this.#known) return true
    if (stored === this.#unanswered && stored === upTo) {
      await session.rollback()
      this.#unanswered = undefined
      this.#known = stored
      return false
    }
    throw targetFault(
      `Another worker delivers to the target of the sink "${this.#deps.plan.name}" as well: the checkpoint there is not what this one wrote last.`,
      'Two servers need sinks with different names, or tables `freshet_checkpoints` of their own.',
    )
  }

  async #write(session: SqlSession, table: SqlTable, rows: ReadRows): Promise<void> {
    const findMissing = this.#options.missing === 'refuse' && table.mode === 'update'
    for (const { remove, write, repeats } of stepsOf(rows, table, findMissing)) {
      if (remove.length > 0) await session.remove(table, remove, { repeats, findMissing: false })
      if (write.length === 0) continue
      const missing = await session.write(table, write, { repeats, findMissing })
      if (missing.length > 0)
        throw EventsRefused.each(
          new Map(missing.map((index) => [index, 'There is no row of the key of this event to update.'])),
        )
    }
  }

  /** Connects if need be, and sees to it that a transaction ends, and that the reasons of failures are plain. */
  async #with<T>(act: (open: { session: SqlSession; table: SqlTable }) => Promise<T>): Promise<T> {
    try {
      this.#open ??= await this.#connect()
      return await act(this.#open)
    } catch (error) {
      const fault = await this.#undo(error)
      if (error instanceof EventsRefused || error instanceof FreshetError) throw error
      if (fault === 'events') throw new EventsRefused(messageOf(error), undefined, { cause: error })
      throw targetFault(`${this.#deps.plan.kind}: ${messageOf(error)}`, this.#dialect.hint(error), error)
    }
  }

  async #undo(error: unknown): Promise<ReturnType<SqlDialect['fault']>> {
    const fault =
      error instanceof EventsRefused ? 'events' : error instanceof FreshetError ? 'target' : this.#dialect.fault(error)
    const open = this.#open
    if (open === undefined) return fault
    let isGood = open.session.usable
    try {
      if (isGood) await open.session.rollback()
    } catch {
      isGood = false
    }
    // What stands in the way may be mended by changing the table: then it is looked at again.
    if (!isGood || fault === 'target') await this.#drop()
    return fault
  }

  async #drop(): Promise<void> {
    try {
      await this.close()
    } catch {
      // The connection was of no use.
    }
  }

  async #connect(): Promise<{ session: SqlSession; table: SqlTable }> {
    const session = await this.#dialect.connect(this.#options, this.#deps)
    try {
      const wanted = wantedColumns(this.#options, this.#deps.columns)
      return { session, table: await session.prepare(wanted, this.#consumer) }
    } catch (error) {
      await session.close().catch(() => undefined)
      throw error
    }
  }
}

/** Opens the target: connects, makes or checks its table, and reads how far delivery stands. */
export async function openSqlSink(deps: SinkDeps, dialect: SqlDialect): Promise<Sink> {
  const sink = new SqlSink(deps, dialect)
  await sink.checkpoint()
  return sink
}
