/** What is known when a run is over; every report is made of this. */
import type { AuditResult } from './audit.ts'
import type { FreshnessSample } from './freshness.ts'
import type { Kill } from './killer.ts'
import type { ProveOptions } from './options.ts'
import type { Quantiles } from './quantiles.ts'
import type { SendCounts } from './record.ts'
import type { Moment } from './timeline.ts'
import type { Readings } from './consumer.ts'

/** What a ledger says of some events. */
export interface LedgerTotals {
  accepted: number
  committed: number
  deduplicated: number
  deadLettered: number
  inFlight: number
}

/** One thing that has to hold. */
export interface Check {
  name: string
  /** null: it could not be looked at. */
  ok: boolean | null
  /** What was found, as a sentence. */
  detail: string
  /** What to do about it, where it does not hold. */
  advice?: string
}

interface SiteFacts {
  name: string
  kind: string
  stream: string
  events: number
  clockOffsetMs: number
  outages: number
}

export interface Facts {
  options: ProveOptions
  run: string
  startedAt: string
  versions: { freshet: string; server: string; node: string; platform: string; cpus: number }
  sites: SiteFacts[]
  /** Distinct events that were sent, those of them acknowledged, refused, and those of which nothing is known. */
  sent: number
  acknowledged: number
  refused: number
  unknown: number
  /** Events that the server said it took into its log, repeats in other batches included. */
  accepted: number
  counts: SendCounts
  audit: AuditResult
  ledger: LedgerTotals | null
  readings: Readings
  kills: Kill[]
  samples: FreshnessSample[]
  freshnessMs: Quantiles | null
  /** Without the samples that waited for a process that had been killed. */
  freshnessQuietMs: Quantiles | null
  moments: Moment[]
  /** How long sending took, waiting until all was committed, and the audit; milliseconds. */
  sendingMs: number
  settlingMs: number
  auditMs: number
  totalMs: number
  checks: Check[]
}

/** Whether everything that was looked at holds. */
export function isProved({ checks }: Pick<Facts, 'checks'>): boolean {
  return checks.every(({ ok }) => ok !== false)
}
