import { FreshetError } from '../../runtime/errors.ts'
import type { Logger } from '../../runtime/logging.ts'
import type { ObjectStore } from '../../storage/object-store.ts'
import type { Catalog, LoadedTable } from '../catalog.ts'
import { parseMetadata, serializeMetadata, withPrevious, type TableMetadata } from '../metadata.ts'

/**
 * A catalog in the object store itself, laid out as Iceberg's file-system tables are, so that other engines can read it:
 *
 *     <table>/metadata/v<N>.metadata.json    one file a version; the highest is the table
 *     <table>/metadata/version-hint.text     a version not far below the highest, to save a listing; nothing relies on it
 *
 * Commit N+1 is `putIfAbsent` of its file: of all that start from N one wins. The last 100 versions before the newest stay;
 * commit N+1 first removes version N-100, so versions go in order. A writer that slept so long that N+1 was made and removed
 * again would find the name free: it then finds version N gone too, and takes its file back. For the same reason a version
 * whose predecessor is gone is not trusted to be the newest.
 */
export interface FileCatalogOptions {
  store: ObjectStore
  /** Where the store's keys are for other engines, for example `file:///srv/freshet/lake`; new tables are located below it. */
  rootLocation: string
  logger: Logger
}

interface Version {
  number: number
  body: Buffer
}

const versionsKept = 100
/** Versions that are looked for one by one before the folder is listed. */
const stepsMax = 16

export class FileCatalog implements Catalog {
  readonly #store: ObjectStore
  readonly #rootLocation: string
  readonly #logger: Logger

  constructor(options: FileCatalogOptions) {
    this.#store = options.store
    this.#rootLocation = options.rootLocation.replace(/\/+$/, '')
    this.#logger = options.logger
  }

  async tables(): Promise<string[]> {
    const names = new Set<string>()
    for (const { key } of await this.#store.list('')) {
      const match = /^([^/]+)\/metadata\/v\d+\.metadata\.json$/.exec(key)
      if (match !== null) names.add(match[1]!)
    }
    return [...names].toSorted()
  }

  async load(name: string): Promise<LoadedTable | undefined> {
    const newest = (await this.#followHint(name)) ?? (await this.#findByListing(name))
    if (newest === undefined) return undefined
    const metadata = parseMetadata(newest.body.toString('utf8'), versionKey(name, newest.number))
    return { name, version: newest.number, metadata }
  }

  async create(name: string, metadata: TableMetadata): Promise<LoadedTable> {
    const located = { ...metadata, location: `${this.#rootLocation}/${name}` }
    const isNew = (await this.#findByListing(name)) === undefined
    if (!isNew || !(await this.#store.putIfAbsent(versionKey(name, 1), bodyOf(located)))) {
      throw new FreshetError('commit_conflict', `The table ${name} exists already.`, {
        hint: 'Load it and commit to it.',
      })
    }
    await this.#writeHint(name, 1)
    return { name, version: 1, metadata: located }
  }

  async commit(base: LoadedTable, next: TableMetadata): Promise<LoadedTable> {
    const { name, version } = base
    const previous = `${base.metadata.location}/metadata/v${version}.metadata.json`
    const metadata = withPrevious(next, previous, base.metadata)
    const key = versionKey(name, version + 1)
    if (version > versionsKept) await this.#store.delete([versionKey(name, version - versionsKept)])
    if (!(await this.#store.putIfAbsent(key, bodyOf(metadata)))) throw conflict(base)
    if (!(await this.#exists(name, version))) {
      await this.#store.delete([key])
      throw conflict(base)
    }
    await this.#writeHint(name, version + 1)
    return { name, version: version + 1, metadata }
  }

  async #followHint(name: string): Promise<Version | undefined> {
    const text = (await this.#store.get(hintKey(name)))?.toString('utf8').trim()
    if (text === undefined || !/^[1-9]\d{0,14}$/.test(text)) return undefined
    const hinted = Number(text)
    const body = await this.#store.get(versionKey(name, hinted))
    if (body === undefined || (hinted > 1 && !(await this.#exists(name, hinted - 1)))) return undefined
    return this.#lookForward(name, { number: hinted, body })
  }

  async #findByListing(name: string): Promise<Version | undefined> {
    for (;;) {
      let highest = 0
      for (const { key } of await this.#store.list(`${name}/metadata/v`)) {
        const match = /\/v([1-9]\d*)\.metadata\.json$/.exec(key)
        if (match !== null) highest = Math.max(highest, Number(match[1]))
      }
      if (highest === 0) return undefined
      const body = await this.#store.get(versionKey(name, highest))
      // Gone in between: more than a hundred commits were made since the listing.
      const newest = body && (await this.#lookForward(name, { number: highest, body }))
      if (newest !== undefined) return newest
    }
  }

  /** The newest version at or after one; undefined when it is not within a few steps. */
  async #lookForward(name: string, from: Version): Promise<Version | undefined> {
    let newest = from
    for (let step = 0; step < stepsMax; step++) {
      const body = await this.#store.get(versionKey(name, newest.number + 1))
      if (body === undefined) return newest
      newest = { number: newest.number + 1, body }
    }
    return undefined
  }

  async #exists(name: string, version: number): Promise<boolean> {
    return (await this.#store.get(versionKey(name, version), { start: 0, end: 1 })) !== undefined
  }

  /** The commit is made by now, whatever becomes of the hint. */
  async #writeHint(name: string, version: number): Promise<void> {
    try {
      await this.#store.put(hintKey(name), Buffer.from(String(version)))
    } catch (error) {
      this.#logger.warn(
        { err: error, table: name, version },
        'the version hint could not be written; loading the table takes a listing',
      )
    }
  }
}

function versionKey(name: string, version: number): string {
  return `${name}/metadata/v${version}.metadata.json`
}

function hintKey(name: string): string {
  return `${name}/metadata/version-hint.text`
}

function bodyOf(metadata: TableMetadata): Buffer {
  return Buffer.from(serializeMetadata(metadata), 'utf8')
}

function conflict(base: LoadedTable): FreshetError {
  return new FreshetError(
    'commit_conflict',
    `Another writer committed version ${base.version + 1} of the table ${base.name} first.`,
    {
      hint: 'Load the table again and commit on top of that.',
    },
  )
}
