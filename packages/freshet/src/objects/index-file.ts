/**
 * The SQLite file of the index of objects (object-index.ts), with commits that become durable without holding the event loop up.
 *
 * It is opened when it is first needed, by the gateway's process alone, with a write-ahead log and `synchronous = NORMAL`: a commit appends to
 * the log and syncs nothing (sqlite.org/wal.html, "Performance Considerations"). `durable` then syncs the log by the
 * FileSystem, in a thread of the pool; those that wait at the same time share a sync. SQLite itself syncs only when it moves the log
 * into the database, the log first.
 *
 * A crash loses commits whose `durable` had not resolved: all that come after one that is lost are lost with it. When a sync fails the
 * file is closed; opening it again moves all that can be seen into the database, synced, before anybody sees it.
 */
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { FileHandle, FileSystem } from '../runtime/file-system.ts'
import { indexSchema } from './index-schema.ts'

/** The version of the tables; a change that old builds would misread raises it. */
const format = 1
/** Written into the file's header ("Frso"), so that a file of something else is not taken for ours. */
const applicationId = 0x4672736f

interface Open {
  database: DatabaseSync
  log: FileHandle
}

export class IndexFile {
  readonly #path: string
  readonly #fileSystem: FileSystem
  #open: Promise<Open> | undefined
  /** Changes so far, and how many of them are known to be durable. */
  #changes = 0
  #durableChanges = 0
  #syncing: Promise<void> | undefined
  #nextSync: Promise<void> | undefined

  constructor(path: string, fileSystem: FileSystem) {
    this.#path = path
    this.#fileSystem = fileSystem
  }

  /**
   * Reads; the changes that it sees are durable when it resolves.
   * @throws FreshetError `objects_unavailable`; the next call tries again
   */
  async read<T>(work: (database: DatabaseSync) => T): Promise<T> {
    const result = await this.#use(work)
    if (this.#durableChanges < this.#changes) await this.durable()
    return result
  }

  /** Runs `work` in a transaction; durable when it resolves. @throws FreshetError `objects_unavailable` */
  async change<T>(work: (database: DatabaseSync) => T): Promise<T> {
    const result = await this.#use((database) => {
      const made = commit(database, work)
      this.#changes++
      return made
    })
    await this.durable()
    return result
  }

  /**
   * Runs `work` in a transaction that a crash may undo, and that readers may see before it is durable.
   * @throws FreshetError `objects_unavailable`
   */
  note<T>(work: (database: DatabaseSync) => T): Promise<T> {
    return this.#use((database) => commit(database, work))
  }

  /** Resolves when all that was committed before the call is durable. */
  durable(): Promise<void> {
    if (this.#syncing === undefined) return this.#sync()
    // The sync under way may have begun before the commit.
    return (this.#nextSync ??= this.#syncing
      .catch(() => undefined)
      .then(() => {
        this.#nextSync = undefined
        return this.#sync()
      }))
  }

  async close(): Promise<void> {
    const open = await this.#open?.catch(() => undefined)
    this.#open = undefined
    await open?.log.close()
    open?.database.close()
  }

  #sync(): Promise<void> {
    const run = async (): Promise<void> => {
      const open = await this.#opened()
      const changes = this.#changes
      try {
        await open.log.sync()
        this.#durableChanges = changes
      } catch (error) {
        await this.close()
        throw unavailable(this.#path, error)
      } finally {
        this.#syncing = undefined
      }
    }
    return (this.#syncing = run())
  }

  async #use<T>(work: (database: DatabaseSync) => T): Promise<T> {
    const { database } = await this.#opened()
    try {
      return work(database)
    } catch (error) {
      if (error instanceof FreshetError) throw error
      await this.close()
      throw unavailable(this.#path, error)
    }
  }

  #opened(): Promise<Open> {
    this.#open ??= this.#openFile().catch((error: unknown) => {
      this.#open = undefined
      throw error instanceof FreshetError ? error : unavailable(this.#path, error)
    })
    return this.#open
  }

  async #openFile(): Promise<Open> {
    await this.#fileSystem.makeDir(dirname(this.#path))
    const database = new DatabaseSync(this.#path, { timeout: 1000 })
    try {
      // What is forgotten is overwritten: keys and metadata can be what somebody wanted gone.
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON')
      prepare(database, this.#path)
      // What is in the log may never have been synced: now it is, before anybody is told of it.
      database.exec('PRAGMA wal_checkpoint(TRUNCATE); PRAGMA synchronous = NORMAL')
      // Makes the log, so that its name can be made durable, once.
      database.exec("INSERT OR REPLACE INTO note (name, value) VALUES ('opened', 1)")
      const log = await this.#fileSystem.open(`${this.#path}-wal`, 'write')
      await log.sync()
      await this.#fileSystem.syncDir(dirname(this.#path))
      return { database, log }
    } catch (error) {
      database.close()
      throw error
    }
  }
}

function commit<T>(database: DatabaseSync, work: (database: DatabaseSync) => T): T {
  database.exec('BEGIN IMMEDIATE')
  try {
    const result = work(database)
    database.exec('COMMIT')
    return result
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/** Checks the file, and fills a new one. */
function prepare(database: DatabaseSync, path: string): void {
  const version = pragma(database, 'user_version')
  if (version === 0 && database.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined) {
    const header = `PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${format};`
    database.exec(`BEGIN IMMEDIATE; ${indexSchema} ${header} COMMIT`)
    return
  }
  checkIndex(database, path)
}

/**
 * Looks whether a file is an index that this version can read, and is sound as far as a short look shows.
 * @throws FreshetError `objects_unavailable` for a newer one; Error for other faults
 */
export function checkIndex(database: DatabaseSync, path: string): void {
  if (pragma(database, 'application_id') !== applicationId) throw new Error('it is not an index of objects')
  const version = pragma(database, 'user_version')
  if (version > format) {
    throw new FreshetError(
      'objects_unavailable',
      `The index of objects ${path} has format ${version}; this version reads up to format ${format}.`,
      { hint: 'Use the version of Freshet that wrote it, or a newer one. Events are taken meanwhile.' },
    )
  }
  const [problem] = Object.values(database.prepare('PRAGMA quick_check(1)').get() ?? {})
  if (problem !== 'ok') throw new Error(String(problem))
}

function pragma(database: DatabaseSync, name: 'user_version' | 'application_id'): number {
  return Number(Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0])
}

function unavailable(path: string, cause: unknown): FreshetError {
  return new FreshetError('objects_unavailable', `The index of objects ${path} cannot be used: ${messageOf(cause)}.`, {
    hint: 'If it is damaged, restore it from a copy. The objects themselves are beside it, and events are taken meanwhile.',
    cause,
  })
}
