/**
 * Puts the files of a cut segment into place, each whole or not at all, and each once, also when somebody takes them away at once.
 *
 * 1. The state names the files that will be: for each the part that is written, hidden beside its place, and the place.
 * 2. The parts are written and synced, then their folders.
 * 3. The state says that they are whole.
 * 4. Each part is renamed to its place, a marker behind the file it marks, and the folders are synced.
 * 5. The state says that the segment is done; its spool is removed.
 *
 * A crash before 3 leaves parts, which are removed and written again. From 3 on nothing is written again: a part that is still
 * there is renamed, and one that is not was renamed before. After 5 at most a spool is left, which nothing names.
 */
import { createHash } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { SinkEvent } from '../sink.ts'
import type { FileContent } from './content.ts'
import { writeWhole, type StagedFile } from './state.ts'

/** A file that is to be: its place below the folder, and what is in it. */
export interface PlannedFile {
  path: string
  events: readonly SinkEvent[]
}

/** A file whose place is free, and the parts that are written for it. */
export interface PlacedFile extends PlannedFile {
  part: StagedFile
  marker: StagedFile | undefined
}

/** Where the files go, and the parts that they are first. @param marker what the name of a done-marker ends in; empty for none */
export async function placeFiles(
  fileSystem: FileSystem,
  folder: string,
  { files, prefix, marker }: { files: readonly PlannedFile[]; prefix: string; marker: string },
): Promise<PlacedFile[]> {
  const placed: PlacedFile[] = []
  const names = new FolderNames(fileSystem, folder)
  for (const [index, { path: wanted, events }] of files.entries()) {
    const path = freePath(await names.of(dirname(wanted)), wanted)
    const part = join(dirname(path), `${prefix}${index}.part`)
    placed.push({
      path,
      events,
      part: { part, path },
      marker: marker === '' ? undefined : { part: `${part}${marker}`, path: `${path}${marker}` },
    })
  }
  return placed
}

/** What the state has to know of them. */
export function stagedOf(placed: readonly PlacedFile[]): StagedFile[] {
  return placed.flatMap(({ part, marker }) => (marker === undefined ? [part] : [part, marker]))
}

/** The path itself, or with `-2`, `-3` and so on before its ending: no file is ever replaced. It is added to the names. */
function freePath(names: Set<string>, path: string): string {
  const name = basename(path)
  const dot = name.indexOf('.')
  for (let number = 1; ; number++) {
    const tried =
      number === 1 ? name : dot < 0 ? `${name}-${number}` : `${name.slice(0, dot)}-${number}${name.slice(dot)}`
    if (names.has(tried)) continue
    names.add(tried)
    return join(dirname(path), tried)
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

/** Writes the parts. */
export async function writeParts(
  { fileSystem, folder, content }: { fileSystem: FileSystem; folder: string; content: FileContent },
  placed: readonly PlacedFile[],
  sequence: number,
): Promise<void> {
  for (const { path, events, part, marker } of placed) {
    const partPath = join(folder, part.part)
    await fileSystem.makeDir(dirname(partPath))
    await content.write(events, partPath, { name: path, sequence })
    if (marker === undefined) continue
    const bytes = await fileSystem.readFile(partPath)
    // A marker says what it marks, so that a reader can check it.
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const text = JSON.stringify({ file: basename(path), bytes: bytes.length, events: events.length, sha256 })
    await writeWhole(fileSystem, join(folder, marker.part), Buffer.from(`${text}\n`))
  }
  await syncFolders(fileSystem, folder, stagedOf(placed))
}

/** Renames the parts that are still there, in order. */
export async function putInPlace(fileSystem: FileSystem, folder: string, staged: readonly StagedFile[]): Promise<void> {
  const names = new FolderNames(fileSystem, folder)
  for (const { part, path } of staged) {
    if (!(await names.of(dirname(part))).has(basename(part))) continue
    await fileSystem.rename(join(folder, part), join(folder, path))
  }
  await syncFolders(fileSystem, folder, staged)
}

export async function removeParts(
  fileSystem: FileSystem,
  folder: string,
  staged: readonly StagedFile[],
): Promise<void> {
  for (const { part } of staged) await fileSystem.remove(join(folder, part))
}

async function syncFolders(fileSystem: FileSystem, folder: string, staged: readonly StagedFile[]): Promise<void> {
  for (const path of new Set(staged.map(({ part }) => join(folder, dirname(part))))) await fileSystem.syncDir(path)
}
