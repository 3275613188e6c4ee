/**
 * Writes runs (run-format.ts): from a table of ids, or from other runs, in slices that let other work have its turn. A run without
 * its footer is none: what a crash leaves of one is removed when its partition is opened again.
 */
import { open, rm, type FileHandle } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import type { IdMemory } from './id-memory.ts'
import type { IdList } from './id-table.ts'
import { PageReader, Run } from './run.ts'
import {
  blockBytes,
  blockOf,
  filterBytes,
  formatVersion,
  indexWords,
  magic,
  pageBytes,
  setInFilter,
  shapeFor,
  sortedByBucket,
  windowBytes,
  wordBytes,
  writePage,
  type Page,
  type RunFooter,
  type RunShape,
} from './run-format.ts'

export interface WriteOptions {
  path: string
  seed: number
  memory: IdMemory
  /** The data files whose ids these are; undefined for a run that only this process knows, as a piece of a set. */
  files: readonly string[] | undefined
}

const outBytes = 1 << 19

/** Writes the ids of a table. @throws Error when it cannot; nothing is left then */
export async function writeRun(ids: IdList, options: WriteOptions): Promise<Run> {
  const shape = shapeFor(ids.count)
  return writing(shape, options, async (writer) => {
    await writer.add(ids, 0, 2 ** shape.bits)
  })
}

/** Writes the ids of several runs, which have none in common, into one. @throws UnreadableRun, Error; nothing is left then */
export async function mergeRuns(runs: readonly Run[], options: WriteOptions): Promise<Run> {
  const shape = shapeFor(runs.reduce((sum, run) => sum + run.shape.count, 0))
  const groupBits = Math.min(shape.bits, ...runs.map((run) => run.shape.bits))
  const readers: PageReader[] = []
  try {
    for (const run of runs) readers.push(new PageReader(run))
    return await writing(shape, options, async (writer) => {
      for (let group = 0; group < 2 ** groupBits; group++) {
        const ids = new IdPile()
        for (const [index, { shape: from }] of runs.entries()) {
          const pages = 2 ** (from.bits - groupBits)
          for (let page = group * pages; page < (group + 1) * pages; page++) ids.addPage(readers[index]!.read(page))
        }
        const buckets = 2 ** (shape.bits - groupBits)
        await writer.add(ids, group * buckets, buckets)
      }
    })
  } finally {
    for (const reader of readers) reader.close()
  }
}

async function writing(
  shape: RunShape,
  { path, seed, memory, files }: WriteOptions,
  work: (writer: RunWriter) => Promise<void>,
): Promise<Run> {
  const handle = await open(path, 'wx', 0o600)
  try {
    const writer = new RunWriter(handle, shape)
    await work(writer)
    const index = await writer.finish(files && { version: formatVersion, seed, ...shape, files: [...files] })
    return new Run(path, { shape, files: files ?? [], index, filter: undefined }, memory)
  } catch (error) {
    await rm(path, { force: true }).catch(() => undefined)
    throw error
  } finally {
    await handle.close()
  }
}

class RunWriter {
  readonly #handle: FileHandle
  readonly #shape: RunShape
  readonly #index: Uint32Array
  /** How much of the filter is written, bytes. */
  #filterAt = 0
  /** Where the next page goes, behind the filter, bytes. */
  #at = 0
  #out = new Uint8Array(outBytes)
  #filled = 0

  constructor(handle: FileHandle, shape: RunShape) {
    this.#handle = handle
    this.#shape = shape
    this.#index = new Uint32Array(indexWords(shape))
  }

  /** Writes the `buckets` buckets from `first` on, which come in order; `ids` are all of theirs. */
  async add(ids: IdList, first: number, buckets: number): Promise<void> {
    const { order, ends } = sortedByBucket(ids, this.#shape.bits, first, buckets)
    await this.#addFilter(ids, order, first, buckets)
    let from = 0
    for (let bucket = 0; bucket < buckets; bucket++) {
      const indexes = order.subarray(from, ends[bucket])
      from = ends[bucket]!
      await this.#addPage(first + bucket, ids, indexes)
    }
  }

  /** @param footer left out for a run that nobody will open again. @returns the index */
  async finish(footer: Omit<RunFooter, 'indexCrc'> | undefined): Promise<Uint32Array> {
    await this.#flush()
    const at = filterBytes(this.#shape) + this.#at
    const index = bytesOf(this.#index)
    await writeAll(this.#handle, index, at)
    if (footer !== undefined) {
      const whole: RunFooter = { ...footer, indexCrc: crc32(index) }
      const text = Buffer.from(JSON.stringify(whole))
      const tail = bytesOf(Uint32Array.of(text.length, crc32(text), magic))
      await writeAll(this.#handle, Buffer.concat([text, tail]), at + index.length)
    }
    return this.#index
  }

  async #addFilter(ids: IdList, order: Uint32Array, first: number, buckets: number): Promise<void> {
    const { bucketBlocks } = this.#shape
    const base = first * bucketBlocks
    const filter = new Uint32Array((buckets * bucketBlocks * blockBytes) / wordBytes)
    const { low, high } = ids
    for (let place = 0; place < order.length; place++) {
      const index = order[place]!
      setInFilter(filter, blockOf(low[index]!, this.#shape) - base, high[index]!)
    }
    const bytes = bytesOf(filter)
    await writeAll(this.#handle, bytes, this.#filterAt)
    for (let from = 0; from < bytes.length;) {
      const window = 2 ** this.#shape.bits + 1 + Math.floor(this.#filterAt / windowBytes)
      const part = bytes.subarray(from, from + windowBytes - (this.#filterAt % windowBytes))
      this.#index[window] = crc32(part, this.#index[window])
      this.#filterAt += part.length
      from += part.length
    }
  }

  async #addPage(bucket: number, ids: IdList, indexes: Uint32Array): Promise<void> {
    const { starts } = ids
    let idBytes = 0
    for (let place = 0; place < indexes.length; place++) {
      const index = indexes[place]!
      idBytes += starts[index + 1]! - starts[index]!
    }
    const bytes = pageBytes(indexes.length, idBytes)
    if (this.#filled + bytes > this.#out.length) await this.#flush()
    if (bytes > this.#out.length) this.#out = new Uint8Array(bytes)
    this.#filled = writePage(this.#out, this.#filled, bucket, ids, indexes)
    this.#index[bucket + 1] = (this.#at + this.#filled) / wordBytes
  }

  async #flush(): Promise<void> {
    await writeAll(this.#handle, this.#out.subarray(0, this.#filled), filterBytes(this.#shape) + this.#at)
    this.#at += this.#filled
    this.#filled = 0
    await setImmediate()
  }
}

/** The ids of several pages. */
class IdPile implements IdList {
  count = 0
  low = new Uint32Array(0)
  high = new Uint32Array(0)
  starts = new Uint32Array(1)
  bytes = new Uint8Array(0)

  addPage({ count, low, high, lengths, bytes, idStart }: Page): void {
    const total = this.count + count
    const from = this.starts[this.count]!
    const idBytes = bytes.length - idStart
    if (total > this.low.length) {
      this.low = enlarged(this.low, new Uint32Array(2 * total))
      this.high = enlarged(this.high, new Uint32Array(2 * total))
      this.starts = enlarged(this.starts, new Uint32Array(2 * total + 1))
    }
    if (from + idBytes > this.bytes.length) this.bytes = enlarged(this.bytes, new Uint8Array(2 * (from + idBytes)))
    this.low.set(low, this.count)
    this.high.set(high, this.count)
    this.bytes.set(bytes.subarray(idStart), from)
    let end = from
    for (let place = 0; place < count; place++) {
      end += lengths[place]!
      this.starts[this.count + place + 1] = end
    }
    this.count = total
  }
}

function enlarged<Words extends Uint8Array | Uint32Array>(from: Words, to: Words): Words {
  to.set(from)
  return to
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at)
    at += bytesWritten
  }
}
