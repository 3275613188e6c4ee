/**
 * Recognises events that a stream has already (I5), for ever. An event is looked for in its partition of event time, which is where an
 * honest repeat must be; for each partition that is touched, all ids are known, exactly:
 *
 * - of hot rows, in a table in memory (id-table.ts),
 * - of data files, in runs on disk (run-format.ts), each with a filter in memory that spares nearly all looks for ids that are new.
 *
 * Nothing is dropped on the word of a hash: tables and runs hold the ids themselves. Runs of about one size are merged, so that there
 * are few, and memory is bounded for all streams together (id-memory.ts): what has no room goes to disk, or is read again.
 *
 * The runs are a cache. Each says which data files' ids it holds, and carries checksums; ids of files that no whole run speaks of are
 * read from the files when the partition is opened; for files that were made of others, runs of those count (lineage.ts). So a crash at any moment, damage, or the removal of the folder costs time only.
 * Ids of hot rows are noted after these became visible; a crash loses both.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../../runtime/errors.ts'
import { ChunkIds } from './chunk-ids.ts'
import { PartitionIds, type PartitionFiles } from './partition-ids.ts'
import type { IdBookOptions, IdFile } from './id-files.ts'
import { Lineage, type KnownFiles } from './lineage.ts'
import { scanEvents, type ScannedEvents } from './scan.ts'

export class IdBook {
  readonly #options: IdBookOptions
  readonly #seed: number
  /** Those used last come last. */
  readonly #partitions = new Map<number, PartitionIds>()
  readonly #scheduled = new Set<PartitionIds>()
  #work: Promise<void> = Promise.resolve()
  /** The number of the hot rows that new ones are added to. */
  #current = 0
  readonly #lineage: Lineage
  /** The table's files, by partition. */
  #files: { byPlace: Map<number | undefined, IdFile[]>; known: KnownFiles } | undefined
  #closed = false
  #tidied = false

  constructor(options: IdBookOptions) {
    this.#options = options
    this.#seed = seedOf(options)
    this.#lineage = new Lineage(join(options.dir, lineageName))
    options.memory.register(this)
  }

  /** Scans a chunk of log bytes that holds `count` events. */
  scan(bytes: Buffer, count: number): ScannedEvents {
    return scanEvents(bytes, count, this.#options.scope, this.#seed)
  }

  /**
   * The events that are repeats, by index in order: of events the stream has, or of earlier ones in the same chunk. One call at a
   * time. @throws Error when ids cannot be read or written
   */
  async repeats(bytes: Buffer, events: ScannedEvents): Promise<number[]> {
    const { memory } = this.#options
    if (!this.#tidied) this.#tidy()
    const repeated = new Uint8Array(events.count)
    for (const [number, indexes] of byPartition(events)) {
      await memory.makeRoom()
      const chunk = new ChunkIds(bytes, events, indexes.length)
      const partition = this.#partition(number)
      await partition.find(
        chunk,
        indexes,
        () => this.#filesIn(number),
        (index) => (repeated[index] = 1),
      )
      // Opening it may have left runs to write or to merge.
      if (partition.takeOpened()) this.#schedule(partition)
      for (const index of indexes) if (repeated[index] === 0 && !chunk.isFirst(index)) repeated[index] = 1
    }
    const repeats: number[] = []
    for (let index = 0; index < events.count; index++) if (repeated[index] === 1) repeats.push(index)
    return repeats
  }

  /**
   * Makes room for the ids of all events but the repeats, which `repeats` has found. The function it returns notes them, once their
   * rows are hot: it needs no more memory and so does not fail, since rows in sight whose ids nobody knows could be loaded twice.
   */
  prepare(bytes: Buffer, events: ScannedEvents, repeats: readonly number[]): () => void {
    const skipped = new Set(repeats)
    const notes: (() => void)[] = []
    for (const [number, indexes] of byPartition(events)) {
      const fresh = skipped.size === 0 ? indexes : indexes.filter((index) => !skipped.has(index))
      if (fresh.length === 0) continue
      const chunk = new ChunkIds(bytes, events, 0)
      const partition = this.#partition(number)
      const size = chunk.bytesOf(fresh)
      partition.reserve(fresh.length, size)
      notes.push(() =>
        partition.note(fresh.length, size, (table) => {
          for (const index of fresh) chunk.addTo(table, index)
        }),
      )
    }
    return () => notes.forEach((note) => note())
  }

  /** From now on ids are noted under a new number: a flush has taken the hot rows so far. Returns the number of those. */
  rotate(): number {
    return this.#current++
  }

  /** The rows under `number` are in data files now; `added` are all files that came since the last commit, of other writers too. */
  committed(number: number, added: readonly IdFile[]): void {
    this.#files = undefined
    const byPlace = Map.groupBy(added, (file) => this.#placeOf(file))
    const everywhere = byPlace.has(undefined)
    for (const [place, partition] of this.#partitions) {
      const files = byPlace.get(place) ?? []
      partition.committed(number, files)
      if (everywhere) partition.recheck()
      this.#schedule(partition)
    }
  }

  /** Data files may have come or gone by another writer. */
  recheck(): void {
    this.#files = undefined
    for (const partition of this.#partitions.values()) partition.recheck()
  }

  /** Files were replaced by others that hold the same ids: nothing has to be read again. */
  replaced(from: readonly IdFile[], to: readonly IdFile[]): void {
    this.recheck()
    const former = from.map((file) => ({ key: file.key, partition: this.#placeOf(file) }))
    this.#lineage.add(
      former,
      to.map(({ key }) => key),
      new Set(this.#options.source.files().map(({ key }) => key)),
    )
  }

  /**
   * Files are gone with ids that must not be kept: whatever holds ids of files that the table has no longer is removed at once, and the
   * rest of those ids read again from the files when they are next asked for.
   */
  purge(): void {
    this.#files = undefined
    const { known } = this.#table
    for (const partition of this.#partitions.values()) partition.purge(known)
    for (const name of namesIn(this.#options.dir)) {
      const number = Number(name)
      if (isOwn(name) || this.#partitions.has(number)) continue
      this.#closedPartition(number).purge(known)
    }
  }

  /** Forgets the hot rows, as after the table was loaded anew. */
  clear(): void {
    this.#files = undefined
    for (const partition of this.#partitions.values()) partition.clear()
    this.#partitions.clear()
    this.#current++
  }

  /** Lets go of what was not used for longest; false when that was nothing. */
  async shrink(): Promise<boolean> {
    const { memory } = this.#options
    const before = memory.tableBytes
    for (const [number, partition] of this.#partitions) {
      await partition.shrink()
      if (!partition.hasHot) this.#partitions.delete(number)
      if (memory.tableBytes < before) return true
    }
    return false
  }

  /** Resolves when ids that were committed so far are in runs. */
  settled(): Promise<void> {
    return this.#work
  }

  /** Ends what goes on in the background. */
  close(): void {
    this.#closed = true
    this.clear()
    this.#options.memory.unregister(this)
  }

  #partition(number: number): PartitionIds {
    const partition = this.#partitions.get(number) ?? this.#closedPartition(number)
    this.#partitions.delete(number)
    this.#partitions.set(number, partition)
    return partition
  }

  #closedPartition(number: number): PartitionIds {
    return new PartitionIds(number, join(this.#options.dir, String(number)), {
      ...this.#options,
      seed: this.#seed,
      current: () => this.#current,
      renamed: (files) => this.#table.known.renamed(files),
    })
  }

  /** The partition of a file's ids; undefined for any. */
  #placeOf(file: IdFile): number | undefined {
    return this.#options.scope === 'table' ? 0 : file.partition
  }

  /** The files that may hold ids of a partition. */
  #filesIn(partition: number): PartitionFiles {
    const { byPlace, known } = this.#table
    return { files: [...(byPlace.get(partition) ?? []), ...(byPlace.get(undefined) ?? [])], known }
  }

  get #table(): { byPlace: Map<number | undefined, IdFile[]>; known: KnownFiles } {
    if (this.#files === undefined) {
      const files = this.#options.source.files()
      const byPlace = Map.groupBy(files, (file) => this.#placeOf(file))
      this.#files = { byPlace, known: this.#lineage.of(new Set(files.map(({ key }) => key))) }
    }
    return this.#files
  }

  #schedule(partition: PartitionIds): void {
    if (this.#closed || this.#scheduled.has(partition)) return
    this.#scheduled.add(partition)
    this.#work = this.#work.then(() => this.#workOn(partition))
  }

  async #workOn(partition: PartitionIds): Promise<void> {
    this.#scheduled.delete(partition)
    if (this.#closed) return
    try {
      await partition.work()
    } catch (error) {
      // They stay in memory, and it is tried again when there are more, or no room for them.
      this.#options.logger.warn({ error: messageOf(error) }, 'ids could not be written to disk')
    }
  }

  /** Removes runs of partitions that the table has no longer. */
  #tidy(): void {
    this.#tidied = true
    const { dir, source } = this.#options
    const known = new Set(source.files().map((file) => String(this.#placeOf(file))))
    if (known.has('undefined')) return
    for (const name of namesIn(dir)) {
      if (isOwn(name) || known.has(name) || this.#partitions.has(Number(name))) continue
      rmSync(join(dir, name), { recursive: true, force: true })
    }
  }
}

const seedName = 'seed'
const lineageName = 'lineage'

/** Whether a file in the folder is no partition's. */
function isOwn(name: string): boolean {
  return name === seedName || name.startsWith(lineageName)
}

/**
 * What the ids in a folder are hashed with, so that nobody outside can make ids collide on purpose. A folder whose ids were kept
 * apart otherwise is emptied.
 */
function seedOf({ dir, scope, random }: IdBookOptions): number {
  const path = join(dir, seedName)
  try {
    const [found, seed] = readFileSync(path, 'utf8').split(' ')
    if (found === scope && /^[0-9a-f]{8}$/.test(seed ?? '')) return Number.parseInt(seed!, 16)
  } catch {
    // A new folder.
  }
  const seed = random.integer(2 ** 32)
  try {
    rmSync(dir, { recursive: true, force: true })
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    writeFileSync(path, `${scope} ${seed.toString(16).padStart(8, '0')}`, { mode: 0o600 })
  } catch {
    // With a full disk, say, the runs of this process are of no use to the next one.
  }
  return seed
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir)
  } catch {
    return []
  }
}

/** The indexes of the events by their partitions. */
function byPartition({ count, partition }: ScannedEvents): Map<number, number[]> {
  const groups = new Map<number, number[]>()
  let last: number | undefined
  let group: number[] = []
  for (let index = 0; index < count; index++) {
    const place = partition[index]!
    if (place !== last) {
      last = place
      group = groups.get(place) ?? []
      groups.set(place, group)
    }
    group.push(index)
  }
  return groups
}
