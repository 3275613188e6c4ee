/**
 * Drives one consumer: reads its stream batch after batch, from the table and then from the log, and hands them over in order; remembers how far it
 * is (consumer-records.ts); tries again what failed, later and later; says how far it lags. It knows of no other consumer, so one that is slow or
 * fails holds up nobody but itself.
 *
 * Exactly once: a target that keeps the checkpoint decides where to go on. For any other the record has, before a batch is begun, which batch it is
 * (`intent`), and the batch is taken again just as it was. What a crash leaves:
 * - before the intent is durable: the record of the batch before; nothing was done with this one.
 * - after it, before the batch is done: the same batch is taken again, with the same sequence. What was appended is recognised by its number.
 *   With other code the outputs may be others, so numbers that may be taken are left out, and repeats are recognised by their ids alone, at the
 *   loading of the target stream (I5).
 * - after the batch is done, before the next intent: as before; all of it is recognised.
 */
import type { Log, Position } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import type { Timers } from '../runtime/timers.ts'
import type { BackFill } from './back-fill.ts'
import type { ConsumerRecord, ConsumerRecords, Intent } from './consumer-records.ts'
import type { Consumer } from './consumer.ts'
import { floorOf, formatPlace, isLakePlace, parsePlace, type Place } from './place.ts'
import { RecentEvents } from './recent-events.ts'
import type { SourceBatch } from './source-batch.ts'
import { SourceReader } from './source-reader.ts'

export interface RunnerDeps {
  log: Log
  records: ConsumerRecords
  backFill: BackFill
  fileSystem: FileSystem
  clock: Clock
  timers: Timers
  random: Random
  logger: Logger
}

/** How a consumer gets on. */
export interface ConsumerStatus {
  name: string
  from: string
  state: 'starting' | 'back-filling' | 'running' | 'paused' | 'failing' | 'stopped'
  /** Its place, as text. */
  checkpoint: string | null
  /** Bytes of the log that it has before it, those of a back-fill not counted. */
  lagBytes: number
  /** Events that it took since the process began. */
  events: number
  /** When it took the last one, ISO; null for none yet. */
  lastTakenAt: string | null
  /** Why it does not get on; null while it does. */
  problem: string | null
  /** How often in a row it failed. */
  failures: number
}

const retryMsMin = 200
const retryMsMax = 30_000
/** So that a consumer that works on one batch while another is written has the next one when it is done with it. */
const aheadMax = 2
/** Small batches wait this long for more to come along. */
const paceMs = 5
const smallBytes = 64 * 1024
/** How often the place of a consumer is noted whose target keeps it: the log is trimmed by what is noted. */
const noteMs = 1000
/** How often a problem that stays the same is logged again. */
const repeatReportMs = 600_000

export class Runner {
  readonly consumer: Consumer
  readonly #deps: RunnerDeps
  readonly #reader: SourceReader
  readonly #stop = new AbortController()
  #loop: Promise<void> | undefined
  #grown = true
  #wake: (() => void) | undefined
  #place: Place | undefined
  #sequence = 0
  /** The window of events that it was given last, where it is not to be given one twice, and the noted places of an earlier one. */
  readonly #recent: RecentEvents | undefined
  #marks: readonly Position[] = []
  #intent: Intent | undefined
  /** Whether something may have come already of the batch that is next. */
  #mayBeBegun = false
  /** Whether the target keeps the checkpoint. */
  #targetKeeps = false
  /** Set while the record is behind the place. */
  #unnoted = false
  #notedMs = 0
  /** The batches behind the one at hand, on which the consumer may be working. */
  #ahead: SourceBatch[] = []
  #paused: { reached: PromiseWithResolvers<void>; isReached: boolean; count: number } | undefined
  #failures = 0
  #problem: string | undefined
  #reportedMs = 0
  #events = 0
  #lastTakenMs: number | undefined

  constructor(consumer: Consumer, deps: RunnerDeps) {
    this.consumer = consumer
    this.#deps = deps
    this.#reader = new SourceReader(consumer.from, deps.log, deps.backFill)
    this.#recent = consumer.identity && new RecentEvents({ identity: consumer.identity })
  }

  start(): void {
    this.#loop = this.#run()
  }

  /** The log of its stream has grown, or may have. */
  wake(): void {
    this.#grown = true
    this.#wake?.()
  }

  /** Finishes the batch at hand, and notes how far it came. */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#wake?.()
    await this.#loop
    await this.consumer.close()
  }

  /**
   * Resolves when no batch is being dealt with; none is begun until the function that it resolves to is called.
   * @returns how to go on
   */
  async pause(): Promise<() => void> {
    this.#paused ??= { reached: Promise.withResolvers<void>(), isReached: false, count: 0 }
    const paused = this.#paused
    paused.count++
    this.wake()
    await paused.reached.promise
    let isOver = false
    return () => {
      if (isOver || --paused.count > 0) return
      isOver = true
      this.#paused = undefined
      this.wake()
    }
  }

  /** While it is paused: everything before this place is dealt with, and nothing behind it. Undefined when a batch may be half done. */
  get restingPlace(): Place | undefined {
    return this.#mayBeBegun ? undefined : this.#place
  }

  async status(): Promise<ConsumerStatus> {
    const { name, from } = this.consumer
    const place = this.#place
    const end = await this.#reader.end()
    const behind = place === undefined ? end : end - (isLakePlace(place) ? place.next : place.log)
    return {
      name,
      from,
      state: this.#state,
      checkpoint: place === undefined ? null : formatPlace(place),
      lagBytes: Math.max(0, Number(behind)),
      events: this.#events,
      lastTakenAt: this.#lastTakenMs === undefined ? null : new Date(this.#lastTakenMs).toISOString(),
      problem: this.#problem ?? null,
      failures: this.#failures,
    }
  }

  get #state(): ConsumerStatus['state'] {
    if (this.#stop.signal.aborted) return 'stopped'
    if (this.#paused !== undefined) return 'paused'
    if (this.#failures > 0) return 'failing'
    if (this.#place === undefined) return 'starting'
    return isLakePlace(this.#place) ? 'back-filling' : 'running'
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        this.#place ??= await this.#open()
        // What a crash or a failure has left half done is finished first, unless somebody was told already that it rests.
        if (this.#paused !== undefined && (!this.#mayBeBegun || this.#paused.isReached)) await this.#rest()
        else if (!(await this.#takeNext())) await this.#untilGrown()
      } catch (error) {
        if (signal.aborted) break
        await this.#failed(error)
      }
    }
    await this.#note().catch((error: unknown) => this.#report(error))
  }

  /** Where to go on: by the target, or by the record. */
  async #open(): Promise<Place> {
    const { records } = this.#deps
    const { name, from, startsAt, version } = this.consumer
    const read = await records.read(name)
    const record = read?.from === from ? read : undefined
    this.#sequence = read?.sequence ?? 0
    this.#marks = record === undefined ? [] : marksOf(record)
    this.#intent = undefined
    this.#mayBeBegun = false
    const kept = await this.consumer.checkpoint()
    this.#targetKeeps = kept !== undefined
    if (kept !== undefined && kept !== '') {
      // What is noted may be behind the target, and holds the log.
      this.#unnoted = true
      return parsePlace(kept)
    }
    // A target without a checkpoint has nothing yet, or was made anew.
    const goesOn = kept === undefined || startsAt === 'new' || (record !== undefined && isLakePlace(record.place))
    if (record !== undefined && goesOn) {
      this.#intent = kept === undefined ? record.intent : undefined
      this.#mayBeBegun = this.#intent !== undefined
      if (this.#intent !== undefined && this.#intent.version !== version) this.#leaveNumbers(this.#intent)
      return record.place
    }
    const place = await this.#reader.start(name, startsAt)
    // From here on the log is held for it where it is, and a snapshot that was kept for it is known.
    await this.#write(place, undefined)
    return place
  }

  /** Its outputs would be others: the numbers that it may have used are not used for them. */
  #leaveNumbers({ batches }: Intent): void {
    this.#sequence += Math.max(batches, 1)
    this.#intent = undefined
  }

  /** Takes the next batch. @returns whether there was any */
  async #takeNext(): Promise<boolean> {
    this.#grown = false
    const place = this.#place!
    const batch = this.#ahead.shift() ?? (await this.#read(place))
    if (batch.batches.length === 0) {
      if (!isLakePlace(place)) return false
      this.#place = await this.#reader.leaveLake(place, this.consumer.name)
      this.#unnoted = true
      return true
    }
    this.#mayBeBegun = true
    const repeats = await this.#repeatsIn(batch)
    if (!this.#targetKeeps) await this.#intend(batch, repeats)
    const ahead = this.#readAhead(batch.to)
    try {
      const { signal } = this.#stop
      const given = repeats.length === 0 ? batch : { ...batch, repeats: new Set(repeats) }
      this.#sequence = await this.consumer.take(given, { sequence: this.#sequence, signal })
    } finally {
      await ahead
    }
    this.#intent = undefined
    this.#mayBeBegun = false
    this.#place = batch.to
    this.#recent?.add(batch)
    this.#unnoted = true
    this.#events += batch.count - batch.skip
    this.#lastTakenMs = this.#deps.clock.nowMs()
    this.#failures = 0
    this.#problem = undefined
    if (this.#targetKeeps && this.#deps.timers.monotonicMs() - this.#notedMs >= noteMs) await this.#note()
    if (batch.bytes.length < smallBytes && this.#ahead.length === 0) {
      await this.#deps.timers.sleep(paceMs, this.#stop.signal)
    }
    return true
  }

  async #read(place: Place): Promise<SourceBatch> {
    const intent = this.#intent
    const { batchBytesMax } = this.consumer
    if (intent === undefined) return this.#reader.read(place, batchBytesMax)
    const batch = await this.#reader.readAgain(place, intent, batchBytesMax)
    if (formatPlace(batch.to) !== formatPlace(intent.to)) this.#leaveNumbers(intent)
    return batch
  }

  /** Reads the next batches, on which the consumer may begin to work. What goes wrong with them shows when it is their turn. */
  async #readAhead(place: Place): Promise<void> {
    const { consumer } = this
    if (consumer.prepare === undefined) return
    try {
      while (this.#ahead.length < aheadMax && this.#paused === undefined) {
        const batch = await this.#reader.read(this.#ahead.at(-1)?.to ?? place, consumer.batchBytesMax)
        if (batch.batches.length === 0) return
        consumer.prepare(batch)
        this.#ahead.push(batch)
      }
    } catch {
      return
    }
  }

  async #intend({ to, batches }: SourceBatch, repeats: readonly number[]): Promise<void> {
    const { version } = this.consumer
    this.#intent ??= { to, batches: batches.length, version, ...(repeats.length > 0 && { repeats }) }
    await this.#write(this.#place!, this.#intent)
  }

  /** What of a batch the consumer was given before. A batch that was begun is taken just as it was. */
  async #repeatsIn(batch: SourceBatch): Promise<readonly number[]> {
    const recent = this.#recent
    if (recent === undefined) return []
    await recent.goTo(batch, this.#marks, (...place) => this.#reader.readLog(...place))
    return this.#intent === undefined ? recent.repeatsIn(batch) : (this.#intent.repeats ?? [])
  }

  async #write(place: Place, intent: Intent | undefined): Promise<void> {
    const { name, from } = this.consumer
    const recent = this.#recent?.marksAt(place) ?? this.#marks
    await this.#deps.records.write(name, { from, place, sequence: this.#sequence, intent, recent })
  }

  /** Makes the record say how far it is. */
  async #note(): Promise<void> {
    if (!this.#unnoted || this.#place === undefined || this.#intent !== undefined) return
    await this.#write(this.#place, undefined)
    this.#unnoted = false
    this.#notedMs = this.#deps.timers.monotonicMs()
  }

  async #untilGrown(): Promise<void> {
    await this.#note()
    if (this.#grown || this.#stop.signal.aborted) return
    await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  async #rest(): Promise<void> {
    await this.#note()
    this.#ahead = []
    this.#reachPause()
    this.#grown = false
    if (this.#paused === undefined || this.#stop.signal.aborted) return
    await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  #reachPause(): void {
    if (this.#paused === undefined) return
    this.#paused.isReached = true
    this.#paused.reached.resolve()
  }

  /** An erasure takes snapshots away. What is left of one is in the newest, in the same order, and all else behind it. */
  async #anotherSnapshot(): Promise<void> {
    const { backFill } = this.#deps
    const { name, from } = this.consumer
    const place = this.#place
    if (place === undefined || !isLakePlace(place)) return
    const begun = await backFill.begin(from, name)
    if (begun === undefined) return
    const next: Place = { snapshot: begun.snapshot, next: begun.position, after: place.after }
    if (this.#intent !== undefined) this.#leaveNumbers(this.#intent)
    await this.#write(next, undefined)
  }

  async #failed(error: unknown): Promise<void> {
    const { timers, random } = this.#deps
    if (error instanceof FreshetError && error.code === 'unknown_snapshot') {
      try {
        await this.#anotherSnapshot()
      } catch (reason) {
        this.#report(reason)
      }
    }
    this.#failures++
    this.#ahead = []
    // The target may have taken the batch all the same: where it is known, and by what, is looked up again.
    this.#place = undefined
    const mostMs = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(this.#failures - 1, 20))
    const waitMs = mostMs / 2 + random.integer(Math.ceil(mostMs / 2))
    this.#report(error, waitMs)
    // A pause is not made to wait for a consumer that fails.
    this.#reachPause()
    await timers.sleep(waitMs, this.#stop.signal)
  }

  /** Says why it does not get on: at once, and then seldom while it is the same. */
  #report(error: unknown, retryInMs?: number): void {
    const { logger, timers } = this.#deps
    const message = messageOf(error)
    const hint = error instanceof FreshetError ? error.hint : undefined
    const nowMs = timers.monotonicMs()
    if (this.#problem !== message || nowMs - this.#reportedMs >= repeatReportMs) {
      const { name: consumer } = this.consumer
      const times = this.#failures
      logger.warn({ consumer, error: message, hint, times, retryInMs }, 'a consumer failed, and tries again')
      this.#reportedMs = nowMs
    }
    this.#problem = message
  }
}

/** Where the log can be read again to know what came before. The target may be further than its record says. */
function marksOf({ recent = [], place }: ConsumerRecord): Position[] {
  return [...recent, floorOf(place)]
}
