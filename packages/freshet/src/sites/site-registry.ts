/**
 * The contract of the site registry: which sites there are, and what each is expected to report to. A site is a value of
 * `_source`. Sites are run-time data: they are added, paused and removed while the server runs.
 */

type SiteState = 'active' | 'paused'

export interface Site {
  /** 1 to 128 printable ASCII characters, as in the header Freshet-Source. */
  name: string
  /** The streams it reports to, sorted. */
  streams: 'all' | readonly string[]
  state: SiteState
  /** Milliseconds since 1970. */
  addedAtMs: number
  changedAtMs: number
}

/** What to set; what is left out stays as it is. */
export interface SiteChange {
  streams?: 'all' | readonly string[]
  /** A new site is active unless this says otherwise. */
  state?: SiteState
}

/** What the engine needs of it. */
export interface SiteReader {
  /**
   * All sites, sorted by name. A change that was acknowledged before the call is in it, whichever process made it.
   * @throws FreshetError `sites_unavailable`
   */
  list(): Promise<readonly Site[]>
}

export interface SiteRegistry extends SiteReader {
  /**
   * Adds a site (then `streams` is needed) or changes one; resolves once that is durable.
   * @throws FreshetError `unknown_site`, `too_many_sites`, `sites_unavailable` (nothing is changed)
   */
  put(name: string, change: SiteChange): Promise<{ site: Site; added: boolean }>
  /**
   * Removes a site; resolves once that is durable.
   * @throws FreshetError `unknown_site`, `sites_unavailable` (nothing is changed)
   */
  remove(name: string): Promise<void>
  close(): void
}

export const sitesMax = 10_000

/**
 * How far beyond its arrival a report can reach, in milliseconds. A site may know that nothing comes before tomorrow, but a time
 * that was mistyped, or a wrong clock, must not make a stream look complete for ever.
 */
export const reportAheadMsMax = 24 * 60 * 60 * 1000

/** Why a text cannot be the name of a site; undefined when it can. */
export function siteNameFault(name: string): string | undefined {
  if (!/^[\x20-\x7e]{1,128}$/.test(name)) return 'a name is 1 to 128 printable ASCII characters'
  if (name.trim() !== name) return 'a name neither begins nor ends with a space, which HTTP headers would lose'
  if (name === '.' || name === '..') return '"." and ".." have a meaning of their own in addresses'
  return undefined
}
