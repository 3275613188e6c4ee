/**
 * What a table knows of those who sent its events: how far each source has reported. It is kept in the table property
 * `freshet.sources`, which changes in the same commit as the data files and positions:
 *
 *     [["site-1",1763669999000,1763670000000,1763670000123],["site-2",null,1763670000000,1763670000100]]
 *
 * name, last event time, reported through, last arrival: milliseconds since 1970, null where there is none yet. Events without a
 * source are in nobody's row. Of all but the registered sites, only those that were seen last are kept, so that the property stays
 * small whatever is sent.
 */
import type { TableMetadata } from './metadata.ts'

export interface SourceState {
  /** The latest event time in a batch of the source, ms since 1970; undefined when it has sent none. */
  lastEventMs: number | undefined
  /** The latest event time or heartbeat: there is nothing before it that has not been sent. ms since 1970. */
  reportedThroughMs: number | undefined
  /** When its last batch or heartbeat arrived, ms since 1970. */
  lastArrivalMs: number
}

export type Sources = ReadonlyMap<string, SourceState>

export const sourcesKey = 'freshet.sources'
export const sourcesMax = 1000

/** The sources of a table as its last commit left them. What cannot be read counts as never reported: sources report again. */
export function tableSources(metadata: TableMetadata): Map<string, SourceState> {
  const sources = new Map<string, SourceState>()
  for (const row of storedRows(metadata.properties[sourcesKey])) {
    const [source, lastEventMs, reportedThroughMs, lastArrivalMs] = row
    sources.set(source, {
      lastEventMs: lastEventMs ?? undefined,
      reportedThroughMs: reportedThroughMs ?? undefined,
      lastArrivalMs,
    })
  }
  return sources
}

type StoredSource = [string, number | null, number | null, number]

function storedRows(text: string | undefined): StoredSource[] {
  try {
    const rows = JSON.parse(text ?? '[]') as unknown
    return Array.isArray(rows) ? rows.filter(isStoredSource) : []
  } catch {
    return []
  }
}

function isStoredSource(row: unknown): row is StoredSource {
  if (!Array.isArray(row) || row.length !== 4) return false
  const [source, lastEventMs, reportedThroughMs, lastArrivalMs] = row as unknown[]
  const times = [lastEventMs, reportedThroughMs].every((time) => time === null || Number.isSafeInteger(time))
  return typeof source === 'string' && times && Number.isSafeInteger(lastArrivalMs)
}

export function formatSources(sources: Sources): string {
  const rows = [...sources].map(([source, { lastEventMs, reportedThroughMs, lastArrivalMs }]) => [
    source,
    lastEventMs ?? null,
    reportedThroughMs ?? null,
    lastArrivalMs,
  ])
  return JSON.stringify(rows.toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1)))
}

/** Takes what is newer in `state` into a source's entry. */
export function noteSource(sources: Map<string, SourceState>, source: string, state: SourceState): void {
  const known = sources.get(source)
  sources.set(source, {
    lastEventMs: later(known?.lastEventMs, state.lastEventMs),
    reportedThroughMs: later(known?.reportedThroughMs, state.reportedThroughMs),
    lastArrivalMs: Math.max(known?.lastArrivalMs ?? 0, state.lastArrivalMs),
  })
}

/** Forgets all but the `sourcesMax` sources that were seen last, and those in `kept`. */
export function dropIdleSources(sources: Map<string, SourceState>, kept: ReadonlySet<string> = new Set()): void {
  const others = [...sources].filter(([source]) => !kept.has(source))
  const excess = others.length - sourcesMax
  if (excess <= 0) return
  const idle = others.toSorted(([, a], [, b]) => a.lastArrivalMs - b.lastArrivalMs).slice(0, excess)
  for (const [source] of idle) sources.delete(source)
}

function later(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || (b !== undefined && b > a) ? b : a
}
