/** The site registry in a SQLite file; sites-file.ts says what keeps it safe. */
import type { DatabaseSync } from 'node:sqlite'
import { nearest } from '../../config/spelling.ts'
import type { Clock } from '../../runtime/clock.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { sitesMax, type Site, type SiteChange, type SiteReader, type SiteRegistry } from '../site-registry.ts'
import { isBusy, pragma, SitesFile, transaction } from './sites-file.ts'

/** Sites that a name which is not known is compared with: comparing takes time. */
const comparedMax = 1000

/**
 * Opens the registry for the process that changes it. Never throws: a file that cannot be used fails the calls, one by one.
 * @param path the file; its folder must exist
 */
export function openSiteRegistry(path: string, clock: Clock): SiteRegistry {
  return new SqliteSiteRegistry(path, clock)
}

/** Opens the registry for a process that only reads it. Never throws, likewise. */
export function openSiteReader(path: string): SiteReader & { close(): void } {
  return new SqliteSiteReader(path, 'read')
}

class SqliteSiteReader implements SiteReader {
  protected readonly file: SitesFile
  #sites: readonly Site[] = []
  #version = -1

  constructor(path: string, mode: 'write' | 'read') {
    this.file = new SitesFile(path, mode)
  }

  async list(): Promise<readonly Site[]> {
    return this.current()
  }

  close(): void {
    this.file.close()
  }

  protected current(): readonly Site[] {
    return this.file.use((database, isNew) => this.#read(database, isNew)) ?? []
  }

  /** What was read last is not what there is any more. */
  protected forget(): void {
    this.#version = -1
  }

  #read(database: DatabaseSync, isNew: boolean): readonly Site[] {
    if (isNew) this.forget()
    try {
      // SQLite counts in it what other connections commit.
      const version = pragma(database, 'data_version')
      if (version !== this.#version) {
        // In byte order, as texts of ASCII are sorted everywhere.
        this.#sites = database.prepare('SELECT * FROM site ORDER BY name').all().map(siteOf)
        this.#version = version
      }
    } catch (error) {
      // While a change is being written, it is not acknowledged yet: what was read before still holds.
      if (!isBusy(error) || this.#version === -1) throw error
    }
    return this.#sites
  }
}

/** A change is read, decided and written without a pause, so that two at once never undo each other. */
class SqliteSiteRegistry extends SqliteSiteReader implements SiteRegistry {
  readonly #clock: Clock

  constructor(path: string, clock: Clock) {
    super(path, 'write')
    this.#clock = clock
  }

  async put(name: string, change: SiteChange): Promise<{ site: Site; added: boolean }> {
    const old = this.#find(name)
    if (old === undefined && change.streams === undefined) throw this.#unknown(name)
    const nowMs = this.#clock.nowMs()
    const site: Site = {
      name,
      streams: sorted(change.streams ?? old!.streams),
      state: change.state ?? old?.state ?? 'active',
      addedAtMs: old?.addedAtMs ?? nowMs,
      changedAtMs: nowMs,
    }
    if (old?.state === site.state && String(old.streams) === String(site.streams)) return { site: old, added: false }
    this.#change((database) => {
      if (old === undefined && count(database) >= sitesMax) throw tooMany()
      database
        .prepare(
          'INSERT OR REPLACE INTO site (name, streams, state, added_at_ms, changed_at_ms) VALUES (?, ?, ?, ?, ?)',
        )
        .run(name, JSON.stringify(site.streams), site.state, site.addedAtMs, site.changedAtMs)
    })
    return { site, added: old === undefined }
  }

  async remove(name: string): Promise<void> {
    if (this.#find(name) === undefined) throw this.#unknown(name)
    this.#change((database) => {
      database.prepare('DELETE FROM site WHERE name = ?').run(name)
    })
  }

  #change(work: (database: DatabaseSync) => void): void {
    this.file.use((database) => transaction(database, () => work(database)))
    this.forget()
  }

  #find(name: string): Site | undefined {
    return this.current().find((site) => site.name === name)
  }

  #unknown(name: string): FreshetError {
    const candidates = this.current().slice(0, comparedMax)
    const near = nearest(
      name,
      candidates.map((site) => site.name),
    )
    return new FreshetError('unknown_site', `There is no site ${JSON.stringify(name)}.`, {
      hint:
        near === undefined ? 'Add it, with the streams that it reports to.' : `Did you mean ${JSON.stringify(near)}?`,
    })
  }
}

function sorted(streams: Site['streams']): Site['streams'] {
  return streams === 'all' ? streams : [...new Set(streams)].toSorted()
}

function count(database: DatabaseSync): number {
  return Number(database.prepare('SELECT count(*) AS n FROM site').get()!['n'])
}

function tooMany(): FreshetError {
  return new FreshetError('too_many_sites', `There are ${sitesMax} sites, and no more can be added.`, {
    hint: 'Remove those that are gone for good.',
  })
}

/** @throws when a row holds what was never written */
function siteOf(row: Record<string, unknown>): Site {
  const streams = JSON.parse(String(row['streams'])) as Site['streams']
  if (streams !== 'all' && !Array.isArray(streams)) throw new Error(`the streams of ${String(row['name'])} are damaged`)
  return {
    name: String(row['name']),
    streams,
    state: row['state'] as Site['state'],
    addedAtMs: Number(row['added_at_ms']),
    changedAtMs: Number(row['changed_at_ms']),
  }
}
