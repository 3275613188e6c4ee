/** A set of ids on disk (run-format.ts), with its filter in memory as long as there is room for it. */
import { closeSync, openSync, readSync, rmSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import type { IdMemory } from './id-memory.ts'
import { readFilter, readRunFile, readWindow } from './run-file.ts'
import {
  blockBytes,
  blockOf,
  bucketOf,
  filterBytes,
  inFilter,
  readPage,
  windowBytes,
  wordBytes,
  type Page,
  type RunShape,
} from './run-format.ts'

/** The ids of events, by their indexes; what is looked up in a run. */
export interface Wanted {
  low: Uint32Array
  high: Uint32Array
  /** Whether the id of event `index` is what lies in `bytes` from `start` to `end`. */
  same(index: number, bytes: Uint8Array, start: number, end: number): boolean
}

/** Pages looked into before others get a turn. */
const pagesATurn = 256

/** Thrown when a run cannot be read. */
export class UnreadableRun extends Error {
  readonly run: Run

  constructor(run: Run, cause: unknown) {
    super(`The ids in ${run.path} cannot be read`, { cause })
    this.run = run
  }
}

export class Run {
  readonly path: string
  readonly shape: RunShape
  /** The data files whose ids these are. */
  files: readonly string[]
  readonly #index: Uint32Array
  readonly #memory: IdMemory
  #filter: Uint32Array | undefined
  /** Ids that were looked for in the filter on disk. */
  #misses = 0
  #closed = false

  /** @param filter its filter, where it is at hand; kept if there is room */
  constructor(
    path: string,
    content: { shape: RunShape; files: readonly string[]; index: Uint32Array; filter: Uint32Array | undefined },
    memory: IdMemory,
  ) {
    this.path = path
    this.shape = content.shape
    this.files = content.files
    this.#index = content.index
    this.#memory = memory
    memory.grow(this.fixedBytes)
    if (content.filter !== undefined) this.#keep(content.filter, false)
  }

  /**
   * Opens a run that was written with `seed`.
   * @returns undefined when the file is not whole, damaged, or written in another way
   */
  static open(path: string, seed: number, memory: IdMemory): Run | undefined {
    const found = readRunFile(path, seed, (bytes) => bytes <= memory.bytesMax - memory.bytes)
    return found && new Run(path, { ...found, shape: found.footer, files: found.footer.files }, memory)
  }

  /** Memory held beside the filter, bytes. */
  get fixedBytes(): number {
    return this.#index.byteLength
  }

  /** Those of the events at `indexes` whose ids may be in the run. */
  suspects(wanted: Wanted, indexes: readonly number[]): number[] {
    const filter = this.#filter ?? this.#readFilter(indexes.length)
    if (filter === undefined) return this.#suspectsOnDisk(wanted, indexes)
    this.#memory.touch(this)
    const { low, high } = wanted
    const { shape } = this
    const suspects: number[] = []
    for (let place = 0; place < indexes.length; place++) {
      const index = indexes[place]!
      if (inFilter(filter, blockOf(low[index]!, shape), high[index]!)) suspects.push(index)
    }
    return suspects
  }

  /**
   * Calls `onFound` with those of the events at `indexes` whose ids are in the run: the ids themselves, not their hashes.
   * @throws UnreadableRun
   */
  async find(wanted: Wanted, indexes: readonly number[], onFound: (index: number) => void): Promise<void> {
    if (indexes.length === 0) return
    const { low } = wanted
    const sorted = indexes.toSorted((a, b) => low[a]! - low[b]!)
    const pages = new PageReader(this)
    try {
      let page: Page | undefined
      let bucket = -1
      for (const index of sorted) {
        if (bucketOf(low[index]!, this.shape.bits) !== bucket) {
          bucket = bucketOf(low[index]!, this.shape.bits)
          page = pages.read(bucket)
          if (pages.count % pagesATurn === 0) await setImmediate()
        }
        if (inPage(page!, wanted, index)) onFound(index)
      }
    } finally {
      pages.close()
    }
  }

  /** Where the page of a bucket lies in the file, bytes. */
  pagePlace(bucket: number): { at: number; bytes: number } {
    const from = this.#index[bucket]!
    const bytes = (this.#index[bucket + 1]! - from) * wordBytes
    return { at: filterBytes(this.shape) + from * wordBytes, bytes }
  }

  releaseFilter(): void {
    this.#filter = undefined
    this.#memory.release(this)
  }

  /** Frees the memory; the file stays, and whoever is still looking reads that. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.releaseFilter()
    this.#memory.grow(-this.fixedBytes)
  }

  /** Frees the memory and removes the file; one that cannot be removed now is never used again. */
  discard(): void {
    this.close()
    try {
      rmSync(this.path, { force: true })
    } catch {
      // In use: on some systems a file that is being read stays.
    }
  }

  #keep(filter: Uint32Array, evict: boolean): void {
    if (this.#memory.admit(this, filter.byteLength, evict)) this.#filter = filter
  }

  /** Takes the filter into memory if there is room, or if it is worth more than others. */
  #readFilter(lookups: number): Uint32Array | undefined {
    if (this.#closed) return undefined
    const bytes = filterBytes(this.shape)
    this.#misses += lookups
    const evict = this.#misses * blockBytes > bytes
    if (!this.#memory.admit(this, bytes, evict)) return undefined
    this.#misses = 0
    try {
      this.#filter = this.#read((fd) => readFilter(fd, this.shape, this.#index))
    } catch (error) {
      this.#memory.release(this)
      throw error
    }
    return this.#filter
  }

  #suspectsOnDisk(wanted: Wanted, indexes: readonly number[]): number[] {
    const sorted = indexes.toSorted((a, b) => wanted.low[a]! - wanted.low[b]!)
    return this.#read((fd) => {
      let window: Uint32Array = new Uint32Array(0)
      let first = -1
      return sorted.filter((index) => {
        const block = blockOf(wanted.low[index]!, this.shape)
        const start = block - (block % (windowBytes / blockBytes))
        if (start !== first) window = readWindow(fd, this.shape, this.#index, start * blockBytes)
        first = start
        return inFilter(window, block - start, wanted.high[index]!)
      })
    })
  }

  #read<Result>(work: (fd: number) => Result): Result {
    let fd: number | undefined
    try {
      fd = openSync(this.path, 'r')
      return work(fd)
    } catch (error) {
      throw new UnreadableRun(this, error)
    } finally {
      if (fd !== undefined) closeSync(fd)
    }
  }
}

/** Reads pages of a run, checked. */
export class PageReader {
  count = 0
  readonly #run: Run
  readonly #fd: number
  #buffer = Buffer.from(new ArrayBuffer(1 << 15))

  /** @throws UnreadableRun */
  constructor(run: Run) {
    this.#run = run
    try {
      this.#fd = openSync(run.path, 'r')
    } catch (error) {
      throw new UnreadableRun(run, error)
    }
  }

  /** The page of a bucket, until the next one is read. @throws UnreadableRun */
  read(bucket: number): Page {
    const { at, bytes } = this.#run.pagePlace(bucket)
    if (bytes > this.#buffer.length) this.#buffer = Buffer.from(new ArrayBuffer(2 * bytes))
    this.count++
    try {
      const got = readSync(this.#fd, this.#buffer, 0, bytes, at)
      const page = got === bytes ? readPage(this.#buffer.subarray(0, bytes), bucket) : undefined
      if (page !== undefined) return page
    } catch (error) {
      throw new UnreadableRun(this.#run, error)
    }
    throw new UnreadableRun(this.#run, new Error(`page ${bucket} is damaged`))
  }

  close(): void {
    closeSync(this.#fd)
  }
}

function inPage(page: Page, wanted: Wanted, index: number): boolean {
  const low = wanted.low[index]!
  const high = wanted.high[index]!
  const { lengths, bytes } = page
  let end = page.idStart
  for (let place = 0; place < page.count; place++) {
    const start = end
    end += lengths[place]!
    if (page.low[place] === low && page.high[place] === high && wanted.same(index, bytes, start, end)) return true
  }
  return false
}
