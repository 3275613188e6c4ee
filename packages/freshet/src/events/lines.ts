/**
 * Where a batch's stored lines are put together: chunks of memory that go from batch to batch, so that a busy gateway does not
 * allocate (and have collected) each batch anew. A chunk belongs to its batch until `release`, which comes after the log is done.
 */
const chunkBytes = 64 * 1024
const lineFeed = 0x0a
/** Idle chunks that are kept: 8 MiB. */
const idleChunksMax = 128
/** Batches up to this size are put together as text: a chunk each would be a waste. */
const smallBytes = 4 * 1024

export class ChunkPool {
  readonly #idle: Buffer[] = []

  take(): Buffer {
    return this.#idle.pop() ?? Buffer.allocUnsafeSlow(chunkBytes)
  }

  give(chunk: Buffer): void {
    if (chunk.length === chunkBytes && this.#idle.length < idleChunksMax) this.#idle.push(chunk)
  }
}

export class LineWriter {
  readonly #pool: ChunkPool
  readonly #small: boolean
  readonly #chunks: Buffer[] = []
  readonly #full: Uint8Array[] = []
  #text = ''
  #ascii = true
  #chunk: Buffer | undefined
  #used = 0
  /** Bytes of memory taken. */
  capacity = 0

  /** @param bodyBytes size of the body the lines come from */
  constructor(pool: ChunkPool, bodyBytes: number) {
    this.#pool = pool
    this.#small = bodyBytes <= smallBytes
  }

  /**
   * Adds a line, whose end is put behind it.
   * @param ascii true only when every character of `line` is one byte
   */
  write(line: string, ascii: boolean): void {
    if (this.#small) {
      this.#text += `${line}\n`
      this.#ascii &&= ascii
      return
    }
    const bytesMax = (ascii ? line.length : line.length * 3) + 1
    if (this.#chunk === undefined || this.#used + bytesMax > this.#chunk.length) this.#open(bytesMax)
    const chunk = this.#chunk!
    this.#used += chunk.write(line, this.#used, ascii ? 'latin1' : 'utf8')
    chunk[this.#used++] = lineFeed
  }

  /** Everything written, in order. */
  finish(): readonly Uint8Array[] {
    if (this.#small) {
      const lines = Buffer.from(this.#text, this.#ascii ? 'latin1' : 'utf8')
      this.capacity = lines.length
      return [lines]
    }
    this.#close()
    return this.#full
  }

  /** Gives the memory back; nobody may read the lines any more. */
  release(): void {
    for (const chunk of this.#chunks.splice(0)) this.#pool.give(chunk)
  }

  #open(bytes: number): void {
    this.#close()
    this.#chunk = bytes > chunkBytes ? Buffer.allocUnsafeSlow(bytes) : this.#pool.take()
    this.#chunks.push(this.#chunk)
    this.capacity += this.#chunk.length
    this.#used = 0
  }

  #close(): void {
    if (this.#chunk !== undefined && this.#used > 0) this.#full.push(this.#chunk.subarray(0, this.#used))
    this.#chunk = undefined
  }
}
