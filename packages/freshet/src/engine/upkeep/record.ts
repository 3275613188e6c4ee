/**
 * The rows of `freshet.maintenance`: for each table and job what was decided last (planned, running, skipped), which lives as long as the process,
 * and what was done or failed, the newest of which are kept on disk (history.ts).
 */
import type { FileSystem } from '../../runtime/file-system.ts'
import { messageOf } from '../../runtime/errors.ts'
import type { Logger } from '../../runtime/logging.ts'
import { historyRowsMax, readHistory, writeHistory } from './history.ts'
import type { MaintenanceRow, UpkeepJob } from './maintenance-row.ts'

interface RecordDeps {
  fileSystem: FileSystem
  /** Folder of the history. */
  dir: string
  logger: Logger
}

/** A table may have as many partitions as it likes; so many decisions on one are shown. */
const decisionsMax = 500

export class UpkeepRecord {
  readonly #deps: RecordDeps
  readonly #decisions = new Map<string, MaintenanceRow[]>()
  readonly #done: MaintenanceRow[]
  /** See trusted-clock.ts. */
  readonly seenMs: number | undefined
  #unsaved = false

  static async open(deps: RecordDeps): Promise<UpkeepRecord> {
    const { rows, seenMs } = await readHistory(deps.fileSystem, deps.dir)
    return new UpkeepRecord(deps, rows, seenMs)
  }

  private constructor(deps: RecordDeps, rows: MaintenanceRow[], seenMs: number | undefined) {
    this.#deps = deps
    this.#done = rows
    this.seenMs = seenMs
  }

  /** What was decided for a job of a table, in place of what was decided before. */
  decide(table: string, job: UpkeepJob, rows: readonly MaintenanceRow[]): void {
    const shown = rows.slice(0, decisionsMax)
    const others = rows.length - shown.length
    if (others > 0) {
      const last = shown.at(-1)!
      shown[decisionsMax - 1] = { ...last, partition: null, reason: `${others + 1} further partitions are not shown` }
    }
    this.#decisions.set(keyOf(table, job), shown)
  }

  /** A planned row has begun, or has gone: it is no decision any more. */
  replace(row: MaintenanceRow, by: MaintenanceRow | undefined): void {
    const rows = this.#decisions.get(keyOf(row.table, row.job))
    const index = rows?.indexOf(row) ?? -1
    if (index !== -1) rows!.splice(index, 1, ...(by === undefined ? [] : [by]))
  }

  /** Something came to an end. */
  add(row: MaintenanceRow): void {
    this.#done.push(row)
    if (this.#done.length > historyRowsMax) this.#done.splice(0, this.#done.length - historyRowsMax)
    this.#unsaved = true
  }

  /** Those that ended first, oldest first, then what was decided. */
  rows(nextAt: (table: string, job: UpkeepJob) => string | null): MaintenanceRow[] {
    const decided = [...this.#decisions.values()].flat()
    return [...this.#done, ...decided.map((row) => ({ ...row, nextAt: nextAt(row.table, row.job) }))]
  }

  /** Puts the history on disk. A failure costs history only. */
  async save(seenMs: number | undefined): Promise<void> {
    if (!this.#unsaved) return
    this.#unsaved = false
    const { fileSystem, dir, logger } = this.#deps
    await writeHistory(fileSystem, dir, { rows: this.#done, seenMs }).catch((error: unknown) => {
      this.#unsaved = true
      logger.warn({ reason: messageOf(error) }, 'the history of upkeep could not be written')
    })
  }

  /** What was seen of the clock is to be saved, though nothing was done. */
  touch(): void {
    this.#unsaved = true
  }
}

function keyOf(table: string, job: UpkeepJob): string {
  return `${table} ${job}`
}
