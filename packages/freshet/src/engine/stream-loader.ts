/**
 * Keeps one stream's table up with its log: waits for growth, loads what is there in chunks, and flushes by age and size. Loading
 * goes on while a flush runs; when hot rows pile up faster than they can be committed, it waits for the flush.
 */
import type { Plan } from '../config/plan.ts'
import type { Chunk, Log, Position } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/logging.ts'
import { Mutex } from '../runtime/mutex.ts'
import type { Timers } from '../runtime/timers.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { ScannedEvents } from './dedup/scan.ts'
import { isOutOfMemory } from './duckdb-error.ts'
import { StreamLedger } from './ledger/stream-ledger.ts'
import { StreamStats } from './stream-stats.ts'
import type { StreamTable } from './stream-table.ts'

export interface LoaderDeps {
  plan: Plan
  log: Log
  clock: Clock
  timers: Timers
  logger: Logger
  /** Loads of all streams take turns, which bounds the memory they need. */
  turns: Mutex
  store: ObjectStore
  /** The log position below which no other consumer of a stream needs anything (I7); undefined where there is no other. */
  heldBy: (stream: string) => Promise<Position | undefined>
}

/** A chunk is large enough to be read in parallel, a whole segment if it can be, and small enough that two fit in memory. */
const chunkBytesMax = 64 * 1024 * 1024
/** A chunk that needs too much memory is tried again in halves, down to this size. */
const chunkBytesMin = 1024 * 1024
/** While it works on a chunk of this size, the next one is read. */
const chunkBytesLarge = 32 * 1024 * 1024
/** With so much of the log left there is no rest between chunks, however small they are: segments may be small. */
const backlogBytesMin = 8n * 1024n * 1024n
/** What nothing but heartbeats has filled is committed at this size, so that the log can let go of it. */
const heartbeatBytesMax = 1024 * 1024
const paceMs = 20
const restMsMax = 1000
const retryMsMin = 200
const retryMsMax = 15_000
const flushRetryMs = 1000
const commitPollMs = 25
/** What a stop spends on loading the rest of the log; a long backlog is left to the next start. */
const loadRestMsMax = 5000
const partition = 0

interface ReadChunk {
  chunk: Chunk
  scanned: ScannedEvents | undefined
}

export class StreamLoader {
  readonly table: StreamTable
  readonly stats = new StreamStats()
  /** undefined for a stream without a log. */
  readonly ledger: StreamLedger | undefined
  readonly #deps: LoaderDeps
  readonly #stop = new AbortController()
  #loop: Promise<void> | undefined
  #wake: (() => void) | undefined
  #grown = true
  /** Up to here the log is caught up with: loaded without a pause. */
  #goal: Position = 0n
  readonly #caughtUp = Promise.withResolvers<void>()
  #bytesHot = 0
  #chunkBytes = chunkBytesMax
  #ahead: { from: Position; ready: Promise<ReadChunk> } | undefined
  #flush: Promise<void> | undefined
  /** Set while a flush is due: what calls it off. */
  #cancelFlush: (() => void) | undefined

  constructor(table: StreamTable, deps: LoaderDeps) {
    this.table = table
    this.#deps = deps
    if (table.hasLog) this.ledger = new StreamLedger(table, deps.log, deps.store)
  }

  /** @param goal the log's end now; what is before it was there already, and is loaded without a pause */
  start(goal: Position = 0n): void {
    this.#goal = goal
    this.#loop = this.#run()
  }

  /** Resolves when all that was in the log at the start is visible. */
  get caughtUp(): Promise<void> {
    return this.#caughtUp.promise
  }

  /** How far it is from there; 0 from then on. */
  get behindBytes(): bigint {
    const { position } = this.table
    return position < this.#goal ? this.#goal - position : 0n
  }

  /** The log has grown, or may have. */
  wake(): void {
    this.#grown = true
    this.#wake?.()
  }

  /**
   * Resolves when everything before a position of the log is in the table, and the log trimmed as far as that goes; of a stream without a
   * log, when all that is hot now is in the table.
   * @throws the reason of `signal` when it is aborted
   */
  async commitUpTo(position: Position, signal: AbortSignal): Promise<void> {
    const { timers } = this.#deps
    if (!this.table.hasLog) {
      await this.table.flush()
      return
    }
    while (this.table.checkpoint < position) {
      signal.throwIfAborted()
      if (this.table.position < position) {
        this.wake()
        await timers.sleep(commitPollMs, signal)
        continue
      }
      this.#startFlush()
      await this.#flush
    }
    await this.#trim()
  }

  /**
   * Resolves when the log may have let go of everything before a position: all of it is committed, and no consumer needs it any more.
   * @throws the reason of `signal` when it is aborted
   */
  async trimUpTo(position: Position, signal: AbortSignal): Promise<void> {
    await this.commitUpTo(position, signal)
    if (!this.table.hasLog) return
    while ((await this.#trim()) < position) {
      signal.throwIfAborted()
      await this.#deps.timers.sleep(commitPollMs, signal)
    }
  }

  /** Lets the log go as far as nobody needs it (I7); up to which position that is. */
  async #trim(): Promise<Position> {
    const { log, heldBy } = this.#deps
    const { name } = this.table.stream
    const held = await heldBy(name)
    const own = this.table.checkpoint
    const floor = held !== undefined && held < own ? held : own
    await log.trim(name, new Map([[partition, floor]]))
    return floor
  }

  /** Loads what the log still has, as far as time allows, commits what is hot, and stops. */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#wake?.()
    this.#cancelFlush?.()
    await this.#loop
    await this.#loadRest()
    await this.#flush
    await this.#flushOnce()
  }

  async #loadRest(): Promise<void> {
    const { timers } = this.#deps
    const deadlineMs = timers.monotonicMs() + loadRestMsMax
    try {
      while (timers.monotonicMs() < deadlineMs && (await this.#loadNext()) > 0);
    } catch (error) {
      // What is not loaded now is still in the log.
      this.stats.loadProblem = this.#reported(error, this.stats.loadProblem)
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    const { timers } = this.#deps
    let retryMs = retryMsMin
    while (!signal.aborted) {
      if (!this.#grown) await new Promise<void>((resolve) => (this.#wake = resolve))
      if (signal.aborted) return
      this.#grown = false
      const begunMs = timers.monotonicMs()
      try {
        const bytes = await this.#loadNext()
        const isBehind = this.behindBytes > 0n
        if (!isBehind) this.#caughtUp.resolve()
        retryMs = retryMsMin
        this.stats.loadProblem = undefined
        if (bytes > 0) this.#grown = true
        // By and by: what took the memory may have been a query.
        this.#chunkBytes = Math.min(chunkBytesMax, this.#chunkBytes + chunkBytesMin)
        this.#scheduleFlush()
        await this.#flushIfFull()
        const rests = !isBehind && (await this.#leftBytes()) < backlogBytesMin
        if (rests) await timers.sleep(restMs(timers.monotonicMs() - begunMs), signal)
      } catch (error) {
        this.stats.loadProblem = this.#reported(error, this.stats.loadProblem)
        this.#grown = true
        if (isOutOfMemory(error)) {
          this.#chunkBytes = Math.max(chunkBytesMin, this.#chunkBytes / 2)
          this.#startFlush()
        }
        await timers.sleep(retryMs, signal)
        retryMs = Math.min(retryMsMax, retryMs * 2)
      }
    }
  }

  /** Loads one chunk; returns its size in bytes, 0 when there was none. */
  #loadNext(): Promise<number> {
    const { turns, clock } = this.#deps
    return turns.run(async () => {
      const from = this.table.position
      const ahead = this.#ahead?.from === from ? this.#ahead.ready : undefined
      this.#ahead = undefined
      let read = await (ahead ?? this.#read(from))
      // What was read ahead may have been the end then, and the log may have grown since.
      if (ahead && read.chunk.bytes.length === 0) read = await this.#read(from)
      const { chunk, scanned } = read
      if (chunk.bytes.length === 0) return 0
      if (chunk.bytes.length >= chunkBytesLarge) this.#readAhead(chunk.next)
      const stats = await this.table.load(chunk, from, scanned)
      this.#bytesHot += chunk.bytes.length
      this.stats.note(clock.nowMs(), chunk.receivedAtMs, stats)
      return chunk.bytes.length
    })
  }

  /** What the log has behind the loaded position. */
  async #leftBytes(): Promise<bigint> {
    const ends = await this.#deps.log.ends(this.table.stream.name)
    return (ends.get(partition) ?? 0n) - this.table.position
  }

  async #read(from: Position): Promise<ReadChunk> {
    const chunk = await this.#deps.log.read(this.table.stream.name, partition, from, this.#chunkBytes)
    return { chunk, scanned: this.table.scan(chunk) }
  }

  /** Reads and scans the next chunk while DuckDB works on this one. */
  #readAhead(from: Position): void {
    const ready = this.#read(from)
    // A failure shows when the chunk is wanted, if it ever is.
    ready.catch(() => undefined)
    this.#ahead = { from, ready }
  }

  async #flushIfFull(): Promise<void> {
    const onlyHeartbeats = this.table.uncommittedSinceMs === undefined
    if (this.#fullness >= 1 || (onlyHeartbeats && this.#bytesHot >= heartbeatBytesMax)) this.#startFlush()
    while (this.#fullness >= 2 && !this.#stop.signal.aborted) {
      this.#startFlush()
      await this.#flush
    }
  }

  /** From 1 on it is time for a flush, from 2 on no more is loaded before one has succeeded. */
  get #fullness(): number {
    const { plan } = this.#deps
    return Math.max(this.table.hotRows / plan.lake.flushRows, this.#bytesHot / (plan.engine.memoryBytes / 2))
  }

  #scheduleFlush(): void {
    const since = this.table.uncommittedSinceMs
    if (since === undefined || this.#cancelFlush !== undefined) return
    const dueMs = Math.max(0, since + this.#deps.plan.lake.flushIntervalMs - this.#deps.clock.nowMs())
    const waitMs = Math.min(dueMs, this.#deps.plan.lake.flushIntervalMs)
    this.#cancelFlush = this.#deps.timers.after(waitMs, () => this.#startFlush())
  }

  #startFlush(): void {
    this.#cancelFlush?.()
    this.#flush ??= this.#flushOnce().finally(() => {
      this.#flush = undefined
      this.#cancelFlush = undefined
      if (!this.#stop.signal.aborted) this.#scheduleFlush()
    })
  }

  async #flushOnce(): Promise<void> {
    const { clock } = this.#deps
    const bytes = this.#bytesHot
    try {
      const committed = await this.table.flush()
      this.#bytesHot -= bytes
      this.stats.commitProblem = undefined
      if (!committed) return
      this.stats.lastCommitMs = clock.nowMs()
      await this.#trim()
    } catch (error) {
      this.stats.commitProblem = this.#reported(error, this.stats.commitProblem)
      // The table may have been loaded anew, from an earlier position than the log was read to.
      this.wake()
      await this.#deps.timers.sleep(flushRetryMs, this.#stop.signal)
    }
  }

  /** The message of `error`, logged unless it is what was reported last. */
  #reported(error: unknown, last: string | undefined): string {
    const message = messageOf(error)
    const hint = error instanceof FreshetError ? error.hint : undefined
    if (last !== message)
      this.#deps.logger.error({ stream: this.table.stream.name, error: message, hint }, 'stream is stuck')
    return message
  }
}

/**
 * How long to wait after a load that took `spentMs`, so that events travel together: at least until the next beat, and under
 * pressure as long again as the load took. Larger chunks cost less an event, and the gateway gets its share of the machine.
 */
function restMs(spentMs: number): number {
  return Math.max(paceMs - spentMs, Math.min(spentMs, restMsMax))
}
