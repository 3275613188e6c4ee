/** What a batch comes to, in as few statements as its order allows. */
import type { ReadRows } from './values.ts'
import type { SqlRow, SqlTable } from './sql-target.ts'

/** Rows that are removed, then rows that are written. */
export interface Step {
  remove: SqlRow[]
  write: SqlRow[]
  /** Whether a key may be there more than once. */
  repeats: boolean
}

/**
 * The steps of a batch. Where the texts of keys tell whether they are equal, the last event of each key is all that counts, and one
 * step is enough: a removal before it is done too, since columns that the last event does not write go back to their defaults. Elsewhere
 * the database compares, and each change from removing to writing or back begins a statement.
 */
export function stepsOf({ rows, removals, exact }: ReadRows, table: SqlTable, ordered: boolean): Step[] {
  const there = rows.filter((row) => row !== undefined)
  if (there.length === 0) return []
  if (table.mode === 'append') return [{ remove: [], write: there, repeats: false }]
  if (ordered || !exact || !table.exactKeys || table.newest !== undefined) return runsOf(there, removals)
  const keys = [...table.columns.keys()].filter((at) => table.columns[at]!.key)
  const step: Step = { remove: [], write: [], repeats: false }
  const last = new Map<string, { row: SqlRow; removed: SqlRow | undefined }>()
  for (const row of there) {
    const key = keys.length === 1 ? row.values[keys[0]!]! : JSON.stringify(keys.map((at) => row.values[at]))
    const removed = removals.has(row.index) ? row : last.get(key)?.removed
    last.set(key, { row, removed })
  }
  for (const { row, removed } of last.values()) {
    if (removed !== undefined) step.remove.push(removed)
    if (removed !== row) step.write.push(row)
  }
  return [step]
}

function runsOf(rows: readonly SqlRow[], removals: ReadonlySet<number>): Step[] {
  const steps: Step[] = []
  for (const row of rows) {
    const removes = removals.has(row.index)
    let step = steps.at(-1)
    if (step === undefined || (removes && step.write.length > 0))
      steps.push((step = { remove: [], write: [], repeats: true }))
    step[removes ? 'remove' : 'write'].push(row)
  }
  return steps
}
