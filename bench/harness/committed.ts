/** Waiting for, and checking, what has become of the events that were sent. */
import { waitFor } from '../../examples/quickstart/server-process.ts'
import type { Corpus } from './corpus.ts'
import type { SqlClient } from './sql-client.ts'

const committedWithinMs = 600_000
/** Seldom enough to cost the engine nothing that shows, often enough for runs of seconds. */
const lookEveryMs = 50

/**
 * Waits until all that is acknowledged is in committed files, and `rows` rows of it.
 * @param onLook called with the rows that are visible so far, each time they are looked at
 * @throws Error when there are more rows than that, or not so many in ten minutes
 */
export async function untilCommitted(
  sql: SqlClient,
  rows: number,
  onLook: (rows: number) => void = () => {},
  table = 'trades',
): Promise<void> {
  const isSo = async (): Promise<boolean> => {
    const state = await sql.numbers<'rows' | 'hot_rows' | 'committed_rows' | 'lag_bytes'>(
      `select rows, hot_rows, committed_rows, lag_bytes from freshet.streams where name = '${table}'`,
    )
    onLook(state.rows)
    if (state.rows > rows) {
      throw new Error(
        `wrong rows: only ${rows} different events were sent, and the table is at ${JSON.stringify(state)}`,
      )
    }
    const settled = state.hot_rows === 0 && state.lag_bytes === 0
    return settled && state.committed_rows === rows
  }
  await waitFor(`${rows} committed rows`, committedWithinMs, isSo, lookEveryMs)
}

/**
 * Checks that the table holds the first `expected` events of the corpus, each once.
 * @throws Error when it does not
 */
export async function checkRows(sql: SqlClient, corpus: Corpus, expected: number, table = 'trades'): Promise<void> {
  // The number of an event is the end of its id: numbers are cheaper to tell apart than texts.
  const found = await sql.numbers<'rows' | 'ids' | 'newest' | 'sizes'>(
    `select count(*) as rows, count(distinct n) as ids, max(n) as newest, sum(size) as sizes
     from (select cast(substr(id, 3) as bigint) as n, size from ${table})`,
  )
  const wanted = { rows: expected, ids: expected, newest: expected - 1, sizes: corpus.sizes(expected) }
  for (const [name, value] of Object.entries(wanted)) {
    const has = found[name as keyof typeof wanted]
    if (has !== value) throw new Error(`wrong rows: ${name} is ${has} and must be ${value} (${JSON.stringify(found)})`)
  }
}
