import { isProved, type Facts } from './facts.ts'

/** The report as JSON; docs/prove.md says what each member means. */
export function jsonReport(facts: Facts): Record<string, unknown> {
  const { audit, ledger, counts, readings, kills, options } = facts
  const committed = ledger?.committed ?? audit.rows
  const accepted = ledger?.accepted ?? facts.accepted
  return {
    ok: isProved(facts),
    sent: facts.sent,
    acknowledged: facts.acknowledged,
    accepted,
    committed,
    deduplicated: ledger?.deduplicated ?? accepted - audit.rows - audit.deadLettered,
    deadLettered: audit.deadLettered,
    refused: facts.refused,
    unknown: facts.unknown,
    missing: audit.missing,
    twice: audit.twice,
    changed: audit.changed,
    unexpected: audit.unexpected,
    kills: kills.length,
    eventsPerSecond: Math.round(eventsPerSecond(facts)),
    freshnessMs: facts.freshnessMs,
    freshnessWithoutKillsMs: facts.freshnessQuietMs,
    seed: options.seed,
    run: facts.run,
    startedAt: facts.startedAt,
    options,
    versions: facts.versions,
    durationsMs: {
      sending: Math.round(facts.sendingMs),
      committing: Math.round(facts.settlingMs),
      audit: Math.round(facts.auditMs),
      total: Math.round(facts.totalMs),
    },
    requests: counts.requests,
    repeatedEvents: counts.repeatedEvents,
    repeatedBatches: counts.repeatedBatches,
    retries: counts.retries,
    lostAnswers: counts.lostAnswers,
    queries: readings.queries,
    queriesUnanswered: readings.unanswered,
    queriesCatchingUp: readings.catchingUp,
    killed: kills.map(({ role, atMs, backMs }) => ({
      role,
      atMs: Math.round(atMs),
      recoveredAfterMs: backMs === null ? null : Math.round(backMs - atMs),
    })),
    ledger,
    sites: facts.sites,
    checks: facts.checks,
    examples: audit.examples,
  }
}

/** Distinct events acknowledged for each second of sending. */
function eventsPerSecond({ acknowledged, sendingMs }: Pick<Facts, 'acknowledged' | 'sendingMs'>): number {
  return (acknowledged * 1000) / Math.max(1, sendingMs)
}
