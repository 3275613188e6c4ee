/** The rows of a ledger (I6): what became of the events of one source that arrived within one hour. */

export interface LedgerCounts {
  /** Events that the log took. */
  accepted: number
  /** ... that are rows of the table. */
  committed: number
  /** ... that repeat another one. */
  deduplicated: number
  /** ... that could not be loaded, and are dead letters. */
  deadLettered: number
  /**
   * Of the committed ones, those that are rows of the table no more: erased, past their retention, or rolled back. Left out for none.
   * Below 0 where a roll-back brought rows back that are counted in another row.
   */
  removed?: number
}

export interface LedgerRow extends LedgerCounts {
  /** null for events without a source. */
  source: string | null
  /** Hour of arrival: whole hours since 1970. */
  hour: number
}

/** A row as it is stored: source, hour, accepted, committed, deduplicated, dead-lettered, and removed where there are some. */
export type StoredRow = [string | null, number, number, number, number, number, number?]

export const hourMs = 3_600_000

/** Adds up ledger rows: one remains for each source and hour. */
export class LedgerSum {
  readonly #rows = new Map<string, LedgerRow>()

  constructor(rows: Iterable<LedgerRow> = []) {
    this.addAll(rows)
  }

  get size(): number {
    return this.#rows.size
  }

  add(row: LedgerRow): void {
    const key = keyOf(row)
    const sum = this.#rows.get(key)
    if (sum === undefined) this.#rows.set(key, { ...row })
    else addCounts(sum, row)
  }

  addAll(rows: Iterable<LedgerRow>): void {
    for (const row of rows) this.add(row)
  }

  /** The rows in order of hour and source. */
  rows(): LedgerRow[] {
    return [...this.#rows.values()].toSorted(
      (a, b) => a.hour - b.hour || ((a.source ?? '') < (b.source ?? '') ? -1 : a.source === b.source ? 0 : 1),
    )
  }

  totals(): LedgerCounts {
    return totalOf(this.#rows.values())
  }
}

export function totalOf(rows: Iterable<LedgerCounts>): LedgerCounts {
  const total: LedgerCounts = { accepted: 0, committed: 0, deduplicated: 0, deadLettered: 0 }
  for (const row of rows) addCounts(total, row)
  return total
}

export function storedRow(row: LedgerRow): StoredRow {
  const { source, hour, accepted, committed, deduplicated, deadLettered, removed } = row
  const counts: StoredRow = [source, hour, accepted, committed, deduplicated, deadLettered]
  if (removed !== undefined) counts.push(removed)
  return counts
}

/** @throws Error when it is no row, or one that does not balance */
export function readStoredRow(stored: unknown): LedgerRow {
  const [source, hour, accepted, committed, deduplicated, deadLettered, removed] = stored as StoredRow
  const numbers = [hour, accepted, committed, deduplicated, deadLettered, removed ?? 0]
  if ((source !== null && typeof source !== 'string') || !numbers.every(Number.isSafeInteger)) {
    throw new Error(`${JSON.stringify(stored)} is no row of a ledger`)
  }
  if (accepted !== committed + deduplicated + deadLettered) {
    throw new Error(`the row ${JSON.stringify(stored)} does not balance`)
  }
  const row = { source, hour, accepted, committed, deduplicated, deadLettered }
  return removed === undefined ? row : { ...row, removed }
}

/** A row that says only how many rows of the table are gone. */
export function removedRow(source: string | null, hour: number, removed: number): LedgerRow {
  return { source, hour, accepted: 0, committed: 0, deduplicated: 0, deadLettered: 0, removed }
}

/** The rows that the table has of those that were committed. */
export function presentRows({ committed, removed = 0 }: LedgerCounts): number {
  return committed - removed
}

function keyOf({ source, hour }: LedgerRow): string {
  return source === null ? String(hour) : `${hour} ${source}`
}

function addCounts(sum: LedgerCounts, more: LedgerCounts): void {
  sum.accepted += more.accepted
  sum.committed += more.committed
  sum.deduplicated += more.deduplicated
  sum.deadLettered += more.deadLettered
  const removed = (sum.removed ?? 0) + (more.removed ?? 0)
  if (removed === 0) delete sum.removed
  else sum.removed = removed
}
