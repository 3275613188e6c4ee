/** The sites of a stream as `GET /v1/status` shows them: a few, the ones that matter first. */
import type { SiteReport, StreamReport } from './completeness.ts'

export interface SiteStatus {
  site: string
  state: SiteReport['state']
  lastEventTime: string | null
  reportedThrough: string | null
  lastArrival: string | null
  lagMs: number | null
  silentMs: number | null
  holdsBack: boolean
}

const shownMax = 20
const ranks: Readonly<Record<SiteReport['state'], number>> = { active: 1, paused: 2, unregistered: 3 }

export function siteStatuses(report: StreamReport | undefined): {
  completeThrough: string | null
  sites: SiteStatus[] | null
  sitesTotal: number | null
} {
  if (report === undefined) return { completeThrough: null, sites: null, sitesTotal: null }
  const { completeThroughMs, sites } = report
  return {
    completeThrough: isoOf(completeThroughMs),
    sites: sites.toSorted(byImportance).slice(0, shownMax).map(siteStatus),
    sitesTotal: sites.length,
  }
}

function rankOf({ holdsBack, state }: SiteReport): number {
  return holdsBack ? 0 : ranks[state]
}

/** What holds back comes first, of that what has been silent longest. */
function byImportance(a: SiteReport, b: SiteReport): number {
  if (rankOf(a) !== rankOf(b)) return rankOf(a) - rankOf(b)
  return a.holdsBack ? (a.lastArrivalMs ?? 0) - (b.lastArrivalMs ?? 0) : 0
}

function siteStatus(report: SiteReport): SiteStatus {
  return {
    site: report.site,
    state: report.state,
    lastEventTime: isoOf(report.lastEventMs),
    reportedThrough: isoOf(report.reportedThroughMs),
    lastArrival: isoOf(report.lastArrivalMs),
    lagMs: report.lagMs ?? null,
    silentMs: report.silentMs ?? null,
    holdsBack: report.holdsBack,
  }
}

function isoOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString()
}
