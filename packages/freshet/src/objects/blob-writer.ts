/** Writes the data file of a blob while its bytes arrive: a few blocks are in memory, however large it becomes. */
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { FileHandle, FileSystem } from '../runtime/file-system.ts'
import { blockBytes, encodeEntries, entryBytes, packBlock, type BlockEntry } from './blob-format.ts'

/** Blocks that are compressed or written at a time. */
const inFlightMax = 3
/** Entries of the table that are written at a time. */
const tablePage = 4096

export interface WrittenBlob {
  bytes: number
  /** Of the plain bytes, lower-case hex. */
  sha256: string
  tableAt: number
}

export interface BlobWriterOptions {
  fileSystem: FileSystem
  /** A file that does not exist. */
  path: string
  /** zstd level; null: blocks are stored as they are. */
  level: number | null
  /** 32 bytes that nothing else was encrypted with; null: not encrypted. */
  dataKey: Buffer | null
}

export class BlobWriter {
  readonly path: string
  readonly #file: FileHandle
  readonly #options: BlobWriterOptions
  readonly #hash = createHash('sha256')
  readonly #entries: BlockEntry[] = []
  #block = Buffer.allocUnsafeSlow(blockBytes)
  #filled = 0
  #bytes = 0
  #storedEnd = 0
  #index = 0
  /** The writes under way, oldest first. */
  #writes: Promise<void>[] = []
  #closed = false

  private constructor(options: BlobWriterOptions, file: FileHandle) {
    this.path = options.path
    this.#options = options
    this.#file = file
  }

  static async create(options: BlobWriterOptions): Promise<BlobWriter> {
    return new BlobWriter(options, await options.fileSystem.open(options.path, 'create'))
  }

  /** Plain bytes so far. */
  get bytes(): number {
    return this.#bytes
  }

  /** Takes bytes; resolves when more may come. The caller may use the memory again after that. */
  async write(chunk: Uint8Array): Promise<void> {
    this.#hash.update(chunk)
    this.#bytes += chunk.length
    for (let at = 0; at < chunk.length;) {
      // A full block is kept until more comes: only then it is known not to be the last.
      if (this.#filled === blockBytes) await this.#close(false)
      const part = chunk.subarray(at, at + blockBytes - this.#filled)
      this.#block.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
    }
  }

  /** Writes what is left, and the table. The file is closed and not synced. */
  async finish(): Promise<WrittenBlob> {
    if (this.#filled > 0) await this.#close(true)
    for (const write of this.#writes) await write
    const tableAt = this.#storedEnd
    for (let from = 0; from < this.#entries.length; from += tablePage) {
      const page = encodeEntries(this.#entries.slice(from, from + tablePage))
      await this.#file.write([page], tableAt + from * entryBytes)
    }
    await this.#closeFile()
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex'), tableAt }
  }

  /** Leaves nothing behind; after `finish`, too, unless the file was taken away. */
  async discard(): Promise<void> {
    await Promise.allSettled(this.#writes)
    await this.#closeFile()
    await this.#options.fileSystem.remove(this.path)
  }

  async #closeFile(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#file.close()
  }

  /** Sends the block on its way: packed beside others, written behind them. */
  async #close(last: boolean): Promise<void> {
    const { level, dataKey } = this.#options
    const packed = packBlock(this.#block.subarray(0, this.#filled), level, { index: this.#index++, last, dataKey })
    const before = this.#writes.at(-1)
    const write = this.#append(packed, before)
    // Whoever waits for a later one learns of the failure too.
    write.catch(() => undefined)
    this.#writes.push(write)
    this.#block = Buffer.allocUnsafeSlow(last ? 0 : blockBytes)
    this.#filled = 0
    if (this.#writes.length > inFlightMax) await this.#writes.shift()
  }

  async #append(packed: ReturnType<typeof packBlock>, before: Promise<void> | undefined): Promise<void> {
    const [{ stored, packing }] = await Promise.all([packed, before])
    const start = this.#storedEnd
    this.#storedEnd += stored.length
    this.#entries.push({ end: this.#storedEnd, crc: crc32(stored), packing })
    await this.#file.write([stored], start)
  }
}
