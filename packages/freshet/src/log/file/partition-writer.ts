/**
 * Appends to one partition by group commit: every batch that arrives while the disk is syncing goes out with the next write and
 * shares its sync. A batch is acknowledged (its promise resolves) only when the sync that covers it has returned (I1).
 *
 * Crash points, and what each leaves for recovery:
 * 1. before the write: nothing.
 * 2. within the write, or before the sync: a torn or whole frame behind the durable end, acknowledged to nobody.
 * 3. after the sync, before the end is published: durable frames behind the published end; recovery finds and publishes them.
 * 4. at a roll, within `.seen`: a temporary file, removed by recovery.
 * 5. at a roll, after `.seen` and before the new segment: the old segment goes on.
 * 6. at a roll, after the new segment and before the folder is synced: an empty segment, or none.
 * 7. at a roll, while old `.seen` files are removed: some are left, for the next roll or recovery.
 *
 * A roll comes with the group that would make a segment too large, or is asked for (`roll`); its crash points are the same. One that
 * was asked for ends with an empty segment, which the next append fills and recovery goes on in.
 *
 * A failed write or sync is never retried as if nothing had happened: the group is refused, the file is durably cut back to the
 * durable end, and the next group goes to a new segment. If cutting back fails too, the writer has failed: it refuses everything,
 * and the partition is to be recovered anew, down to the durable end that this writer knows.
 */
import { dirname } from 'node:path'
import { FreshetError, messageOf, systemCodeOf } from '../../runtime/errors.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { FileHandle } from '../../runtime/file-system.ts'
import type { Timers } from '../../runtime/timers.ts'
import type { AppendBatch, Appended, BatchPlace } from '../log.ts'
import { encodeEnd, endFile } from './durable-end.ts'
import { encodeFrame } from './frame.ts'
import { recoverPartition, type RecoveryOptions } from './recovery.ts'
import type { SeenBatches, SeenPlace } from './seen-batches.ts'
import { removeOldSeen, saveSeen } from './seen-file.ts'
import { partitionFolder, segmentPath } from './segments.ts'

export interface WriterOptions extends RecoveryOptions {
  clock: Clock
  timers: Timers
  segmentBytes: number
  /** Appends are refused while the disk has less than this free. */
  diskFreeBytesMin: number
}

interface Waiting {
  batch: AppendBatch
  resolve: (appended: Appended) => void
  reject: (error: FreshetError) => void
}

/** A new segment that was asked for, behind the batches that were queued before. */
interface WaitingRoll {
  resolve: (position: number) => void
  reject: (error: FreshetError) => void
  /** Batches of the queue that come before it. */
  behind: number
}

/** One write takes at most about this many bytes, so that a backlog does not make the first in it wait for the last. */
const groupBytesMax = 8 * 1024 * 1024
const diskCheckIntervalMs = 1000
/** An end that could not be published is tried again after this long, if no append does so before. */
const publishAgainMs = 500

export class PartitionWriter {
  readonly #options: WriterOptions
  readonly #folder: string
  readonly #seen: SeenBatches<Appended>
  readonly #endFile: FileHandle
  #file: FileHandle | undefined
  #fileBase: number
  #end: number
  /** Where this writer saved its memory of seen batches last. */
  #seenAt: number | undefined
  #queue: Waiting[] = []
  #rolls: WaitingRoll[] = []
  #running: Promise<void> | undefined
  #diskCheckedMs = Number.NEGATIVE_INFINITY
  /** Set while an end waits to be published again: what calls that off. */
  #publishAgain: (() => void) | undefined
  /** The last batch of this writer. */
  #latest: SeenPlace | undefined
  #failed = false
  #closed = false

  /**
   * Recovers the partition and opens it for appending.
   * @param knownEnd the durable end, where a writer of this process knew it before it failed
   * @throws FreshetError `log_unwritable`, `disk_full`
   */
  static async open(options: WriterOptions, knownEnd?: number): Promise<PartitionWriter> {
    const { fileSystem, logDir, stream, partition } = options
    const folder = partitionFolder(logDir, stream, partition)
    const files: FileHandle[] = []
    try {
      await fileSystem.makeDir(folder)
      // A process that died after it made a folder may have left the name of it undurable.
      await fileSystem.syncDir(dirname(folder))
      await fileSystem.syncDir(logDir)
      const { active, end, seen } = await recoverPartition<Appended>(options, knownEnd)
      const ends = await fileSystem.open(endFile(logDir, stream, partition), 'create')
      files.push(ends)
      const file = active && (await fileSystem.open(active.path, 'write'))
      if (file) files.push(file)
      await ends.write([encodeEnd(end)], 0)
      return new PartitionWriter(options, folder, seen, ends, end, file, active?.base ?? end)
    } catch (error) {
      for (const file of files) await file.close().catch(() => undefined)
      throw refusalOf(error, stream)
    }
  }

  private constructor(
    options: WriterOptions,
    folder: string,
    seen: SeenBatches<Appended>,
    ends: FileHandle,
    end: number,
    file: FileHandle | undefined,
    fileBase: number,
  ) {
    this.#options = options
    this.#folder = folder
    this.#seen = seen
    this.#endFile = ends
    this.#end = end
    this.#file = file
    this.#fileBase = fileBase
  }

  /** The durable end. */
  get end(): number {
    return this.#end
  }

  /** True when this writer refuses everything: it is to be closed, and another one opened with its `end`. */
  get failed(): boolean {
    return this.#failed
  }

  /** See `Log.append`. */
  async append(batch: AppendBatch): Promise<Appended> {
    if (this.#failed) throw this.#broken()
    if (this.#closed) throw new FreshetError('shutting_down', 'The log is closed.')
    const first = this.#seen.pending(batch)
    if (first) return { ...(await first), duplicate: true }
    if (this.#seen.has(batch)) {
      const position = BigInt(this.#end)
      const known = this.#seen.placeOf(batch)
      return { from: position, position, duplicate: true, ...(known && { place: this.#batchPlace(known) }) }
    }
    const outcome = new Promise<Appended>((resolve, reject) => this.#queue.push({ batch, resolve, reject }))
    this.#seen.track(batch, outcome)
    this.#running ??= this.#drain()
    return outcome
  }

  /**
   * Begins a new segment behind all batches whose `append` was called before.
   * @returns where it begins: those batches are below, and segments below can be trimmed whole
   * @throws FreshetError `log_unwritable`, `disk_full`; appending goes on all the same
   */
  async roll(): Promise<number> {
    if (this.#failed) throw this.#broken()
    if (this.#closed) throw new FreshetError('shutting_down', 'The log is closed.')
    const position = new Promise<number>((resolve, reject) =>
      this.#rolls.push({ resolve, reject, behind: this.#queue.length }),
    )
    this.#running ??= this.#drain()
    return position
  }

  /** Finishes what is queued, then closes. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#running
    this.#publishAgain?.()
    for (const file of [this.#file, this.#endFile]) {
      await file?.close().catch((error: unknown) => this.#warn(error, 'a file of the log could not be closed'))
    }
  }

  async #drain(): Promise<void> {
    // Requests that arrived in the same turn of the event loop are written together.
    await this.#options.timers.turn()
    if (this.#publishAgain) await this.#publish()
    for (;;) {
      await this.#rollIfDue()
      if (this.#queue.length === 0) break
      const group = this.#takeGroup()
      try {
        if (this.#failed) throw this.#broken()
        const from = this.#end
        const ends = await this.#write(group)
        const places = this.#placesOf(group, from, ends)
        // Known as durable before anything else happens: the next roll saves what is known.
        for (const [index, { batch }] of group.entries()) this.#seen.settle(batch, places[index])
        await this.#publish()
        for (const [index, { resolve }] of group.entries()) {
          const place = this.#batchPlace(places[index]!)
          resolve({ from: place.from, position: place.to, duplicate: false, place })
        }
      } catch (error) {
        const refusal = refusalOf(error, this.#options.stream)
        this.#options.logger.error({ stream: this.#options.stream, error: messageOf(error) }, 'append failed')
        for (const { batch, reject } of group) {
          this.#seen.settle(batch, undefined)
          reject(refusal)
        }
      }
    }
    this.#running = undefined
  }

  #takeGroup(): Waiting[] {
    let bytes = 0
    let count = 0
    const limit = this.#rolls[0]?.behind ?? this.#queue.length
    while (count < limit && (count === 0 || bytes < groupBytesMax)) {
      for (const lines of this.#queue[count]!.batch.lines) bytes += lines.byteLength
      count++
    }
    for (const roll of this.#rolls) roll.behind -= count
    return this.#queue.splice(0, count)
  }

  /** Answers the rolls whose turn it is: a segment in which nothing stands yet serves all of them. */
  async #rollIfDue(): Promise<void> {
    while (this.#rolls[0]?.behind === 0) {
      const { resolve, reject } = this.#rolls.shift()!
      try {
        if (this.#failed) throw this.#broken()
        // Trimming needs the memory as well, which a power cut may have taken from an empty segment.
        const isBegun = this.#file !== undefined && this.#fileBase === this.#end && this.#seenAt === this.#end
        if (!isBegun) await this.#roll()
        resolve(this.#end)
      } catch (error) {
        this.#warn(error, 'a new segment could not be begun')
        reject(refusalOf(error, this.#options.stream))
      }
    }
  }

  /**
   * Where the batches of a durable group are. Arrival times do not go back, so when the next batch waiting has a later one, or none
   * waits and the clock is past it, no batch to come has the same.
   */
  #placesOf(group: readonly Waiting[], start: number, ends: readonly number[]): SeenPlace[] {
    const nowMs = this.#options.clock.nowMs()
    let former = this.#latest
    let from = start
    const places = group.map(({ batch: { count, receivedAtMs } }, index): SeenPlace => {
      const isLikeFormer = former?.receivedAtMs === receivedAtMs
      const next = group[index + 1] ?? this.#queue[0]
      const isLikeNext = next === undefined ? nowMs <= receivedAtMs : next.batch.receivedAtMs <= receivedAtMs
      const first = isLikeFormer ? (former!.sameArrivalFrom ?? former!.from) : from
      const sameArrivalFrom = isLikeFormer || isLikeNext ? first : undefined
      former = { from, to: ends[index]!, count, receivedAtMs, sameArrivalFrom }
      from = former.to
      return former
    })
    this.#latest = former
    return places
  }

  #batchPlace({ from, to, count, receivedAtMs, sameArrivalFrom }: SeenPlace): BatchPlace {
    return {
      partition: this.#options.partition,
      from: BigInt(from),
      to: BigInt(to),
      count,
      receivedAtMs,
      sameArrivalFrom: sameArrivalFrom === undefined ? undefined : BigInt(sameArrivalFrom),
    }
  }

  /** Makes a group durable; gives the position behind each batch. */
  async #write(group: readonly Waiting[]): Promise<number[]> {
    await this.#checkDisk()
    const buffers: Uint8Array[] = []
    const ends: number[] = []
    let end = this.#end
    for (const { batch } of group) {
      for (const buffer of encodeFrame(batch, this.#end)) {
        buffers.push(buffer)
        end += buffer.byteLength
      }
      ends.push(end)
    }
    const full = end - this.#fileBase > this.#options.segmentBytes && this.#end > this.#fileBase
    const file = this.#file === undefined || full ? await this.#roll() : this.#file
    try {
      await file.write(buffers, this.#end - this.#fileBase)
      await file.sync()
    } catch (error) {
      await this.#abandon(file)
      throw error
    }
    this.#end = end
    return ends
  }

  /** Tells readers the durable end. A failure only delays them: what is durable is acknowledged all the same. */
  async #publish(): Promise<void> {
    this.#publishAgain?.()
    this.#publishAgain = undefined
    try {
      await this.#endFile.write([encodeEnd(this.#end)], 0)
    } catch (error) {
      this.#warn(error, 'the end of the log could not be published; readers wait')
      this.#publishAgain = this.#options.timers.after(publishAgainMs, () => {
        this.#running ??= this.#drain()
      })
    }
  }

  /** Cuts a file whose last write or sync failed back to the durable end and leaves it; the next group starts a new segment. */
  async #abandon(file: FileHandle): Promise<void> {
    this.#file = undefined
    try {
      await file.truncate(this.#end - this.#fileBase)
      await file.sync()
    } catch (error) {
      this.#failed = true
      throw this.#broken(error)
    } finally {
      await file.close().catch((error: unknown) => this.#warn(error, 'a file of the log could not be closed'))
    }
  }

  /** Starts a new segment at the durable end, after saving the memory of seen batches as of there. */
  async #roll(): Promise<FileHandle> {
    const { fileSystem, clock } = this.#options
    await saveSeen(fileSystem, this.#folder, this.#end, this.#seen.encode(clock.nowMs()))
    // From here on the old segment must not grow: the new one may exist already even if the next steps fail.
    const old = this.#file
    this.#file = undefined
    await old?.close()
    const file = await fileSystem.open(segmentPath(this.#folder, this.#end), 'create')
    try {
      await fileSystem.syncDir(this.#folder)
    } catch (error) {
      await file.close()
      throw error
    }
    this.#file = file
    this.#fileBase = this.#end
    this.#seenAt = this.#end
    try {
      await removeOldSeen(fileSystem, this.#folder)
    } catch (error) {
      this.#warn(error, 'old memories of seen batches could not be removed')
    }
    return file
  }

  async #checkDisk(): Promise<void> {
    const { clock, fileSystem, diskFreeBytesMin, logDir } = this.#options
    const nowMs = clock.nowMs()
    if (Math.abs(nowMs - this.#diskCheckedMs) < diskCheckIntervalMs) return
    const free = await fileSystem.freeBytes(logDir)
    if (free < diskFreeBytesMin) {
      throw new FreshetError(
        'disk_full',
        `The disk that holds the log has ${free} bytes free; ${diskFreeBytesMin} are kept in reserve.`,
        {
          hint: 'Free some space; what was acknowledged is safe, and nothing new is taken until then.',
        },
      )
    }
    this.#diskCheckedMs = nowMs
  }

  #broken(cause?: unknown): FreshetError {
    return new FreshetError('log_unwritable', `The log of "${this.#options.stream}" cannot be written or cut back.`, {
      hint: 'Check the disk. The log is recovered before the next append; send the batch again.',
      cause,
    })
  }

  #warn(error: unknown, message: string): void {
    this.#options.logger.warn({ stream: this.#options.stream, error: messageOf(error) }, message)
  }
}

function refusalOf(error: unknown, stream: string): FreshetError {
  if (error instanceof FreshetError) return error
  const code = systemCodeOf(error)
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new FreshetError('disk_full', `The disk is full; nothing of the batch for "${stream}" was kept.`, {
      hint: 'Free some space and send the batch again.',
      cause: error,
    })
  }
  return new FreshetError('log_unwritable', `The log of "${stream}" cannot be written (${code ?? messageOf(error)}).`, {
    hint: 'Nothing of the batch was kept; check the disk and send it again.',
    cause: error,
  })
}
