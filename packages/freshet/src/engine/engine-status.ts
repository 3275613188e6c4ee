/** The engine's part of `GET /v1/status`. */
import type { Log } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import { siteStatuses, type SiteStatus } from './site-status.ts'
import type { StreamReport } from './completeness.ts'
import type { LedgerTotals } from './ledger/stream-ledger.ts'
import type { StreamLoader } from './stream-loader.ts'

export interface StreamStatus {
  name: string
  declared: boolean
  eventsPerSecond: number
  /** Log positions, as text: they may exceed 2^53. */
  logEnd: string
  /** Up to here events are visible. */
  loaded: string
  /** Up to here they are committed. */
  checkpoint: string
  lagBytes: number
  /** How far it still is from the log's end of the engine's start; queries show less than before it until this is 0. */
  behindBytes: number
  rows: number
  hotRows: number
  files: number
  bytes: number
  freshnessMs: { p50: number; p99: number } | null
  lastCommitAt: string | null
  /** Repeats that were left out, and events that became dead letters: all there ever were, by the ledger. */
  duplicates: number
  deadLetters: number
  /** The ledger's sums; null for a stream without a log, or when its ledger is damaged. */
  ledger: LedgerTotals | null
  /** Why the stream does not get on; null while it does. */
  problem: string | null
  /** Up to this event time every active site has reported; null when that cannot be said. */
  completeThrough: string | null
  /** The first of the sites, those that hold back in front; null when the site registry cannot be read. */
  sites: SiteStatus[] | null
  /** How many there are. */
  sitesTotal: number | null
}

export async function engineStatus(
  loaders: Iterable<StreamLoader>,
  declared: ReadonlySet<string>,
  log: Log,
  clock: Clock,
  reports?: ReadonlyMap<string, StreamReport>,
): Promise<{ streams: StreamStatus[] }> {
  const streams: StreamStatus[] = []
  for (const loader of loaders) {
    const report = reports?.get(loader.table.stream.name)
    streams.push({ ...(await streamStatus(loader, declared, log, clock.nowMs())), ...siteStatuses(report) })
  }
  return { streams: streams.toSorted((a, b) => (a.name < b.name ? -1 : 1)) }
}

async function streamStatus(
  { table, stats, behindBytes, ledger }: StreamLoader,
  declared: ReadonlySet<string>,
  log: Log,
  nowMs: number,
): Promise<Omit<StreamStatus, keyof ReturnType<typeof siteStatuses>>> {
  const { name } = table.stream
  const end = (await log.ends(name)).get(0) ?? 0n
  const snapshotMs = table.table?.metadata.snapshots.at(-1)?.['timestamp-ms']
  const totals = (await ledger?.totals()) ?? null
  const committed = table.files.reduce((sum, file) => sum + file.recordCount, 0)
  return {
    name,
    declared: declared.has(name),
    eventsPerSecond: stats.eventsPerSecond(nowMs),
    logEnd: String(end),
    loaded: String(table.position),
    checkpoint: String(table.checkpoint),
    lagBytes: Math.max(0, Number(end - table.checkpoint)),
    behindBytes: Number(behindBytes),
    rows: committed + table.hotRows,
    hotRows: table.hotRows,
    files: table.files.length,
    bytes: table.files.reduce((sum, file) => sum + file.bytes, 0),
    freshnessMs: stats.freshness(nowMs),
    lastCommitAt: snapshotMs === undefined ? null : new Date(snapshotMs).toISOString(),
    duplicates: totals?.deduplicated ?? stats.repeats,
    deadLetters: totals?.deadLettered ?? stats.deadLetters,
    ledger: totals,
    problem: stats.problem ?? null,
  }
}
