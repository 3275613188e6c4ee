/**
 * The memory that all streams of an engine may hold to recognise repeats (`engine.idMemory`): tables of ids, which have priority and
 * may take half of it, and filters of runs, which are kept as long as there is room and can be read again at any time.
 */

/** Whose filter may be let go. */
interface FilterHolder {
  releaseFilter(): void
}

/** Whose tables can be written to disk. */
interface TableHolder {
  /** Lets go of the memory that was not used for longest; false when there is none that it could do without. */
  shrink(): Promise<boolean>
}

export class IdMemory {
  readonly bytesMax: number
  /** The most that was held at any moment, bytes. */
  peakBytes = 0
  readonly #filters = new Map<FilterHolder, number>()
  readonly #holders = new Set<TableHolder>()
  #tableBytes = 0
  #filterBytes = 0

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  /** Memory of tables, bytes. */
  get tableBytes(): number {
    return this.#tableBytes
  }

  /** Memory held, bytes. */
  get bytes(): number {
    return this.#tableBytes + this.#filterBytes
  }

  /** Ids of one set are written to disk before it takes more than this, bytes. */
  get tableBytesMax(): number {
    return this.bytesMax / 4
  }

  register(holder: TableHolder): void {
    this.#holders.add(holder)
  }

  unregister(holder: TableHolder): void {
    this.#holders.delete(holder)
  }

  /** Says that tables have grown by `bytes`, or shrunk. */
  grow(bytes: number): void {
    this.#tableBytes += bytes
    this.#dropFilters(this.bytesMax - this.#tableBytes)
    this.#note()
  }

  /** Has tables written to disk until they are within their half. Nobody may be using one. */
  async makeRoom(): Promise<void> {
    for (const holder of this.#holders) {
      while (this.#tableBytes > this.bytesMax / 2) if (!(await holder.shrink())) break
    }
  }

  /**
   * Asks for room for a filter of `bytes`.
   * @param evict whether others, those that were not used for longest, may be let go for it
   */
  admit(holder: FilterHolder, bytes: number, evict: boolean): boolean {
    const room = this.bytesMax - this.#tableBytes
    if (bytes > (evict ? room : room - this.#filterBytes)) return false
    this.#dropFilters(room - bytes)
    this.#filters.set(holder, bytes)
    this.#filterBytes += bytes
    this.#note()
    return true
  }

  /** Says that a filter was used. */
  touch(holder: FilterHolder): void {
    const bytes = this.#filters.get(holder)
    if (bytes === undefined) return
    this.#filters.delete(holder)
    this.#filters.set(holder, bytes)
  }

  /** Says that a filter is gone. */
  release(holder: FilterHolder): void {
    this.#filterBytes -= this.#filters.get(holder) ?? 0
    this.#filters.delete(holder)
  }

  #dropFilters(bytesMax: number): void {
    for (const holder of this.#filters.keys()) {
      if (this.#filterBytes <= bytesMax) return
      holder.releaseFilter()
    }
  }

  #note(): void {
    this.peakBytes = Math.max(this.peakBytes, this.bytes)
  }
}
