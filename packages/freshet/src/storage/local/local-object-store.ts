import { dirname, join } from 'node:path'
import { FreshetError, systemCodeOf } from '../../runtime/errors.ts'
import type { FileSystem, FolderEntry } from '../../runtime/file-system.ts'
import type { Random } from '../../runtime/random.ts'
import type { ObjectBody, ObjectStore, StoredObject } from '../object-store.ts'

/**
 * Objects as files below one folder, the key being the path.
 *
 * A file appears under its key only when its bytes are durable: they go to a temporary file beside it (`.tmp-...`), which is
 * synced and then renamed (`put`) or linked (`putIfAbsent`: of all callers, link lets one through) into place; the folder is
 * synced last. A crash leaves at most a temporary file, which no listing shows.
 */
export interface LocalObjectStoreOptions {
  /** Absolute path of the folder; made when something is stored. */
  root: string
  fileSystem: FileSystem
  random: Random
}

/** What the names of files begin with that are not in place yet. */
export const temporaryPrefix = '.tmp-'
const missingCodes: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ENOTDIR', 'EISDIR'])

export class LocalObjectStore implements ObjectStore {
  readonly #root: string
  readonly #fileSystem: FileSystem
  readonly #random: Random
  /** Folders known to be durable. */
  readonly #folders = new Set<string>()

  constructor(options: LocalObjectStoreOptions) {
    this.#root = options.root
    this.#fileSystem = options.fileSystem
    this.#random = options.random
  }

  async get(key: string, range?: { start: number; end: number }): Promise<Buffer | undefined> {
    const path = this.#pathOf(key)
    try {
      if (range === undefined) return await this.#fileSystem.readFile(path)
      const file = await this.#fileSystem.open(path, 'read')
      try {
        return await file.read(range.start, Math.max(0, range.end - range.start))
      } finally {
        await file.close()
      }
    } catch (error) {
      if (missingCodes.has(systemCodeOf(error))) return undefined
      throw error
    }
  }

  async put(key: string, body: ObjectBody): Promise<void> {
    const path = this.#pathOf(key)
    await this.#makeFolder(dirname(path))
    if ('file' in body) {
      await this.#syncFile(body.file)
      await this.#fileSystem.rename(body.file, path)
      await this.#fileSystem.syncDir(dirname(path))
      if (dirname(body.file) !== dirname(path)) await this.#fileSystem.syncDir(dirname(body.file))
      return
    }
    await this.#withTemporary(path, body, (temporary) => this.#fileSystem.rename(temporary, path))
    await this.#fileSystem.syncDir(dirname(path))
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    const path = this.#pathOf(key)
    await this.#makeFolder(dirname(path))
    try {
      await this.#withTemporary(path, body, async (temporary) => {
        await this.#fileSystem.link(temporary, path)
        await this.#fileSystem.syncDir(dirname(path))
      })
      return true
    } catch (error) {
      if (systemCodeOf(error) !== 'EEXIST') throw error
      // Its writer may not have got round to this: what is said to be taken must stay so.
      await this.#fileSystem.syncDir(dirname(path))
      return false
    }
  }

  async list(prefix: string): Promise<StoredObject[]> {
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1)
    if (folder !== '') this.#pathOf(folder.slice(0, -1))
    const found: StoredObject[] = []
    await this.#listInto(found, folder, prefix)
    return found.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  }

  async delete(keys: readonly string[]): Promise<void> {
    const paths = keys.map((key) => this.#pathOf(key))
    const folders = new Set<string>()
    for (const path of paths) {
      try {
        await this.#fileSystem.remove(path)
        folders.add(dirname(path))
      } catch (error) {
        if (!missingCodes.has(systemCodeOf(error))) throw error
      }
    }
    for (const folder of folders) {
      try {
        await this.#fileSystem.syncDir(folder)
      } catch (error) {
        if (!missingCodes.has(systemCodeOf(error))) throw error
      }
    }
  }

  async #listInto(found: StoredObject[], folder: string, prefix: string): Promise<void> {
    for (const entry of await this.#entriesOf(join(this.#root, folder))) {
      const key = `${folder}${entry.name}`
      if (entry.name.startsWith(temporaryPrefix)) continue
      if (entry.folder) {
        if (`${key}/`.startsWith(prefix) || prefix.startsWith(`${key}/`)) await this.#listInto(found, `${key}/`, prefix)
      } else if (key.startsWith(prefix)) {
        found.push({ key, bytes: entry.bytes, modifiedMs: entry.modifiedMs })
      }
    }
  }

  async #entriesOf(folder: string): Promise<FolderEntry[]> {
    try {
      return await this.#fileSystem.readEntries(folder)
    } catch (error) {
      if (missingCodes.has(systemCodeOf(error))) return []
      throw error
    }
  }

  async #withTemporary(path: string, body: Uint8Array, place: (temporary: string) => Promise<void>): Promise<void> {
    const temporary = join(dirname(path), `${temporaryPrefix}${this.#random.hex(12)}`)
    try {
      const file = await this.#fileSystem.open(temporary, 'create')
      try {
        await file.write([body], 0)
        await file.sync()
      } finally {
        await file.close()
      }
      await place(temporary)
    } finally {
      await this.#fileSystem.remove(temporary).catch(() => undefined)
    }
  }

  async #syncFile(path: string): Promise<void> {
    const file = await this.#fileSystem.open(path, 'write')
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }

  /** Makes a folder durable up to the root, also when a process that died had made it and not got round to syncing it. */
  async #makeFolder(folder: string): Promise<void> {
    if (this.#folders.has(folder)) return
    if (folder !== this.#root) await this.#makeFolder(dirname(folder))
    await this.#fileSystem.makeDir(folder)
    await this.#fileSystem.syncDir(dirname(folder))
    this.#folders.add(folder)
  }

  #pathOf(key: string): string {
    const parts = key.split('/')
    const wrong = parts.find(
      (part) => part === '' || part === '.' || part === '..' || part.startsWith(temporaryPrefix) || /[\0\\]/.test(part),
    )
    if (wrong !== undefined) {
      throw new FreshetError(
        'internal',
        `The object key ${JSON.stringify(key)} has the part ${JSON.stringify(wrong)}, which keys must not have.`,
      )
    }
    return join(this.#root, ...parts)
  }
}
