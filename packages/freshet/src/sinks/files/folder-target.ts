/**
 * Files in a folder. A part lies hidden beside its place, and gets there by a rename: so one that is still there is to be renamed, and one that
 * is not was renamed before, even if the file has been taken away since. A marker has a part of its own.
 */
import { basename, dirname, join } from 'node:path'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { FileContent } from './content.ts'
import { writeWhole, type StagedFile } from './state.ts'
import { markerText, numberedPath, type FilesTarget, type PlacedFile, type PlannedFile } from './target.ts'

export interface FolderTargetOptions {
  fileSystem: FileSystem
  folder: string
  content: FileContent
  /** What names of parts begin with; with a dot in front. */
  hidden: string
  /** What the name of a done-marker ends in; empty for none. */
  marker: string
}

export class FolderTarget implements FilesTarget {
  readonly pathBytesMax = Number.POSITIVE_INFINITY
  readonly #options: FolderTargetOptions

  constructor(options: FolderTargetOptions) {
    this.#options = options
  }

  async place(files: readonly PlannedFile[], sequence: number): Promise<PlacedFile[]> {
    const { hidden, marker } = this.#options
    const placed: PlacedFile[] = []
    const names = this.#names()
    for (const [index, { path: wanted, events }] of files.entries()) {
      const path = freePath(await names.of(dirname(wanted)), wanted)
      const part = join(dirname(path), `${hidden}${sequence}-${index}.part`)
      const staged = [{ part, path }]
      if (marker !== '') staged.push({ part: `${part}${marker}`, path: `${path}${marker}` })
      placed.push({ path, events, staged })
    }
    return placed
  }

  async writeParts(placed: readonly PlacedFile[], sequence: number): Promise<void> {
    const { fileSystem, folder, content } = this.#options
    for (const { path, events, staged } of placed) {
      const [file, marker] = staged
      const part = join(folder, file!.part)
      await fileSystem.makeDir(dirname(part))
      await content.write(events, part, { name: path, sequence })
      if (marker === undefined) continue
      const text = markerText({ path, events: events.length, bytes: await fileSystem.readFile(part) })
      await writeWhole(fileSystem, join(folder, marker.part), text)
    }
    await this.#syncFolders(placed.flatMap(({ staged }) => staged))
  }

  async removeParts(staged: readonly StagedFile[]): Promise<void> {
    const { fileSystem, folder } = this.#options
    for (const { part } of staged) await fileSystem.remove(join(folder, part))
  }

  async putInPlace(staged: readonly StagedFile[]): Promise<void> {
    const { fileSystem, folder } = this.#options
    const names = this.#names()
    for (const { part, path } of staged) {
      if (!(await names.of(dirname(part))).has(basename(part))) continue
      await fileSystem.rename(join(folder, part), join(folder, path))
    }
    await this.#syncFolders(staged)
  }

  async close(): Promise<void> {
    await Promise.resolve()
  }

  #names(): FolderNames {
    return new FolderNames(this.#options.fileSystem, this.#options.folder)
  }

  async #syncFolders(staged: readonly StagedFile[]): Promise<void> {
    const { fileSystem, folder } = this.#options
    for (const path of new Set(staged.map(({ part }) => join(folder, dirname(part))))) await fileSystem.syncDir(path)
  }
}

/** The path itself, or with the first number that is free: no file is ever replaced. It is added to the names. */
function freePath(names: Set<string>, path: string): string {
  for (let number = 1; ; number++) {
    const tried = numberedPath(path, number)
    if (names.has(basename(tried))) continue
    names.add(basename(tried))
    return tried
  }
}

/** The names in folders below a folder, each read once. */
class FolderNames {
  readonly #fileSystem: FileSystem
  readonly #folder: string
  readonly #known = new Map<string, Set<string>>()

  constructor(fileSystem: FileSystem, folder: string) {
    this.#fileSystem = fileSystem
    this.#folder = folder
  }

  async of(path: string): Promise<Set<string>> {
    const names = this.#known.get(path) ?? new Set(await this.#fileSystem.readDir(join(this.#folder, path)))
    this.#known.set(path, names)
    return names
  }
}
