/** The sites that a run simulates: who they are, how fast, how wrong their clocks go, when they are cut off. */
import { mix, Seeded } from './seeded.ts'

/** How the server may recognise a batch that a site sends again. */
export type SiteKind =
  /** By producer and sequence. */
  | 'sequence'
  /** By idempotency key. */
  | 'key'
  /** Not at all: only the ids of its events tell. */
  | 'ids'

/** A time in which a site reaches nobody. It keeps what happens meanwhile, and sends it afterwards as fast as it can. */
export interface Outage {
  /** The share of its events that the site has sent when it begins, from 0 to 1. */
  after: number
  lastsMs: number
}

export interface Site {
  index: number
  name: string
  kind: SiteKind
  /** Whether the stream it reports to tells events apart by an id they carry; if not, the gateway gives them one. */
  hasIds: boolean
  /** Its part of all events, from 0 to 1. */
  share: number
  /** How far its clock is off, and how much that grows in an hour, milliseconds. */
  clockOffsetMs: number
  clockDriftMsPerHour: number
  batchEvents: number
  /** In the order in which they come. */
  outages: Outage[]
}

const kinds: readonly SiteKind[] = ['sequence', 'key', 'ids']
const clockOffsetMsMax = 30_000
const clockDriftMsPerHourMax = 2_000
const outageMsMax = 1_500

export interface SiteOptions {
  seed: number
  sites: number
  /** Events in a batch; each site has its own size around it. */
  batchEvents: number
  /** Whether every fourth site reports to the stream whose events get their ids from the gateway. */
  withoutIds: boolean
}

/** The sites of a run; the first are the busiest. */
export function planSites(options: SiteOptions): Site[] {
  const sites = Array.from({ length: options.sites }, (_, index) => planSite(index, options))
  const total = sites.reduce((sum, { share }) => sum + share, 0)
  for (const site of sites) site.share /= total
  return sites
}

function planSite(index: number, options: SiteOptions): Site {
  const random = new Seeded(options.seed, 1, index)
  const hasIds = !options.withoutIds || index % 4 !== 3
  // Without ids nothing but the batch itself can be recognised.
  const kind = hasIds ? kinds[(index % 4) % 3]! : kinds[(index >> 2) % 2]!
  return {
    index,
    name: `s${String(index).padStart(2, '0')}`,
    kind,
    hasIds,
    share: random.between(0.5, 1.5) / (index + 1) ** 0.7,
    clockOffsetMs: Math.round(random.between(-clockOffsetMsMax, clockOffsetMsMax)),
    clockDriftMsPerHour: random.between(-clockDriftMsPerHourMax, clockDriftMsPerHourMax),
    batchEvents: Math.max(1, Math.round(options.batchEvents * random.between(0.5, 1.5))),
    outages: Array.from({ length: random.integer(3) }, () => ({
      after: random.fraction(),
      lastsMs: Math.round(random.between(100, outageMsMax)),
    })).toSorted((a, b) => a.after - b.after),
  }
}

/** How many of `events` each site sends; they add up. */
export function shareOut(events: number, sites: readonly Site[]): number[] {
  const counts = sites.map(({ share }) => Math.floor(events * share))
  let left = events - counts.reduce((sum, count) => sum + count, 0)
  for (let index = 0; left > 0; index = (index + 1) % sites.length, left--) counts[index]!++
  return counts
}

/** The site that a row of an input belongs to: the same for every run with this seed. */
export function siteOfRow(seed: number, row: number, sites: readonly Site[]): number {
  let at = mix(seed, 2, row) / 2 ** 32
  for (const { index, share } of sites) {
    at -= share
    if (at < 0) return index
  }
  return 0
}
