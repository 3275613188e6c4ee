/**
 * How far streams are complete: for each stream, the event time up to which every active site has reported. What a site has
 * reported is taken from what SQL shows already (its events and heartbeats as they were loaded), never from what is still in the
 * log only: so an answer that says "complete through T" has every event that the sites reported until T.
 *
 * A site counts for a stream when it is registered, active, and registered for that stream. Sources that are not registered are
 * shown and hold nothing back. While one site has never reported, or no site is registered, there is no such time.
 */
import type { SourceState } from '../lake/sources.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Site, SiteReader } from '../sites/site-registry.ts'

/** A stream, with what each source has reported of what SQL shows; times in milliseconds since 1970. */
export interface ReportedStream {
  name: string
  sources: ReadonlyMap<string, SourceState>
}

export interface CompletenessOptions {
  sites: SiteReader
  clock: Clock
  /** The streams as they are now, in order. */
  streams: () => Iterable<ReportedStream>
  /** Likewise what is made of them: with the stream whose sites count, and what its sources had reported of what is in it. */
  made?: () => Iterable<ReportedStream & { of: string }>
}

/** One site, or source, of one stream. Times in milliseconds since 1970. */
export interface SiteReport {
  stream: string
  site: string
  state: 'active' | 'paused' | 'unregistered'
  lastEventMs: number | undefined
  reportedThroughMs: number | undefined
  lastArrivalMs: number | undefined
  /** From what it has reported to now; negative when it has reported beyond. */
  lagMs: number | undefined
  /** Since its last batch or heartbeat arrived. */
  silentMs: number | undefined
  /** The stream would be complete through a later time but for this site. */
  holdsBack: boolean
}

export interface StreamReport {
  completeThroughMs: number | undefined
  /** Registered sites first, then other sources; each by name. */
  sites: SiteReport[]
}

/** Sites by what they are looked up for. */
interface Registered {
  list: readonly Site[]
  names: ReadonlySet<string>
  everywhere: Site[]
  byStream: Map<string, Site[]>
}

export class Completeness {
  readonly #options: CompletenessOptions
  #registered: Registered = { list: [], names: new Set(), everywhere: [], byStream: new Map() }
  #refreshing = false

  constructor(options: CompletenessOptions) {
    this.#options = options
  }

  /**
   * Up to when each of these streams is complete, milliseconds since 1970; those of which that cannot be said are left out.
   * @throws FreshetError `sites_unavailable`
   */
  async through(streams: ReadonlySet<string> | 'all'): Promise<ReadonlyMap<string, number>> {
    await this.refresh()
    const found = new Map<string, number>()
    const add = ({ name, sources }: ReportedStream, of = name): void => {
      if (streams !== 'all' && !streams.has(name)) return
      const throughMs = completeThrough(this.#activeSites(of), sources)
      if (throughMs !== undefined) found.set(name, throughMs)
    }
    for (const stream of this.#options.streams()) add(stream)
    for (const made of this.#options.made?.() ?? []) add(made, made.of)
    return found
  }

  /**
   * The registered sites as they were a moment ago: what they have reported must not be forgotten, however long they are silent.
   * None until the registry has been read once.
   */
  recentSites(): ReadonlySet<string> {
    if (!this.#refreshing) {
      this.#refreshing = true
      void this.refresh()
        .catch(() => undefined)
        .finally(() => (this.#refreshing = false))
    }
    return this.#registered.names
  }

  /** All there is to say of every stream, by name. @throws FreshetError `sites_unavailable` */
  async report(): Promise<ReadonlyMap<string, StreamReport>> {
    await this.refresh()
    const nowMs = this.#options.clock.nowMs()
    const reports = new Map<string, StreamReport>()
    for (const stream of this.#options.streams()) reports.set(stream.name, this.#reportOf(stream, nowMs))
    return reports
  }

  #reportOf({ name, sources }: ReportedStream, nowMs: number): StreamReport {
    const completeThroughMs = completeThrough(this.#activeSites(name), sources)
    const describe = (site: string, state: SiteReport['state']): SiteReport => {
      const { lastEventMs, reportedThroughMs, lastArrivalMs } = sources.get(site) ?? unheard
      return {
        stream: name,
        site,
        state,
        lastEventMs,
        reportedThroughMs,
        lastArrivalMs,
        lagMs: reportedThroughMs === undefined ? undefined : nowMs - reportedThroughMs,
        silentMs: lastArrivalMs === undefined ? undefined : Math.max(0, nowMs - lastArrivalMs),
        holdsBack: state === 'active' && reportedThroughMs === completeThroughMs,
      }
    }
    const registered = this.#sitesOf(name)
    const known = new Set(registered.map((site) => site.name))
    const others = [...sources.keys()].filter((source) => !known.has(source)).toSorted()
    const sites = [
      ...registered.map((site) => describe(site.name, site.state)),
      ...others.map((source) => describe(source, 'unregistered')),
    ]
    return { completeThroughMs, sites }
  }

  #sitesOf(stream: string): Site[] {
    const { everywhere, byStream } = this.#registered
    return [...everywhere, ...(byStream.get(stream) ?? [])].toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  *#activeSites(stream: string): Iterable<Site> {
    const { everywhere, byStream } = this.#registered
    for (const site of everywhere) if (site.state === 'active') yield site
    for (const site of byStream.get(stream) ?? []) if (site.state === 'active') yield site
  }

  /** Looks at the registry. @throws FreshetError `sites_unavailable`; what was known stays known */
  async refresh(): Promise<void> {
    const list = await this.#options.sites.list()
    if (list === this.#registered.list) return
    const everywhere = list.filter(({ streams }) => streams === 'all')
    const byStream = new Map<string, Site[]>()
    for (const site of list) {
      if (site.streams === 'all') continue
      for (const stream of site.streams) {
        const sites = byStream.get(stream)
        if (sites) sites.push(site)
        else byStream.set(stream, [site])
      }
    }
    this.#registered = { list, names: new Set(list.map(({ name }) => name)), everywhere, byStream }
  }
}

const unheard = { lastEventMs: undefined, reportedThroughMs: undefined, lastArrivalMs: undefined }

/** The least that these sites have reported; undefined when there are none, or one has not reported at all. */
function completeThrough(sites: Iterable<Site>, sources: ReadonlyMap<string, SourceState>): number | undefined {
  let leastMs: number | undefined
  for (const { name } of sites) {
    const reportedMs = sources.get(name)?.reportedThroughMs
    if (reportedMs === undefined) return undefined
    if (leastMs === undefined || reportedMs < leastMs) leastMs = reportedMs
  }
  return leastMs
}
