/**
 * The embedded log: segments of framed NDJSON in a folder, one writer process, any number of reader processes.
 * Positions are byte offsets. Each stream has one partition, 0.
 *
 *     <dir>/<stream>/<partition>/<base>.ndjson   segments (segments.ts, frame.ts)
 *     <dir>/<stream>/<partition>/<base>.seen     batches seen below that position (seen-file.ts)
 *     <dir>/_ends/<stream>.<partition>           the durable end, for readers (durable-end.ts)
 *
 * None of these files carries a version of its own: the format of the whole data folder is in its freshet.json, which is checked
 * before the log is opened, and a change that older builds would misread raises that.
 */
import { logNamePattern } from '../../config/plan.ts'
import type { Clock } from '../../runtime/clock.ts'
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { Logger } from '../../runtime/logging.ts'
import type { Timers } from '../../runtime/timers.ts'
import type { AppendBatch, Appended, Chunk, Log, Position, Positions } from '../log.ts'
import { endsFolder, readEnd } from './durable-end.ts'
import { PartitionReader } from './partition-reader.ts'
import { PartitionWriter } from './partition-writer.ts'
import { listSeen, listSegments, partitionFolder } from './segments.ts'

export interface FileLogOptions {
  dir: string
  /** `write`: the one process that appends (it recovers every stream first); `read`: any other. */
  mode: 'write' | 'read'
  /** How a process that only reads has the writer append; left out, it cannot. */
  appender?: Pick<Log, 'append'>
  segmentBytes: number
  diskFreeBytesMin: number
  fileSystem: FileSystem
  clock: Clock
  timers: Timers
  logger: Logger
}

const partition = 0
/** Growth that the operating system did not report is noticed after this long at the latest. */
const pollIntervalMs = 500
/** A stream whose log could not be opened is not tried again sooner: recovery reads a whole segment. */
const openAgainMs = 1000

export interface FileLog extends Log {
  /** Streams that have a log, sorted. */
  streams(): Promise<string[]>
  /**
   * Begins a new segment of a stream, so that everything appended so far can be trimmed, also what stands in the segment that is
   * being written. Appending goes on meanwhile.
   * @returns where each partition's new segment begins: batches whose `append` was called before this are below
   * @throws FreshetError `log_unwritable`, `disk_full`
   */
  roll(stream: string): Promise<Positions>
  /** Finishes appends and reads under way and frees everything. */
  close(): Promise<void>
}

/**
 * Opens the log. In `write` mode every stream is recovered before this resolves; one that cannot be is reported, refuses appends,
 * and is recovered a little later.
 */
export async function openFileLog(options: FileLogOptions): Promise<FileLog> {
  await options.fileSystem.makeDir(endsFolder(options.dir))
  const log = new SegmentLog(options)
  if (options.mode === 'write') await log.recover()
  return log
}

interface OpenWriter {
  opening: Promise<PartitionWriter>
  /** Set once it is open. */
  writer: PartitionWriter | undefined
}

class SegmentLog implements FileLog {
  readonly #options: FileLogOptions
  readonly #writers = new Map<string, OpenWriter>()
  readonly #readers = new Map<string, PartitionReader>()
  readonly #listeners = new Set<(stream: string) => void>()
  readonly #known = new Map<string, number>()
  /** Durable ends of streams whose writer failed and is not replaced yet: what lies behind them was refused. */
  readonly #failedAt = new Map<string, number>()
  #unwatch: (() => void) | undefined
  #stopPolling: (() => void) | undefined
  #closed = false

  constructor(options: FileLogOptions) {
    this.#options = options
  }

  async recover(): Promise<void> {
    for (const stream of await this.streams()) {
      try {
        await this.#writer(stream)
      } catch (error) {
        this.#options.logger.error({ stream, error: messageOf(error) }, 'the log of a stream could not be recovered')
      }
    }
  }

  async streams(): Promise<string[]> {
    const names = await this.#options.fileSystem.readDir(this.#options.dir)
    return names.filter((name) => logNamePattern.test(name))
  }

  async append(stream: string, batch: AppendBatch): Promise<Appended> {
    const { appender } = this.#options
    if (appender) return appender.append(stream, batch)
    const writer = await this.#writer(stream)
    return writer.append(batch)
  }

  async read(stream: string, part: number, from: Position, maxBytes: number): Promise<Chunk> {
    this.#checkOpen()
    const key = `${stream}.${part}`
    let reader = this.#readers.get(key)
    if (reader === undefined) {
      reader = new PartitionReader(this.#options.fileSystem, this.#options.dir, stream, part)
      this.#readers.set(key, reader)
    }
    return reader.read(Number(from), maxBytes)
  }

  async ends(stream: string): Promise<Positions> {
    const end = readEnd(this.#options.fileSystem, this.#options.dir, stream, partition)
    return new Map(end === undefined ? [] : [[partition, BigInt(end)]])
  }

  async trim(stream: string, below: Positions): Promise<void> {
    const { fileSystem, dir } = this.#options
    for (const [part, position] of below) {
      const folder = partitionFolder(dir, stream, part)
      const segments = await listSegments(fileSystem, folder)
      // A segment is needed for its batches' marks until a memory of seen batches sums them up; a power loss may have taken the last.
      const remembered = (await listSeen(fileSystem, folder)).at(-1) ?? 0
      const doomed = segments.filter((_, index) => {
        const next = segments[index + 1]
        return next !== undefined && next.base <= remembered && BigInt(next.base) <= position
      })
      if (doomed.length === 0) continue
      // First what replaces them must last: the next segment, and that memory.
      await fileSystem.syncDir(folder)
      for (const { path } of doomed) {
        await fileSystem.remove(path)
        // One by one, so that after a crash what is left has no hole in it.
        await fileSystem.syncDir(folder)
      }
    }
  }

  async roll(stream: string): Promise<Positions> {
    if (readEnd(this.#options.fileSystem, this.#options.dir, stream, partition) === undefined) return new Map()
    const writer = await this.#writer(stream)
    return new Map([[partition, BigInt(await writer.roll())]])
  }

  subscribe(onGrowth: (stream: string) => void): () => void {
    // Wrapped, so that the same function can be subscribed twice.
    const listener = (stream: string): void => onGrowth(stream)
    this.#listeners.add(listener)
    this.#startWatching()
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#stopWatching()
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#listeners.clear()
    this.#stopWatching()
    for (const { opening } of this.#writers.values()) await (await opening.catch(() => undefined))?.close()
    for (const reader of this.#readers.values()) await reader.close()
  }

  /** The writer of a stream: opened at its first append, and anew after it failed. Appends wait for it in the order they came. */
  #writer(stream: string): Promise<PartitionWriter> {
    this.#checkOpen()
    if (this.#options.mode === 'read') {
      throw new FreshetError('log_unwritable', 'This process opened the log for reading only.')
    }
    const known = this.#writers.get(stream)
    return known === undefined || known.writer?.failed === true ? this.#open(stream, known?.writer) : known.opening
  }

  #open(stream: string, failed: PartitionWriter | undefined): Promise<PartitionWriter> {
    const { dir, mode: _, ...rest } = this.#options
    if (failed) this.#failedAt.set(stream, failed.end)
    const open = async (): Promise<PartitionWriter> => {
      await failed?.close()
      const options = { ...rest, logDir: dir, stream, partition }
      const writer = await PartitionWriter.open(options, this.#failedAt.get(stream))
      this.#failedAt.delete(stream)
      return writer
    }
    const entry: OpenWriter = { opening: open(), writer: undefined }
    this.#writers.set(stream, entry)
    entry.opening.then(
      (writer) => (entry.writer = writer),
      () => this.#options.timers.after(openAgainMs, () => this.#openAgain(stream)),
    )
    return entry.opening
  }

  /** Readers see what a crash left only once it is recovered: that must not wait for an append, which may never come. */
  #openAgain(stream: string): void {
    this.#writers.delete(stream)
    if (!this.#closed) this.#writer(stream).catch(() => undefined)
  }

  #checkOpen(): void {
    if (this.#closed) throw new FreshetError('shutting_down', 'The log is closed.')
  }

  #startWatching(): void {
    if (this.#stopPolling) return
    this.#stopPolling = this.#options.timers.every(pollIntervalMs, () => void this.#checkEnds())
    try {
      const folder = endsFolder(this.#options.dir)
      this.#unwatch = this.#options.fileSystem.watch(folder, (name) => this.#announce(streamOf(name)))
    } catch (error) {
      this.#options.logger.warn({ error: messageOf(error) }, 'no file notifications here; the log is polled instead')
    }
  }

  #stopWatching(): void {
    this.#stopPolling?.()
    this.#stopPolling = undefined
    this.#unwatch?.()
    this.#unwatch = undefined
  }

  async #checkEnds(): Promise<void> {
    const { fileSystem, dir, logger } = this.#options
    try {
      for (const name of await fileSystem.readDir(endsFolder(dir))) {
        const end = readEnd(fileSystem, dir, streamOf(name), partition)
        if (end === undefined || end === this.#known.get(name)) continue
        this.#known.set(name, end)
        this.#announce(streamOf(name))
      }
    } catch (error) {
      logger.warn({ error: messageOf(error) }, 'the ends of the log cannot be read')
    }
  }

  #announce(stream: string): void {
    if (stream === '') return
    for (const listener of this.#listeners) listener(stream)
  }
}

function streamOf(fileName: string): string {
  return fileName.slice(0, Math.max(0, fileName.lastIndexOf('.')))
}
