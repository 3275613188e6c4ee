/** The engine's part of `GET /v1/status`. */
import type { Log } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
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
  rows: number
  hotRows: number
  files: number
  bytes: number
  freshnessMs: { p50: number; p99: number } | null
  lastCommitAt: string | null
  duplicates: number
  deadLetters: number
  /** Why the stream does not get on; null while it does. */
  problem: string | null
}

export async function engineStatus(
  loaders: Iterable<StreamLoader>,
  declared: ReadonlySet<string>,
  log: Log,
  clock: Clock,
): Promise<{ streams: StreamStatus[] }> {
  const streams: StreamStatus[] = []
  for (const loader of loaders) streams.push(await streamStatus(loader, declared, log, clock.nowMs()))
  return { streams: streams.toSorted((a, b) => (a.name < b.name ? -1 : 1)) }
}

async function streamStatus(
  { table, stats }: StreamLoader,
  declared: ReadonlySet<string>,
  log: Log,
  nowMs: number,
): Promise<StreamStatus> {
  const { name } = table.stream
  const end = (await log.ends(name)).get(0) ?? 0n
  const snapshotMs = table.table?.metadata.snapshots.at(-1)?.['timestamp-ms']
  const committed = table.files.reduce((sum, file) => sum + file.recordCount, 0)
  return {
    name,
    declared: declared.has(name),
    eventsPerSecond: stats.eventsPerSecond(nowMs),
    logEnd: String(end),
    loaded: String(table.position),
    checkpoint: String(table.checkpoint),
    lagBytes: Math.max(0, Number(end - table.checkpoint)),
    rows: committed + table.hotRows,
    hotRows: table.hotRows,
    files: table.files.length,
    bytes: table.files.reduce((sum, file) => sum + file.bytes, 0),
    freshnessMs: stats.freshness(nowMs),
    lastCommitAt: snapshotMs === undefined ? null : new Date(snapshotMs).toISOString(),
    duplicates: stats.repeats,
    deadLetters: stats.deadLetters,
    problem: stats.problem ?? null,
  }
}
