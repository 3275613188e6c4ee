import { constants, promises, readFileSync, watch } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/** An open file. Offsets and lengths are bytes. */
export interface FileHandle {
  /** Writes all of `buffers` one after another from `position`; resolves when the operating system has them, not the disk. */
  write(buffers: readonly Uint8Array[], position: number): Promise<void>
  /** Reads up to `length` bytes from `position`; shorter at the end of the file. */
  read(position: number, length: number): Promise<Buffer>
  size(): Promise<number>
  /** Makes the file's bytes and length durable. */
  sync(): Promise<void>
  truncate(length: number): Promise<void>
  close(): Promise<void>
}

/** What is in a folder. */
export interface FolderEntry {
  name: string
  folder: boolean
  /** Size of a file. */
  bytes: number
  /** When a file's bytes or names last changed, the later of both; ms since 1970. */
  modifiedMs: number
}

/** The file-system calls that durable code is allowed to make, so that a simulated disk can stand in for a real one. */
export interface FileSystem {
  open(path: string, mode: 'read' | 'write' | 'create'): Promise<FileHandle>
  readFile(path: string): Promise<Buffer>
  /** The bytes of a small file at once, without a turn of the event loop; undefined when it is not there. */
  readNow(path: string): Buffer | undefined
  /** Names in a folder, sorted; empty when the folder does not exist. */
  readDir(path: string): Promise<string[]>
  /** What is in a folder, sorted by name; empty when the folder does not exist. */
  readEntries(path: string): Promise<FolderEntry[]>
  /** Makes a folder and those above it, durably. */
  makeDir(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** A second name for a file; fails with EEXIST when `to` exists. */
  link(from: string, to: string): Promise<void>
  /** Removes a file; one that is not there is no error. */
  remove(path: string): Promise<void>
  /** Makes a folder's entries (creations, renames, removals) durable. */
  syncDir(path: string): Promise<void>
  /** Bytes free for this process on the disk that holds `path`. */
  freeBytes(path: string): Promise<number>
  /**
   * Calls `onChange` with the name of an entry of a folder soon after it changed, until the function it returns is called.
   * Changes may be missed or reported twice, and it does not keep the process running. Throws where it cannot be had.
   */
  watch(path: string, onChange: (name: string) => void): () => void
}

async function writeAll(handle: promises.FileHandle, buffers: readonly Uint8Array[], position: number): Promise<void> {
  let at = position
  let rest = buffers
  while (rest.length > 0) {
    const { bytesWritten } = await handle.writev(rest as Uint8Array[], at)
    at += bytesWritten
    rest = dropBytes(rest, bytesWritten)
  }
}

function dropBytes(buffers: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let left = count
  let index = 0
  while (index < buffers.length && left >= buffers[index]!.byteLength) {
    left -= buffers[index]!.byteLength
    index++
  }
  const rest = buffers.slice(index)
  if (left > 0 && rest[0] !== undefined) rest[0] = rest[0].subarray(left)
  return rest
}

class NodeFile implements FileHandle {
  readonly #handle: promises.FileHandle

  constructor(handle: promises.FileHandle) {
    this.#handle = handle
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    return writeAll(this.#handle, buffers, position)
  }

  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length)
    let filled = 0
    while (filled < length) {
      const { bytesRead } = await this.#handle.read(buffer, filled, length - filled, position + filled)
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return buffer.subarray(0, filled)
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size
  }

  sync(): Promise<void> {
    return this.#handle.datasync()
  }

  truncate(length: number): Promise<void> {
    return this.#handle.truncate(length)
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

const openFlags = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT,
} as const

export const nodeFileSystem: FileSystem = {
  open: async (path, mode) => new NodeFile(await promises.open(path, openFlags[mode], 0o600)),
  readFile: (path) => promises.readFile(path),
  readNow: (path) => {
    try {
      return readFileSync(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  },
  readDir: async (path) => {
    try {
      return (await promises.readdir(path)).toSorted()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
  },
  readEntries: async (path) => {
    const names = await nodeFileSystem.readDir(path)
    const entries = names.map(async (name) => {
      const stats = await promises.stat(join(path, name)).catch(() => undefined)
      if (stats === undefined) return undefined
      const modifiedMs = Math.max(stats.mtimeMs, stats.ctimeMs)
      return { name, folder: stats.isDirectory(), bytes: stats.isDirectory() ? 0 : stats.size, modifiedMs }
    })
    return (await Promise.all(entries)).filter((entry) => entry !== undefined)
  },
  makeDir: async (path) => {
    const created = await promises.mkdir(path, { recursive: true, mode: 0o700 })
    if (created === undefined) return
    const first = resolve(created)
    for (let folder = resolve(path); ; folder = dirname(folder)) {
      await nodeFileSystem.syncDir(dirname(folder))
      if (folder === first || folder === dirname(folder)) break
    }
  },
  rename: (from, to) => promises.rename(from, to),
  link: (from, to) => promises.link(from, to),
  remove: (path) => promises.rm(path, { force: true }),
  syncDir: async (path) => {
    if (process.platform === 'win32') return
    const handle = await promises.open(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
  freeBytes: async (path) => {
    const stats = await promises.statfs(path)
    return stats.bavail * stats.bsize
  },
  watch: (path, onChange) => {
    const watcher = watch(path, { persistent: false }, (_, name) => onChange(name ?? ''))
    watcher.on('error', () => watcher.close())
    return () => watcher.close()
  },
}
