/**
 * Files as objects in a bucket. Parts lie in the sink's own folder. An object carries a mark that the state had before it was put (step 1 of
 * target.ts), and is put only where nothing is. After each file, with its marker, the state is told that it is done; then its part is removed.
 *
 * A crash, or a lost answer, before that note: the file is put again, and what is there with its mark is recognised as itself. If there is
 * something else, somebody took the place meanwhile: another one is found, and noted before anything is put there.
 * A crash behind the note leaves a part that nothing names, removed when the sink is opened.
 *
 * What this cannot do, and a rename in a folder can: when an object is put, but a crash or a lost answer kept that from being noted, and somebody takes it away
 * before the sink has looked again, it is put once more.
 */
import { dirname, join } from 'node:path'
import { FreshetError } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { Random } from '../../runtime/random.ts'
import type { RemoteObjectStore } from '../../storage/object-store.ts'
import type { FileContent } from './content.ts'
import type { StagedFile } from './state.ts'
import { markerText, numberedPath, partsOfName, type FilesTarget, type PlacedFile, type PlannedFile } from './target.ts'

export interface BucketTargetOptions {
  fileSystem: FileSystem
  /** The sink's own folder. */
  folder: string
  store: RemoteObjectStore
  content: FileContent
  /** What the key of a done-marker ends in; empty for none. */
  marker: string
  random: Random
}

export class BucketTarget implements FilesTarget {
  /** A key has at most 1024 bytes; the prefix, `{from}`, `{to}`, a number and a marker's ending come on top. */
  readonly pathBytesMax = 600
  readonly #options: BucketTargetOptions

  constructor(options: BucketTargetOptions) {
    this.#options = options
  }

  async place(files: readonly PlannedFile[], sequence: number): Promise<PlacedFile[]> {
    const { marker, random } = this.#options
    const placed: PlacedFile[] = []
    const chosen = new Set<string>()
    for (const [index, { path: wanted, events }] of files.entries()) {
      const path = await this.#freePath(wanted, { marker, chosen })
      chosen.add(path)
      const object = { mark: random.hex(16), marker, events: events.length }
      placed.push({ path, events, staged: [{ part: `part-${sequence}-${index}`, path, object }] })
    }
    return placed
  }

  async writeParts(placed: readonly PlacedFile[], sequence: number): Promise<void> {
    const { fileSystem, folder, content } = this.#options
    for (const { path, events, staged } of placed) {
      await content.write(events, join(folder, staged[0]!.part), { name: path, sequence })
    }
    await fileSystem.syncDir(folder)
  }

  async removeParts(staged: readonly StagedFile[]): Promise<void> {
    const { fileSystem, folder } = this.#options
    for (const { part } of staged) await fileSystem.remove(join(folder, part))
  }

  async putInPlace(staged: readonly StagedFile[], note: (rest: readonly StagedFile[]) => Promise<void>): Promise<void> {
    const { fileSystem, folder } = this.#options
    const rest = [...staged]
    for (let file = rest[0]; file !== undefined; file = rest[0]) {
      const bytes = await fileSystem.readFile(join(folder, file.part))
      const path = await this.#put(file, bytes)
      if (path === undefined) {
        rest[0] = { ...file, path: await this.#freePath(file.path, { marker: objectOf(file).marker }) }
        await note(rest)
        continue
      }
      rest.shift()
      await note(rest)
      await fileSystem.remove(join(folder, file.part))
    }
  }

  close(): Promise<void> {
    return this.#options.store.close()
  }

  /** Puts a file, and behind it its marker. @returns undefined, and nothing is put, if its place is taken */
  async #put(file: StagedFile, bytes: Buffer): Promise<string | undefined> {
    const { store } = this.#options
    const { path } = file
    const { mark, marker, events } = objectOf(file)
    if (!(await store.putOnce(path, bytes, mark))) return undefined
    if (marker !== '' && !(await store.putOnce(`${path}${marker}`, markerText({ path, events, bytes }), mark))) {
      throw new FreshetError('sink_target_unusable', `The file ${path} is in the bucket, and cannot be marked.`, {
        hint: `There is an object ${path}${marker} that is not its marker: remove it.`,
      })
    }
    return path
  }

  /** The path itself, or with the first number that is free, for the file and its marker. */
  async #freePath(wanted: string, { marker, chosen }: { marker: string; chosen?: Set<string> }): Promise<string> {
    const taken = await this.#keys(wanted)
    const isFree = (path: string): boolean =>
      !taken.has(path) && !(marker !== '' && taken.has(`${path}${marker}`)) && chosen?.has(path) !== true
    if (isFree(wanted)) return wanted
    for (const key of await this.#keys(join(dirname(wanted), `${partsOfName(wanted).stem}-`))) taken.add(key)
    let number = 2
    while (!isFree(numberedPath(wanted, number))) number++
    return numberedPath(wanted, number)
  }

  async #keys(prefix: string): Promise<Set<string>> {
    return new Set((await this.#options.store.list(prefix)).map(({ key }) => key))
  }
}

function objectOf({ object, path }: StagedFile): NonNullable<StagedFile['object']> {
  if (object !== undefined) return object
  throw new Error(`The file ${path} was made for a folder, and not for a bucket.`)
}
