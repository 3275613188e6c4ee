/**
 * Recomputes a table's ledger (I6) from files and compares: `committed` from the data files, `deadLettered` from the stream's dead
 * letters, and `accepted` from the log where it still holds all that the ledger counts.
 *
 * Rows that were erased, expired or rolled back are committed and removed: what is left of them is what the files must have.
 *
 * Rows from before a ledger began, and rows that another engine added or deleted, are in no ledger row. What they explain exactly is
 * said and is no problem.
 */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { LoadedTable } from '../../lake/catalog.ts'
import type { TableLedger } from '../../lake/ledger.ts'
import { hourMs, presentRows, totalOf, type LedgerRow } from '../../lake/ledger-rows.ts'
import { formatPositions, positionsKey } from '../../lake/metadata.ts'
import type { Finding } from '../../runtime/finding.ts'
import { arrivalHour } from '../ledger/arrival-hour.ts'
import { otherSources } from '../ledger/stream-account.ts'
import { literal } from '../sql-text.ts'

/** How many events of a source arrived in an hour (whole hours since 1970). */
export interface SourceHour {
  source: string | null
  hour: number
  count: number
}

const countNames = ['accepted', 'committed', 'deduplicated', 'deadLettered', 'removed'] as const
const shownMax = 3
const lost =
  'Restore the table from a copy, or find out what changed its files; `freshet.snapshots` shows who wrote when.'

/** Rows of data files by source and hour of arrival, of those that fulfil a condition. */
export async function countBySourceHour(
  connection: DuckDBConnection,
  lakeDir: string,
  keys: readonly string[],
  condition = 'true',
): Promise<SourceHour[]> {
  if (keys.length === 0) return []
  const files = keys.map((key) => literal(join(lakeDir, key))).join(', ')
  const result = await connection.runAndReadAll(
    `SELECT _source, ${arrivalHour}, count(*) FROM read_parquet([${files}]) WHERE ${condition} GROUP BY ALL`,
  )
  return result.getRows().map(([source, at, count]) => ({
    source: source === null ? null : String(source),
    hour: Number(at),
    count: Number(count),
  }))
}

/** An event that could not be loaded: where it starts in the log of its stream, and as what it is counted. */
export interface LetterPlace {
  position: number
  source: string | null
  hour: number
}

/** The letters of events between two positions of the log that could not be loaded, in data files and in the log behind them. */
export async function countLetters(
  connection: DuckDBConnection,
  request: { files: readonly string[]; logged: readonly LetterPlace[]; lakeDir: string; from: bigint; to: bigint },
): Promise<SourceHour[]> {
  const { files, logged, lakeDir, from, to } = request
  const loaded = `stage = 'load' AND position >= ${from} AND position < ${to}`
  const behind = new Map<number, LetterPlace>()
  for (const one of logged) if (one.position >= from && one.position < to) behind.set(one.position, one)
  const counts = await countBySourceHour(connection, lakeDir, files, loaded)
  if (behind.size > 0 && files.length > 0) {
    const paths = files.map((key) => literal(join(lakeDir, key))).join(', ')
    const known = await connection.runAndReadAll(`SELECT position FROM read_parquet([${paths}]) WHERE ${loaded}`)
    for (const [position] of known.getRows()) behind.delete(Number(position))
  }
  return [...counts, ...[...behind.values()].map(({ source, hour }) => ({ source, hour, count: 1 }))]
}

export interface LedgerComparison {
  table: LoadedTable
  ledger: TableLedger
  committed: readonly SourceHour[]
  /** undefined when the dead letters could not be read. */
  deadLettered: readonly SourceHour[] | undefined
}

export function compareLedger({ table, ledger, committed, deadLettered }: LedgerComparison): Finding[] {
  const findings: Finding[] = []
  const totals = totalOf(ledger.rows)
  for (const key of countNames) {
    const [said, sum] = [ledger.totals[key] ?? 0, totals[key] ?? 0]
    if (said === sum) continue
    const what = `The ledger of ${table.name} says ${said} ${key} in all, but its rows add up to ${sum}.`
    findings.push(problem(table.name, what, 'Restore the metadata of the table from a copy.'))
  }
  findings.push(...compareCommitted(table, ledger, committed))
  if (deadLettered !== undefined) findings.push(...compareDeadLetters(table.name, ledger, deadLettered))
  return findings
}

/**
 * A dead letter of an engine that was killed before it committed the position may be one that its successor could load: then it is
 * in both tables, and nothing is lost.
 */
function compareDeadLetters(name: string, ledger: TableLedger, deadLettered: readonly SourceHour[]): Finding[] {
  const differences = difference(ledger.rows, ({ deadLettered: said }) => said, deadLettered)
  if (differences.length === 0) return []
  const what = `The ledger of ${name} and its dead letters do not agree: ${textOf(differences, 'dead letters')}.`
  if (differences.some(({ found, said }) => found < said)) return [problem(name, what, lost)]
  const reason = ' An engine that was killed may have written off what the next one could load.'
  return [{ severity: 'note', check: 'ledger', stream: name, what: what + reason }]
}

/** What the log has against what the ledger says was accepted. `accepted`: of the positions that the ledger covers. */
export function compareAccepted(name: string, ledger: TableLedger, accepted: readonly SourceHour[]): Finding[] {
  const differences = difference(ledger.rows, ({ accepted: said }) => said, accepted)
  if (differences.length === 0) return []
  const what = `The ledger of ${name} and the log do not agree on what was accepted: ${textOf(differences, 'events in the log')}.`
  return [
    problem(name, what, 'The log is the truth of what was accepted: restore the metadata of the table from a copy.'),
  ]
}

function compareCommitted(table: LoadedTable, ledger: TableLedger, committed: readonly SourceHour[]): Finding[] {
  const differences = difference(ledger.rows, presentRows, committed)
  if (differences.length === 0) return []
  const { name, metadata } = table
  const sum = differences.reduce((all, { found, said }) => all + found - said, 0)
  const lessThanSaid = differences.some(({ found, said }) => found < said)
  const { rows: before, positions } = ledger.begun
  if (!lessThanSaid && (before === null || sum === before)) {
    const what = `The ledger of ${name} began when the log was at ${formatPositions(positions)}: ${sum} rows of the table are older and in no row of it.`
    return [{ severity: 'note', check: 'ledger', stream: name, what }]
  }
  const foreign = metadata.snapshots.filter(({ summary }) => summary[positionsKey] === undefined)
  const added = foreign.reduce((all, { summary }) => all + numberOf(summary['added-records']), 0)
  const deleted = foreign.reduce((all, { summary }) => all + numberOf(summary['deleted-records']), 0)
  const text = `The ledger of ${name} and its data files do not agree: ${textOf(differences, 'rows in files')}.`
  if (foreign.length > 0 && sum === (before ?? 0) + added - deleted) {
    const what = `${text} Another engine added ${added} rows and deleted ${deleted}, which explains it.`
    return [{ severity: 'note', check: 'ledger', stream: name, what }]
  }
  const reason =
    foreign.length > 0
      ? ` Another engine wrote to the table, ${added} rows more and ${deleted} less, which does not explain it.`
      : ' If another engine wrote to the table, its snapshots have expired since.'
  return [problem(name, text + reason, lost)]
}

interface Difference {
  source: string | null
  hour: number
  said: number
  found: number
}

/**
 * Where the ledger's count and the recomputed one differ. In an hour with so many sources that some are counted together, only
 * the sums of the hour can be compared.
 */
function difference(
  rows: readonly LedgerRow[],
  countOf: (row: LedgerRow) => number,
  found: readonly SourceHour[],
): Difference[] {
  const crowded = new Set(rows.filter(({ source }) => source === otherSources).map(({ hour }) => hour))
  const entries = new Map<string, Difference>()
  const entry = (source: string | null, hour: number): Difference => {
    const name = crowded.has(hour) ? otherSources : source
    const key = JSON.stringify([hour, name])
    const known = entries.get(key) ?? { source: name, hour, said: 0, found: 0 }
    entries.set(key, known)
    return known
  }
  for (const row of rows) entry(row.source, row.hour).said += countOf(row)
  for (const row of found) entry(row.source, row.hour).found += row.count
  return [...entries.values()].filter(({ said, found: has }) => said !== has)
}

function textOf(differences: readonly Difference[], counted: string): string {
  const shown = differences.slice(0, shownMax).map(({ source, hour, said, found }) => {
    const who = source === null ? 'events without a source' : `source ${JSON.stringify(source)}`
    return `${who} of ${new Date(hour * hourMs).toISOString().slice(0, 13)}h: ${said} in the ledger, ${found} ${counted}`
  })
  const more = differences.length - shown.length
  return shown.join('; ') + (more > 0 ? `; and ${more} more` : '')
}

function numberOf(text: string | undefined): number {
  return Number(text ?? 0)
}

function problem(stream: string, what: string, mend: string): Finding {
  return { severity: 'problem', check: 'ledger', stream, what, mend }
}
