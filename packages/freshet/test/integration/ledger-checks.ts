/** Checks of the ledger (I6) against what SQL says of the rows. */
import { expect } from 'vitest'
import type { Log } from '../../src/log/log.ts'
import type { EngineOptions, LabEngine, Row } from './engine-harness.ts'

export interface LedgerRow {
  source: string | null
  hour: string
  accepted: number
  committed: number
  deduplicated: number
  dead_lettered: number
  in_flight: number
  /** Of the committed: rows that were erased, expired or rolled back. */
  removed: number
}

/** The stream's ledger, each row of which balances. */
export async function balancedLedger(engine: LabEngine, stream: string): Promise<LedgerRow[]> {
  const rows = (await engine.sql(
    'select * exclude stream from freshet.ledger where stream = $stream order by hour, source nulls first',
    { stream },
  )) as unknown as LedgerRow[]
  for (const row of rows) {
    expect(row.accepted).toBe(row.committed + row.deduplicated + row.dead_lettered + row.in_flight)
    for (const count of [row.committed, row.deduplicated, row.dead_lettered, row.in_flight]) {
      expect(count).toBeGreaterThanOrEqual(0)
    }
  }
  return rows
}

/** The sums of the stream's ledger. */
export async function ledgerSums(
  engine: LabEngine,
  stream: string,
): Promise<Omit<LedgerRow, 'source' | 'hour' | 'removed'>> {
  const rows = await balancedLedger(engine, stream)
  const sum = (column: keyof Omit<LedgerRow, 'source' | 'hour'>): number =>
    rows.reduce((all, row) => all + row[column], 0)
  return {
    accepted: sum('accepted'),
    committed: sum('committed'),
    deduplicated: sum('deduplicated'),
    dead_lettered: sum('dead_lettered'),
    in_flight: sum('in_flight'),
  }
}

/** That the ledger of a stream that is all committed balances, and says of each source and hour what the table has. */
export async function expectLedgerOfTable(engine: LabEngine, stream: string): Promise<void> {
  const rows = await balancedLedger(engine, stream)
  expect(rows.filter(({ in_flight }) => in_flight !== 0)).toEqual([])
  const list = `_source as source, date_trunc('hour', _received_at) as hour, count(*) as events`
  const rest = 'group by all order by hour, source nulls first'
  const said = (countOf: (row: LedgerRow) => number): Row[] =>
    rows.flatMap((row) => (countOf(row) > 0 ? { source: row.source, hour: row.hour, events: countOf(row) } : []))
  expect(said(({ committed, removed }) => committed - removed)).toEqual(
    await engine.sql(`select ${list} from ${stream} ${rest}`),
  )
  expect(said(({ dead_lettered: events }) => events)).toEqual(
    await engine.letters(stream, list, `where stage = 'load' ${rest}`),
  )
}

/** The loader reads nothing while the gate is closed; whoever counts the log, in smaller steps, does. */
export function closedToLoader(gate: { open: boolean }): EngineOptions {
  return {
    wrapLog: (log): Log => ({
      append: (stream, batch) => log.append(stream, batch),
      ends: (stream) => log.ends(stream),
      subscribe: (onGrowth) => log.subscribe(onGrowth),
      trim: (...request) => log.trim(...request),
      read: async (stream, partition, from, maxBytes) => {
        const nothing = { bytes: Buffer.alloc(0), next: from, count: 0, batches: [], receivedAtMs: 0 }
        return gate.open || maxBytes <= 8 << 20 ? log.read(stream, partition, from, maxBytes) : nothing
      },
    }),
  }
}
