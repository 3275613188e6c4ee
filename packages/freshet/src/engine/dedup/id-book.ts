/**
 * Recognises events that a stream has already (I5). For each partition of event time there is a set of fingerprints of all ids in
 * it, committed or hot. An id that is not in the set is new. One that is, is looked up exactly: among the hot rows, and in the id
 * column of just those data files it may have come from. Nothing is dropped on the word of a hash.
 *
 * The sets are memory only. One is built from the table's id column when its partition is first touched, and the sets that were
 * touched longest ago are let go when all of them outgrow the budget; so a restart, or a crash at any moment, leaves nothing to
 * repair. Ids are noted before their rows are inserted: if the insert fails, a note too many only costs a look.
 */
import { Fingerprints, sourceMax } from './fingerprints.ts'
import { idOf, IdHash, partitionOf, scanEvents, type ScannedEvents, type Scope } from './scan.ts'

/** An id as a table has it, with its event time in microseconds since 1970. */
export interface FoundId {
  id: string
  timeMicros: bigint
}

/** A data file, as far as ids are concerned. */
export interface IdFile {
  key: string
  /** The partition that all its ids belong to; undefined when they may belong to any. */
  partition: number | undefined
}

/** How the book looks ids up; the stream's table answers. */
export interface IdSource {
  /** The committed data files. */
  files(): readonly IdFile[]
  /** Which of `ids` are in hot rows. */
  findHot(ids: readonly string[]): Promise<FoundId[]>
  /** Which of `ids` are in these data files. */
  findInFiles(keys: readonly string[], ids: readonly string[]): Promise<FoundId[]>
  /** All ids of a data file (`key`), or of the hot rows (undefined), in pieces: ids as UTF-8, each ended by a newline. */
  readIds(key: string | undefined, partition: number, onPiece: (ids: Buffer) => void): Promise<void>
}

export interface IdBookOptions {
  scope: Scope
  source: IdSource
  /** Random, of this process. */
  seed: number
  /** Memory that the sets may hold, bytes. The sets in use at the moment are kept even beyond it. */
  budgetBytes: number
}

/** Where ids under a source number are: hot still, in data files, by partition, or in files that may hold any partition. */
type Origin = 'hot' | 'anywhere' | Map<number, string[]>

interface Partition {
  ids: Fingerprints
  touched: number
}

export class IdBook {
  readonly #options: IdBookOptions
  readonly #partitions = new Map<number, Partition>()
  /** By source number. `sourceMax` stands for anywhere. */
  #origins: Origin[] = ['hot']
  /** The number under which ids are noted now. */
  #current = 0
  #numberOfFile = new Map<string, number>()
  #ticks = 0

  constructor(options: IdBookOptions) {
    this.#options = options
  }

  /** Memory held, bytes. */
  get bytes(): number {
    let bytes = 0
    for (const { ids } of this.#partitions.values()) bytes += ids.bytes
    return bytes
  }

  /** Scans a chunk of log bytes that holds `count` events. */
  scan(bytes: Buffer, count: number): ScannedEvents {
    return scanEvents(bytes, count, this.#options.scope, this.#options.seed)
  }

  /** The events that are repeats, by index in order: of events the stream has, or of earlier ones in the same chunk. */
  async repeats(bytes: Buffer, events: ScannedEvents): Promise<number[]> {
    await this.#prepare(events)
    const suspects = this.#note(events)
    const repeats = suspects.length === 0 ? [] : await this.#resolve(bytes, events, suspects)
    this.#keepWithinBudget(events)
    return repeats
  }

  /** From now on ids are noted under a new number: a flush has taken the hot rows so far. Returns the number of those. */
  rotate(): number {
    const frozen = this.#current
    this.#current = this.#allocate('hot')
    return frozen
  }

  /** The rows under `number` are in `files` now. */
  committed(number: number, files: readonly IdFile[]): void {
    if (number === sourceMax) return
    if (files.some(({ partition }) => this.#scoped(partition) === undefined)) {
      this.#origins[number] = 'anywhere'
      return
    }
    const origin = new Map<number, string[]>()
    for (const { partition, key } of files) {
      const scoped = this.#scoped(partition)!
      origin.set(scoped, [...(origin.get(scoped) ?? []), key])
      this.#numberOfFile.set(key, number)
    }
    this.#origins[number] = origin
  }

  /** Forgets everything, as after the table was loaded anew. */
  clear(): void {
    this.#partitions.clear()
    this.#origins = ['hot']
    this.#current = 0
    this.#numberOfFile.clear()
  }

  #allocate(origin: Origin): number {
    if (this.#origins.length >= sourceMax) return sourceMax
    return this.#origins.push(origin) - 1
  }

  #scoped(partition: number | undefined): number | undefined {
    return this.#options.scope === 'table' ? 0 : partition
  }

  /** The files that may hold ids of a partition. */
  #filesIn(partition: number): IdFile[] {
    return this.#options.source.files().filter((file) => (this.#scoped(file.partition) ?? partition) === partition)
  }

  /** Builds the sets of all partitions that the events touch. */
  async #prepare(events: ScannedEvents): Promise<void> {
    let last: number | undefined
    for (let index = 0; index < events.count; index++) {
      const partition = events.partition[index]!
      if (partition === last) continue
      last = partition
      const known = this.#partitions.get(partition)
      if (known) known.touched = ++this.#ticks
      else this.#partitions.set(partition, { ids: await this.#build(partition), touched: ++this.#ticks })
    }
  }

  async #build(partition: number): Promise<Fingerprints> {
    const { source, seed } = this.#options
    const ids = new Fingerprints()
    const hash = new IdHash(seed)
    const note = (number: number) => (piece: Buffer) => {
      let start = 0
      for (let end = piece.indexOf(10); end !== -1; end = piece.indexOf(10, start)) {
        hash.ofBytes(piece, start, end)
        ids.add(hash.low, hash.high, number)
        start = end + 1
      }
    }
    for (const file of this.#filesIn(partition)) {
      await source.readIds(file.key, partition, note(this.#numberFor(file)))
    }
    // Hot rows may be on their way to files, whose number nobody knows yet: under the largest number they are looked for everywhere.
    await source.readIds(undefined, partition, note(sourceMax))
    return ids
  }

  /** The number under which a file's ids are noted; the files of any partition share the largest. */
  #numberFor(file: IdFile): number {
    if (this.#scoped(file.partition) === undefined) return sourceMax
    const known = this.#numberOfFile.get(file.key)
    if (known !== undefined) return known
    const number = this.#allocate('hot')
    this.committed(number, [file])
    return number
  }

  /** Notes the ids of all events; returns those that may be known already. */
  #note(events: ScannedEvents): number[] {
    const suspects: number[] = []
    const number = this.#current
    let ids: Fingerprints | undefined
    let last: number | undefined
    for (let index = 0; index < events.count; index++) {
      const partition = events.partition[index]!
      if (ids === undefined || partition !== last) {
        ids = this.#partitions.get(partition)!.ids
        last = partition
      }
      const low = events.low[index]!
      const high = events.high[index]!
      if (ids.has(low, high)) suspects.push(index)
      else ids.add(low, high, number)
    }
    return suspects
  }

  async #resolve(bytes: Buffer, events: ScannedEvents, suspects: readonly number[]): Promise<number[]> {
    const known = await this.#lookUp(bytes, events, suspects)
    const hashes = new Set(suspects.map((index) => hashKey(events, index)))
    const repeats: number[] = []
    for (let index = 0; index < events.count; index++) {
      if (!hashes.has(hashKey(events, index))) continue
      const name = nameOf(events.partition[index]!, idOf(bytes, events, index))
      if (known.has(name)) {
        repeats.push(index)
        continue
      }
      known.add(name)
      this.#noteAsCurrent(events, index)
    }
    return repeats
  }

  /** An id that is new although its hash was there may be among the rows to come: a hash of other rows does not lead to those. */
  #noteAsCurrent(events: ScannedEvents, index: number): void {
    const { ids } = this.#partitions.get(events.partition[index]!)!
    const low = events.low[index]!
    const high = events.high[index]!
    if (!ids.sources(low, high).has(this.#current)) ids.add(low, high, this.#current)
  }

  /** Which ids of the suspects are in hot rows or data files, by name. */
  async #lookUp(bytes: Buffer, events: ScannedEvents, suspects: readonly number[]): Promise<Set<string>> {
    const { source, scope } = this.#options
    const hot = new Set<string>()
    const byFile = new Map<string, Set<string>>()
    for (const index of suspects) {
      const partition = events.partition[index]!
      const id = idOf(bytes, events, index)
      const numbers = this.#partitions.get(partition)!.ids.sources(events.low[index]!, events.high[index]!)
      for (const number of numbers) {
        const origin = number === sourceMax ? 'anywhere' : this.#origins[number]!
        if (origin === 'hot' || origin === 'anywhere') hot.add(id)
        for (const key of this.#filesOf(origin, partition)) byFile.set(key, (byFile.get(key) ?? new Set()).add(id))
      }
    }
    const found = hot.size === 0 ? [] : await source.findHot([...hot])
    for (const [key, ids] of byFile) found.push(...(await source.findInFiles([key], [...ids])))
    return new Set(found.map(({ id, timeMicros }) => nameOf(partitionOf(timeMicros, scope), id)))
  }

  #filesOf(origin: Origin, partition: number): string[] {
    if (origin === 'hot') return []
    if (origin === 'anywhere') return this.#filesIn(partition).map(({ key }) => key)
    return origin.get(partition) ?? []
  }

  #keepWithinBudget(events: ScannedEvents): void {
    let excess = this.bytes - this.#options.budgetBytes
    if (excess <= 0) return
    const inUse = new Set(events.partition.subarray(0, events.count))
    const idle = [...this.#partitions].filter(([partition]) => !inUse.has(partition))
    for (const [partition, { ids }] of idle.toSorted(([, a], [, b]) => a.touched - b.touched)) {
      if (excess <= 0) return
      this.#partitions.delete(partition)
      excess -= ids.bytes
    }
  }
}

function hashKey(events: ScannedEvents, index: number): number {
  // Exact up to 2^53; more would only make a look-up needless, never wrong.
  return events.high[index]! * 0x20_0000 + (events.low[index]! & 0x1f_ffff)
}

function nameOf(partition: number, id: string): string {
  return `${partition} ${id}`
}
