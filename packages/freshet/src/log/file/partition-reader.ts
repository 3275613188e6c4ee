/** Reads one partition up to its published end (I2), checking every frame, whole frames at a time. */
import { FreshetError, systemCodeOf } from '../../runtime/errors.ts'
import type { FileHandle, FileSystem } from '../../runtime/file-system.ts'
import type { Chunk, LoggedBatch } from '../log.ts'
import { readEnd } from './durable-end.ts'
import { headerBytesMax, walkFrames } from './frame.ts'
import { damage } from './recovery.ts'
import { listSegments, partitionFolder, type Segment } from './segments.ts'

/** A segment that is being read, and the base of the one after it. */
interface OpenSegment {
  segment: Segment
  file: FileHandle
  next: number | undefined
}

export class PartitionReader {
  readonly #fileSystem: FileSystem
  readonly #logDir: string
  readonly #stream: string
  readonly #partition: number
  readonly #folder: string
  #open: OpenSegment | undefined
  /** Reads take turns: they share the open file. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(fileSystem: FileSystem, logDir: string, stream: string, partition: number) {
    this.#fileSystem = fileSystem
    this.#logDir = logDir
    this.#stream = stream
    this.#partition = partition
    this.#folder = partitionFolder(logDir, stream, partition)
  }

  /** See `Log.read`. */
  read(from: number, maxBytes: number): Promise<Chunk> {
    return this.#inTurn(async () => {
      try {
        return await this.#read(from, maxBytes)
      } catch (error) {
        // The segment may be mended by putting another file in its place.
        await this.#leave()
        throw error
      }
    })
  }

  /** Waits for reads under way, then closes. */
  close(): Promise<void> {
    return this.#inTurn(() => this.#leave())
  }

  #inTurn<Result>(task: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(task)
    this.#turn = result.catch(() => undefined)
    return result
  }

  async #read(from: number, maxBytes: number): Promise<Chunk> {
    const end = readEnd(this.#fileSystem, this.#logDir, this.#stream, this.#partition) ?? 0
    if (from >= end) {
      if (from > end) await this.#checkHolds(from, end)
      return { bytes: Buffer.alloc(0), next: BigInt(from), count: 0, batches: [], receivedAtMs: 0 }
    }
    const { segment, file, next } = await this.#segmentAt(from)
    const start = from - segment.base
    const available = Math.min(end, next ?? end) - from
    let wanted = Math.min(available, Math.max(maxBytes, headerBytesMax))
    for (;;) {
      const bytes = await file.read(start, wanted)
      let count = 0
      let receivedAtMs = 0
      const batches: LoggedBatch[] = []
      const walked = walkFrames(bytes, ({ header }) => {
        count += header.count
        receivedAtMs = Math.max(receivedAtMs, header.at)
        batches.push({
          count: header.count,
          receivedAtMs: header.at,
          source: header.source,
          eventTimeMaxMs: header.until,
        })
      })
      if (walked.end > 0) {
        // A file may hold more than the segment: a refused group whose cut the power took back.
        const whole = start === 0 && from + walked.end === next && (await file.size()) === walked.end
        return {
          bytes: bytes.subarray(0, walked.end),
          next: BigInt(from + walked.end),
          count,
          batches,
          receivedAtMs,
          ...(whole && { file: segment.path }),
        }
      }
      const { stopped } = walked
      if (stopped?.problem === 'bad') throw damage(segment.path, start, stopped.reason)
      if (bytes.length < wanted) {
        const reason =
          bytes.length === 0 ? 'nothing more, though bytes behind it were acknowledged,' : 'a frame cut short'
        throw damage(segment.path, Math.min(start, await file.size()), reason)
      }
      const needed = stopped?.end ?? wanted + headerBytesMax
      if (wanted === available || needed > available) throw damage(segment.path, start, 'a frame cut short')
      wanted = needed
    }
  }

  /**
   * A position behind the published end: after a power loss the end may be behind what is durable until the writer has recovered,
   * but then the bytes are there. Where they are not, the log is another one than was read before.
   */
  async #checkHolds(from: number, end: number): Promise<void> {
    const segments = await listSegments(this.#fileSystem, this.#folder)
    const last = segments.at(-1)
    if (last !== undefined && segments[0]!.base <= from) {
      const file = await this.#fileSystem.open(last.path, 'read')
      const size = await file.size()
      await file.close()
      if (last.base + size >= from) return
    }
    throw new FreshetError(
      'corrupt_log',
      `The log of "${this.#stream}" ends at ${end}, but it was read up to ${from} before: it was deleted or replaced.`,
      { hint: 'Restore the log folder, or move the table away and load the stream from the start.' },
    )
  }

  /** The segment that holds the byte at `from`. */
  async #segmentAt(from: number): Promise<OpenSegment> {
    const open = this.#open
    if (open && open.segment.base <= from && open.next !== undefined && from < open.next) return open
    const segments = await listSegments(this.#fileSystem, this.#folder)
    const index = segments.findLastIndex(({ base }) => base <= from)
    const segment = segments[index]
    if (segment === undefined) {
      const oldest = segments[0]
      if (oldest === undefined) {
        throw new FreshetError('corrupt_log', `The log of "${this.#stream}" no longer holds position ${from}.`, {
          hint: 'Restore its segments.',
        })
      }
      throw new FreshetError('log_trimmed', `The log of "${this.#stream}" no longer holds position ${from}.`, {
        hint: `Its oldest segment starts at ${oldest.base}; restore those before it.`,
      })
    }
    const next = segments[index + 1]?.base
    if (open?.segment.base === segment.base) {
      open.next = next
      return open
    }
    await this.#leave()
    try {
      this.#open = { segment, file: await this.#fileSystem.open(segment.path, 'read'), next }
    } catch (error) {
      if (systemCodeOf(error) !== 'ENOENT') throw error
      throw new FreshetError('corrupt_log', `The segment ${segment.path} has disappeared.`, { cause: error })
    }
    return this.#open
  }

  async #leave(): Promise<void> {
    const open = this.#open
    this.#open = undefined
    await open?.file.close()
  }
}
