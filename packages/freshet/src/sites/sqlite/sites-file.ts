/**
 * The SQLite file behind the site registry: opened when it is first needed, checked, and opened anew when it was replaced.
 *
 * It has one writer, the gateway's process; the engine's process reads it. A rollback journal (no write-ahead log) keeps it one
 * file that any process can open at any time, and with `synchronous = EXTRA` a transaction that has returned survives a power
 * cut: the journal's removal, which is what commits, is synced too. A crash in the middle of a write leaves a journal that whoever
 * opens the file next rolls back, so that a change is there as a whole or not at all.
 */
import { statSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { DatabaseSync } from 'node:sqlite'
import { FreshetError, messageOf, systemCodeOf } from '../../runtime/errors.ts'

/** The version of the tables; a change that old builds would misread raises it. */
const format = 1
/** Written into the file's header ("Frsh"), so that a file of something else is not taken for ours. */
const applicationId = 0x46727368
/** How long to wait while the other process has the file locked: the thread does nothing else meanwhile. */
const busyMsMax = { write: 1000, read: 50 }

const schema = `
  CREATE TABLE site (
    name TEXT PRIMARY KEY,
    streams TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'paused')),
    added_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${format};
`

interface Open {
  database: DatabaseSync
  identity: string
}

export class SitesFile {
  readonly path: string
  readonly #mode: 'write' | 'read'
  #open: Open | undefined

  /** Nothing is opened yet. In `read` mode a file that is not there counts as one without sites, and is not made. */
  constructor(path: string, mode: 'write' | 'read') {
    this.path = path
    this.#mode = mode
  }

  /**
   * Runs `work` on the database; undefined when there is none.
   * @param work gets the database and whether it was just opened
   * @throws FreshetError `sites_unavailable`; the next call tries again
   */
  use<T>(work: (database: DatabaseSync, isNew: boolean) => T): T | undefined {
    try {
      const identity = identityOf(this.path)
      const isNew = this.#open === undefined || this.#open.identity !== identity
      if (isNew) this.#reopen(identity !== undefined)
      return this.#open && work(this.#open.database, isNew)
    } catch (error) {
      if (error instanceof FreshetError && error.code !== 'sites_unavailable') throw error
      this.close()
      throw error instanceof FreshetError ? error : unavailable(this.path, error)
    }
  }

  close(): void {
    this.#open?.database.close()
    this.#open = undefined
  }

  #reopen(exists: boolean): void {
    this.close()
    if (!exists && this.#mode === 'read') return
    // Reading, too, may have to roll a journal back, so it is opened for writing; it is not made, though.
    const url = pathToFileURL(this.path)
    url.searchParams.set('mode', this.#mode === 'write' ? 'rwc' : 'rw')
    const database = new DatabaseSync(url, { timeout: busyMsMax[this.#mode] })
    try {
      if (this.#mode === 'read') database.exec('PRAGMA query_only = 1')
      if (!this.#prepare(database)) {
        database.close()
        return
      }
      this.#open = { database, identity: identityOf(this.path) ?? '' }
    } catch (error) {
      database.close()
      throw error
    }
  }

  /** Checks the file, and fills a new one; false when it is new and not ours to fill. */
  #prepare(database: DatabaseSync): boolean {
    if (this.#mode === 'write') {
      database.exec('PRAGMA journal_mode = DELETE')
      database.exec('PRAGMA synchronous = EXTRA')
    }
    const version = pragma(database, 'user_version')
    if (version === 0 && isEmpty(database)) {
      if (this.#mode === 'read') return false
      transaction(database, () => database.exec(schema))
      return true
    }
    if (pragma(database, 'application_id') !== applicationId) throw new Error('it is not a site registry')
    if (version > format) throw newer(this.path, version)
    const [problem] = Object.values(database.prepare('PRAGMA quick_check(1)').get() ?? {})
    if (problem !== 'ok') throw new Error(String(problem))
    return true
  }
}

/** Runs `work` in a transaction; durable when it returns. */
export function transaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    database.exec('COMMIT')
    return result
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/** A whole number that SQLite keeps with the database or the connection. */
export function pragma(database: DatabaseSync, name: 'user_version' | 'application_id' | 'data_version'): number {
  return Number(Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0])
}

/** SQLite's primary result code 5 (the low byte) is SQLITE_BUSY: another connection holds a lock. */
export function isBusy(error: unknown): boolean {
  return (
    error instanceof Error && 'errcode' in error && typeof error.errcode === 'number' && (error.errcode & 0xff) === 5
  )
}

function isEmpty(database: DatabaseSync): boolean {
  return database.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined
}

/** What tells a file from one that took its place; undefined when there is none. Inodes are used again, so they do not suffice. */
function identityOf(path: string): string | undefined {
  try {
    const { dev, ino, birthtimeNs } = statSync(path, { bigint: true })
    return `${dev} ${ino} ${birthtimeNs}`
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function newer(path: string, version: number): FreshetError {
  return new FreshetError(
    'sites_unavailable',
    `The site registry ${path} has format ${version}; this version reads up to format ${format}.`,
    { hint: 'Use the version of Freshet that wrote it, or a newer one. Events are taken meanwhile.' },
  )
}

function unavailable(path: string, cause: unknown): FreshetError {
  return new FreshetError('sites_unavailable', `The site registry ${path} cannot be used: ${messageOf(cause)}.`, {
    hint: 'If it is damaged, restore it from a copy, or move it away and add the sites again. Events are taken meanwhile.',
    cause,
  })
}
