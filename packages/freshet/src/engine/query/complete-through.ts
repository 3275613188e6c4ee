/**
 * `complete_through('stream')` in SQL: a macro over a variable of the query's own connection, which is set before the query's
 * snapshot is taken. So what it says is never later than what the query sees, and is the same everywhere in one query, and in the
 * answer's header.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { literal } from '../sql-text.ts'
import type { Admitted } from './gate.ts'

const variable = 'freshet_complete_through'

/** Made once, before the database is locked. Streams of which nothing can be said give null. */
export const createCompleteThrough = `CREATE MACRO main.complete_through(stream_name) AS getvariable('${variable}')[lower(stream_name)]`

/** Streams that the header names at most: the header has to stay small. */
const namedMax = 40

/**
 * Up to when streams are complete, milliseconds since 1970; those of which that cannot be said are left out.
 * @throws FreshetError `sites_unavailable`
 */
export type FindCompleteThrough = (streams: ReadonlySet<string> | 'all') => Promise<ReadonlyMap<string, number>>

/**
 * Prepares a connection for an admitted statement. Must come before its transaction.
 * @returns the answer's headers about it
 * @throws what `find` throws, when the statement calls `complete_through`
 */
export async function tellCompleteThrough(
  connection: DuckDBConnection,
  { streams, callsCompleteThrough }: Admitted,
  find: FindCompleteThrough,
): Promise<Record<string, string>> {
  if (!callsCompleteThrough) {
    if (streams.size === 0) return {}
    // A header less is no reason to refuse a query.
    return headerOf(streams, await find(streams).catch(() => new Map<string, number>()))
  }
  const found = await find('all')
  const entries = [...found].map(([stream, ms]) => `${literal(stream)}: make_timestamptz(${BigInt(ms) * 1000n})`)
  await connection.run(
    `SET VARIABLE ${variable} = CAST(MAP {${entries.join(', ')}} AS MAP(VARCHAR, TIMESTAMP WITH TIME ZONE))`,
  )
  return headerOf(streams, found)
}

/** `freshet-complete-through: trades=2013-10-07T20:00:00.000Z, orders=...` */
function headerOf(streams: ReadonlySet<string>, found: ReadonlyMap<string, number>): Record<string, string> {
  const known = [...streams].filter((stream) => found.has(stream)).toSorted()
  if (known.length === 0) return {}
  const texts = known.slice(0, namedMax).map((stream) => `${stream}=${new Date(found.get(stream)!).toISOString()}`)
  return { 'freshet-complete-through': texts.join(', ') }
}
