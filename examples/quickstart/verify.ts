/** The quickstart's check of itself: what is in SQL, hot and committed, is exactly what was sent. */
import { sql } from './http-client.ts'
import { dataFiles, venueTotals, type VenueTotal } from './report.ts'
import type { Trade } from './sample.ts'
import { waitFor } from './server-process.ts'

const committedWithinMs = 60_000

/** Waits until everything acknowledged is in committed files. */
export async function waitUntilCommitted(url: string): Promise<void> {
  await waitFor('everything to be committed', committedWithinMs, async () => {
    const [row] = await sql(url, `select hot_rows, lag_bytes from freshet.streams where name = 'trades'`)
    return Number(row?.['hot_rows']) === 0 && Number(row?.['lag_bytes']) === 0
  })
}

/**
 * Compares the table with the trades that were sent.
 * @returns the table's rows
 * @throws Error naming the first difference
 */
export async function verifyTable(url: string, sent: readonly Trade[]): Promise<number> {
  const [counts] = await sql(
    url,
    `select count(*) as rows, count(distinct id) as ids, count(distinct _event_id) as event_ids from trades`,
  )
  const rows = Number(counts?.['rows'])
  expectEqual('rows', rows, sent.length)
  expectEqual('distinct ids', Number(counts?.['ids']), sent.length)
  expectEqual('distinct event ids', Number(counts?.['event_ids']), sent.length)
  const expected = totalsOf(sent)
  const found = await venueTotals(url)
  expectEqual('venues', found.length, expected.size)
  for (const { venue, trades, shares } of found) {
    expectEqual(`trades of venue ${venue}`, trades, expected.get(venue)?.trades)
    expectEqual(`shares of venue ${venue}`, shares, expected.get(venue)?.shares)
  }
  return rows
}

/** Call it when everything is committed. @throws Error when the rows of the data files are not all of them */
export async function verifyFiles(url: string, rows: number): Promise<void> {
  const files = await dataFiles(url)
  expectEqual(
    'rows of the Iceberg data files',
    files.reduce((sum, file) => sum + file.rows, 0),
    rows,
  )
}

/** How many events the engine has recognised by their ids as repeats since it was started. */
export async function recognisedRepeats(url: string): Promise<number> {
  const [stream] = await sql(url, `select duplicates from freshet.streams where name = 'trades'`)
  return Number(stream?.['duplicates'])
}

function totalsOf(trades: readonly Trade[]): Map<string, VenueTotal> {
  const totals = new Map<string, VenueTotal>()
  for (const { venue, size } of trades) {
    const total = totals.get(venue) ?? { venue, trades: 0, shares: 0 }
    total.trades++
    total.shares += size
    totals.set(venue, total)
  }
  return totals
}

function expectEqual(what: string, found: number, expected: number | undefined): void {
  if (found !== expected) throw new Error(`${what}: ${found}, expected ${expected}`)
}
