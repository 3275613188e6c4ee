/**
 * Who is told, in the same commit, that rows leave a table (I6): its own ledger counts them as removed and, where they are dead letters,
 * the table notes how many of them the ledger of their stream counts.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { letteredStream } from '../events/dead-letter.ts'
import { removedRow, type LedgerRow } from '../lake/ledger-rows.ts'
import { withRemovedLetters, type RemovedLetters } from '../lake/removed-letters.ts'
import type { RewriteRequest } from '../lake/rewrite.ts'
import { arrivalHour } from './ledger/arrival-hour.ts'
import type { KeptTable } from './upkeep/job.ts'

export interface GoneRows {
  /** How many there are. */
  count: number
  ledger: LedgerRow[]
  letters: RemovedLetters[]
}

/** The columns that are counted by. */
export const goneColumns = ['_source', '_received_at', 'stage']

/**
 * Counts rows that leave a table.
 * @param select gives them, with `goneColumns` as far as the table has them
 * @param sign -1 for rows that come back
 */
export async function countGone(
  connection: DuckDBConnection,
  kept: Pick<KeptTable, 'stream'>,
  select: string,
  sign: 1 | -1 = 1,
): Promise<GoneRows> {
  const loads = letteredStream(kept.stream.name) === undefined ? '0' : `count(*) FILTER (WHERE stage = 'load')`
  const result = await connection.runAndReadAll(
    `SELECT _source, ${arrivalHour}, count(*), ${loads} FROM (${select}) GROUP BY ALL`,
  )
  const gone: GoneRows = { count: 0, ledger: [], letters: [] }
  for (const [by, at, all, loaded] of result.getRows()) {
    const source = by === null ? null : String(by)
    const hour = Number(at)
    gone.count += sign * Number(all)
    gone.ledger.push(removedRow(source, hour, sign * Number(all)))
    if (Number(loaded) > 0) gone.letters.push({ source, hour, count: sign * Number(loaded) })
  }
  return gone
}

export function addGone(all: readonly GoneRows[]): GoneRows {
  return {
    count: all.reduce((sum, { count }) => sum + count, 0),
    ledger: all.flatMap(({ ledger }) => ledger),
    letters: all.flatMap(({ letters }) => letters),
  }
}

/** What a commit that removes rows says of them. */
export function toldOfGone(
  kept: Pick<KeptTable, 'hasLog'>,
  { ledger, letters }: GoneRows,
  keptSources: () => ReadonlySet<string>,
): Pick<RewriteRequest, 'ledger' | 'properties'> {
  return {
    ...(kept.hasLog &&
      ledger.length > 0 && { ledger: { rows: ledger, sources: new Map(), keptSources: keptSources() } }),
    ...(letters.length > 0 && { properties: (base) => withRemovedLetters(base, letters) }),
  }
}
