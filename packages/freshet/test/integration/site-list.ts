/** Registered sites, as a test says. */
import type { Site, SiteReader } from '../../src/sites/site-registry.ts'

export class SiteList implements SiteReader {
  #sites: readonly Site[] = []

  set(sites: readonly Partial<Site>[]): void {
    this.#sites = sites.map((site) => ({
      name: 'site',
      streams: 'all',
      state: 'active',
      addedAtMs: 0,
      changedAtMs: 0,
      ...site,
    }))
  }

  async list(): Promise<readonly Site[]> {
    return this.#sites
  }
}
