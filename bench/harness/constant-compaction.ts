/** Asks for compaction of a table again as soon as it is done, as long as this is wanted. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { SqlClient, UpkeepRow } from './sql-client.ts'

const lookEveryMs = 20

/** A stretch of time, milliseconds since 1970. */
interface Span {
  fromMs: number
  toMs: number
}

export class ConstantCompaction {
  readonly #sql: SqlClient
  readonly #table: string
  readonly #rows: UpkeepRow[] = []
  #wanted = true
  readonly #work: Promise<void>

  constructor(sql: SqlClient, table: string) {
    this.#sql = sql
    this.#table = table
    this.#work = this.#run()
    // Told by `stop`.
    this.#work.catch(() => {})
  }

  /** Asks no more, and waits for what goes on. @returns what was compacted @throws Error when something of it failed */
  async stop(): Promise<readonly UpkeepRow[]> {
    this.#wanted = false
    await this.#work
    const failed = this.#rows.find(({ state }) => state === 'failed')
    if (failed !== undefined) throw new Error(`compaction failed: ${failed.reason}`)
    return this.#rows.filter(({ state }) => state === 'done')
  }

  async #run(): Promise<void> {
    while (this.#wanted) {
      let run = await this.#sql.startCompaction(this.#table)
      while (run.state !== 'done') {
        await sleep(lookEveryMs)
        run = await this.#sql.upkeepRun(run.run)
      }
      this.#rows.push(...run.rows)
    }
  }
}

/** The share of `span` in which something was compacted. Only one thing is at a time. */
export function compactingShare(rows: readonly UpkeepRow[], { fromMs, toMs }: Span): number {
  let ms = 0
  for (const { startedAt, finishedAt } of rows) {
    if (startedAt === null || finishedAt === null) continue
    ms += Math.max(0, Math.min(toMs, Date.parse(finishedAt)) - Math.max(fromMs, Date.parse(startedAt)))
  }
  return ms / (toMs - fromMs)
}
