/**
 * A disk in memory that fails as disks do, and processes that die on it, all repeatable from a seed.
 *
 * `disk.process()` is a FileSystem for one process. `kill()` ends it (kill -9: what it wrote stays in the operating system's
 * cache); `disk.powerCut()` ends them all, and of everything that was not synced a random part is lost: sectors of writes,
 * truncations, and names (creations, renames, removals) in folders that were not synced. A process that has ended changes nothing
 * any more: each of its calls fails with ProcessEnded, or never returns if the disk's `manners` say so. An `interfere` function may
 * end a process or fail a call at any step.
 */
import { dirname, join } from 'node:path'
import type { FileHandle, FileSystem, FolderEntry } from '../../src/runtime/file-system.ts'
import type { Random } from '../../src/runtime/random.ts'
import { SimulatedFile } from './simulated-file.ts'
import { SimulatedFolder, type Entry } from './simulated-folder.ts'

export type Call =
  | 'open'
  | 'readFile'
  | 'readDir'
  | 'makeDir'
  | 'rename'
  | 'link'
  | 'remove'
  | 'syncDir'
  | 'write'
  | 'read'
  | 'sync'
  | 'truncate'
  | 'put'
  | 'list'

/**
 * What befalls a call: the process dies before it, after it, or half way (a write is cut short, folders are made but not synced);
 * or it fails with a system code, a write perhaps after it took some bytes. Other calls go half way by doing nothing.
 */
export type Fate = 'goes on' | 'dies before' | 'dies within' | 'dies after' | { fails: string }

/** Decides the fate of a call. `path` is the file's, the folder's, or what a rename gives a new name to. */
export type Interfere = (call: Call, path: string) => Fate

class ProcessEnded extends Error {}

/** How calls wait for their turn, and what becomes of those of a process that has ended. */
export interface Manners {
  /** Resolves when the call may go on. */
  wait(process: SimulatedProcess, call: Call, path: string): Promise<void>
  /** What a call of an ended process comes to. */
  ended(): Promise<never>
}

/** Calls take a random number of turns of the event loop, and an ended process's fail. */
function hastyManners(random: Random): Manners {
  return {
    wait: async () => {
      for (let turns = random.integer(3); turns > 0; turns--) await new Promise(setImmediate)
      await Promise.resolve()
    },
    ended: () => Promise.reject(new ProcessEnded()),
  }
}

function systemError(code: string, call: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${call} '${path}'`), { code })
}

export class SimulatedDisk {
  readonly random: Random
  readonly manners: Manners
  /** Bytes that files may hold in all. */
  capacityBytes = Number.POSITIVE_INFINITY
  /** What its files are dated by. */
  nowMs: () => number = () => 0
  #root = new SimulatedFolder()
  #processes = new Set<SimulatedProcess>()

  constructor(random: Random, manners = hastyManners(random)) {
    this.random = random
    this.manners = manners
  }

  process(interfere: Interfere = () => 'goes on'): SimulatedProcess {
    const started = new SimulatedProcess(this, interfere)
    this.#processes.add(started)
    return started
  }

  powerCut(): void {
    for (const process of this.#processes) process.kill()
    this.#processes.clear()
    this.#root.losePower(this.random)
  }

  entry(path: string): Entry | undefined {
    let entry: Entry | undefined = this.#root
    for (const name of path.split('/')) {
      if (name !== '') entry = entry instanceof SimulatedFolder ? entry.entries.get(name) : undefined
    }
    return entry
  }

  /** The file that would be left at `path` if power failed now and nothing that was not synced had reached the disk. */
  durable(path: string): SimulatedFile | SimulatedFolder | undefined {
    let entry: Entry | undefined = this.#root
    for (const name of path.split('/')) {
      if (name !== '') entry = entry instanceof SimulatedFolder ? entry.durable.get(name) : undefined
    }
    return entry
  }

  folder(path: string): SimulatedFolder {
    const entry = this.entry(path)
    if (entry instanceof SimulatedFolder) return entry
    throw systemError(entry ? 'ENOTDIR' : 'ENOENT', 'folder', path)
  }

  file(path: string): SimulatedFile {
    const entry = this.entry(path)
    if (entry instanceof SimulatedFile) return entry
    throw systemError(entry ? 'EISDIR' : 'ENOENT', 'file', path)
  }

  freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.usedBytes)
  }

  /** Bytes that all files hold. */
  get usedBytes(): number {
    const size = (entry: Entry): number =>
      entry instanceof SimulatedFile
        ? entry.length
        : [...entry.entries.values()].reduce((sum, inner) => sum + size(inner), 0)
    return size(this.#root)
  }

  /** Removes a file or a folder with all in it, durably. */
  delete(path: string): void {
    this.folder(dirname(path)).change(new Map([[path.slice(path.lastIndexOf('/') + 1), undefined]]))
    this.folder(dirname(path)).sync()
  }

  /** Tells who watches a folder that an entry of it changed. */
  changed(path: string): void {
    for (const process of this.#processes) process.notice(path)
  }
}

export class SimulatedProcess implements FileSystem {
  readonly #disk: SimulatedDisk
  #interfere: Interfere
  #watches = new Set<{ path: string; onChange: (name: string) => void }>()
  #ended = false
  openFiles = 0

  constructor(disk: SimulatedDisk, interfere: Interfere) {
    this.#disk = disk
    this.#interfere = interfere
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Replaces what befalls calls from now on. */
  interfere(interfere: Interfere): void {
    this.#interfere = interfere
  }

  kill(): void {
    this.#ended = true
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<FileHandle> {
    return this.step('open', path, () => {
      if (mode === 'create' && this.#disk.entry(path) === undefined) this.#name(path, new SimulatedFile())
      const handle = new SimulatedHandle(this, this.#disk, path, this.#disk.file(path))
      this.openFiles++
      return handle
    })
  }

  async readFile(path: string): Promise<Buffer> {
    return this.step('readFile', path, () => {
      const file = this.#disk.file(path)
      return file.read(0, file.length)
    })
  }

  readNow(path: string): Buffer | undefined {
    if (this.#ended) throw new ProcessEnded()
    const entry = this.#disk.entry(path)
    return entry instanceof SimulatedFile ? entry.read(0, entry.length) : undefined
  }

  async readDir(path: string): Promise<string[]> {
    return this.step('readDir', path, () =>
      this.#disk.entry(path) === undefined ? [] : [...this.#disk.folder(path).entries.keys()].toSorted(),
    )
  }

  async readEntries(path: string): Promise<FolderEntry[]> {
    const names = await this.readDir(path)
    return names.map((name) => {
      const entry = this.#disk.entry(join(path, name))
      return {
        name,
        folder: entry instanceof SimulatedFolder,
        bytes: entry instanceof SimulatedFile ? entry.length : 0,
        modifiedMs: entry instanceof SimulatedFile ? entry.modifiedMs : 0,
      }
    })
  }

  async makeDir(path: string): Promise<void> {
    const missing: string[] = []
    for (let at = path; this.#disk.entry(at) === undefined; at = dirname(at)) missing.unshift(at)
    const make = (): void => missing.forEach((folder) => this.#name(folder, new SimulatedFolder()))
    const sync = (): void => missing.forEach((folder) => this.#disk.folder(dirname(folder)).sync())
    await this.step(
      'makeDir',
      path,
      () => {
        make()
        sync()
      },
      make,
    )
  }

  async rename(from: string, to: string): Promise<void> {
    await this.step('rename', from, () => {
      const file = this.#disk.file(from)
      if (dirname(from) !== dirname(to)) {
        this.#name(to, file)
        this.#name(from, undefined)
        return
      }
      const change = new Map([
        [nameOf(from), undefined],
        [nameOf(to), file],
      ])
      file.modifiedMs = this.#disk.nowMs()
      this.#disk.folder(dirname(to)).change(change)
    })
  }

  async link(from: string, to: string): Promise<void> {
    await this.step('link', from, () => {
      if (this.#disk.entry(to) !== undefined) throw systemError('EEXIST', 'link', to)
      this.#name(to, this.#disk.file(from))
    })
  }

  async remove(path: string): Promise<void> {
    await this.step('remove', path, () => {
      if (this.#disk.entry(path) !== undefined) this.#name(path, undefined)
    })
  }

  async syncDir(path: string): Promise<void> {
    await this.step('syncDir', path, () => this.#disk.folder(path).sync())
  }

  async freeBytes(): Promise<number> {
    return this.#disk.freeBytes()
  }

  watch(path: string, onChange: (name: string) => void): () => void {
    const watching = { path, onChange }
    this.#watches.add(watching)
    return () => this.#watches.delete(watching)
  }

  notice(path: string): void {
    if (this.#ended) return
    for (const { path: folder, onChange } of this.#watches) {
      if (dirname(path) === folder) setImmediate(() => onChange(nameOf(path)))
    }
  }

  /** Carries a call out at some later moment, subject to `interfere`; `partly` is what a process that dies within it has done. */
  async step<Result>(call: Call, path: string, act: () => Result, partly?: (fails: boolean) => void): Promise<Result> {
    await this.#disk.manners.wait(this, call, path)
    if (this.#ended) return this.#disk.manners.ended()
    const fate = this.#interfere(call, path)
    if (typeof fate === 'object') {
      partly?.(true)
      throw systemError(fate.fails, call, path)
    }
    if (fate === 'dies within') partly?.(false)
    const result = fate === 'goes on' || fate === 'dies after' ? act() : undefined
    if (fate !== 'goes on') {
      this.kill()
      return this.#disk.manners.ended()
    }
    return result as Result
  }

  #name(path: string, entry: Entry | undefined): void {
    if (entry instanceof SimulatedFile) entry.modifiedMs = this.#disk.nowMs()
    this.#disk.folder(dirname(path)).change(new Map([[nameOf(path), entry]]))
  }
}

class SimulatedHandle implements FileHandle {
  readonly #process: SimulatedProcess
  readonly #disk: SimulatedDisk
  readonly #path: string
  readonly #file: SimulatedFile
  #open = true

  constructor(process: SimulatedProcess, disk: SimulatedDisk, path: string, file: SimulatedFile) {
    this.#process = process
    this.#disk = disk
    this.#path = path
    this.#file = file
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    const bytes = Buffer.concat(buffers)
    const some = (): void => this.#file.write(position, bytes.subarray(0, this.#disk.random.integer(bytes.length + 1)))
    await this.#step(
      'write',
      () => {
        const room = this.#file.length - position + this.#disk.freeBytes()
        if (bytes.length > room) {
          this.#file.write(position, bytes.subarray(0, Math.max(0, room)))
          throw systemError('ENOSPC', 'write', this.#path)
        }
        this.#file.write(position, bytes)
        this.#file.modifiedMs = this.#disk.nowMs()
        this.#disk.changed(this.#path)
      },
      some,
    )
  }

  read(position: number, length: number): Promise<Buffer> {
    return this.#step('read', () => this.#file.read(position, position + length))
  }

  async size(): Promise<number> {
    return this.#file.length
  }

  sync(): Promise<void> {
    return this.#step(
      'sync',
      () => this.#file.sync(),
      (fails) => {
        if (fails) this.#file.failSync(this.#disk.random)
      },
    )
  }

  truncate(length: number): Promise<void> {
    return this.#step('truncate', () => this.#file.truncate(length))
  }

  async close(): Promise<void> {
    if (!this.#open) throw systemError('EBADF', 'close', this.#path)
    this.#open = false
    this.#process.openFiles--
  }

  #step<Result>(call: Call, act: () => Result, partly?: (fails: boolean) => void): Promise<Result> {
    return this.#process.step(
      call,
      this.#path,
      () => {
        if (!this.#open) throw systemError('EBADF', call, this.#path)
        return act()
      },
      partly,
    )
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
