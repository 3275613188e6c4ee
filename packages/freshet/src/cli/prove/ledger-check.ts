/** Compares the server's ledger with what the run itself has counted (I6). */
import { FreshetError } from '../../runtime/errors.ts'
import type { AuditResult } from './audit.ts'
import type { Door } from './door.ts'
import type { Check, LedgerTotals } from './facts.ts'
import type { RunRecord } from './record.ts'

interface LedgerRow extends LedgerTotals {
  source: string
}

const sql = `select source, sum(accepted)::bigint as accepted, sum(committed)::bigint as committed,
    sum(deduplicated)::bigint as deduplicated, sum(dead_lettered)::bigint as dead_lettered,
    sum(in_flight)::bigint as in_flight
  from freshet.ledger where starts_with(source, $run) group by source order by source`

/** What the ledger says of the sources of a run; null when the server has none. @throws FreshetError as the door does */
export async function readLedger(door: Door, run: string): Promise<LedgerRow[] | null> {
  try {
    const rows = await door.rows(sql, { run: `prove-${run}-` })
    return rows.map((row) => ({
      source: String(row['source']),
      accepted: Number(row['accepted']),
      committed: Number(row['committed']),
      deduplicated: Number(row['deduplicated']),
      deadLettered: Number(row['dead_lettered']),
      inFlight: Number(row['in_flight']),
    }))
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'forbidden_sql') return null
    throw error
  }
}

export function totalsOf(rows: readonly LedgerTotals[]): LedgerTotals {
  const totals = { accepted: 0, committed: 0, deduplicated: 0, deadLettered: 0, inFlight: 0 }
  for (const row of rows) {
    for (const name of ['accepted', 'committed', 'deduplicated', 'deadLettered', 'inFlight'] as const)
      totals[name] += row[name]
  }
  return totals
}

/** Whether the ledger balances, and says of each site what the site itself has counted. */
export function checkLedger(
  rows: readonly LedgerRow[] | null,
  record: RunRecord,
  run: string,
  found: AuditResult,
): Check {
  const name = 'The ledger balances and agrees with what was acknowledged'
  if (rows === null) return { name, ok: null, detail: 'The server has no ledger.' }
  const faults: string[] = []
  const bySource = new Map(rows.map((row) => [row.source, row]))
  for (const site of record.sites) {
    const row = bySource.get(`prove-${run}-${site.site.name}`)
    const accepted = row?.accepted ?? 0
    if (accepted < site.accepted || accepted > site.accepted + site.acceptedUnsaid)
      faults.push(`${site.site.name}: accepted ${accepted}, acknowledged ${site.accepted}`)
    if (row !== undefined && row.accepted !== row.committed + row.deduplicated + row.deadLettered + row.inFlight)
      faults.push(`${site.site.name}: ${JSON.stringify(row)} does not balance`)
  }
  const totals = totalsOf(rows)
  const stored = totals.committed + totals.inFlight
  if (stored !== found.rows) faults.push(`committed and in flight ${stored}, rows in SQL ${found.rows}`)
  if (totals.deadLettered !== found.deadLettered)
    faults.push(`dead-lettered ${totals.deadLettered}, dead letters in SQL ${found.deadLettered}`)
  if (faults.length === 0)
    return {
      name,
      ok: true,
      detail: `${totals.accepted} accepted = ${totals.committed} committed + ${totals.deduplicated} de-duplicated + ${totals.deadLettered} dead-lettered + ${totals.inFlight} in flight.`,
    }
  return {
    name,
    ok: false,
    detail: `${faults.slice(0, 5).join('; ')}.`,
    advice: 'Look at freshet.ledger for these sources, and run `freshet verify` on the data folder.',
  }
}
