/**
 * What can be done with the dead letters of streams: they are listed, shown, sent again and dropped. Replays and drops take turns, so that no
 * letter is sent twice, or sent and dropped; replays that were interrupted go on first.
 */
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { Timers } from '../../runtime/timers.ts'
import { JobLoop } from '../job-loop.ts'
import { dropWhere } from './drop-letters.ts'
import type { FailedLetter } from './replay-record.ts'
import type { LetterChoice, StageCount } from './letter-reader.ts'
import type { LetteredStream } from './lettered-stream.ts'
import { foresee, replay, type ReplayDeps } from './replay.ts'
import {
  answerOfReplay,
  openReplayRecords,
  type ReplayAnswer,
  type ReplayRecord,
  type ReplayRecords,
} from './replay-record.ts'
import { answerOfLetter, type LetterAnswer } from './stored-letter.ts'

export interface DeadLettersDeps extends Omit<ReplayDeps, 'save'> {
  /** Folder of the records. */
  dir: string
  fileSystem: FileSystem
  timers: Timers
  streamOf: (name: string) => LetteredStream | undefined
  /** Streams that have letters, or had some. */
  letteredStreams: () => string[]
  /** Runs `work` while upkeep rewrites nothing. */
  holdUpkeep: <T>(work: () => Promise<T>) => Promise<T>
}

export interface StreamLetters {
  stream: string
  letters: number
  stages: StageCount[]
}

/** What would become of letters that are sent again. */
export interface ReplayForecast {
  stream: string
  dryRun: true
  letters: number
  accepted: number
  failed: number
  more: boolean
  /** The first of them, each with what would become of it. */
  outcomes: ({ id: string; accepted: true } | ({ accepted: false } & FailedLetter))[]
}

export interface DropAnswer {
  stream: string
  dryRun: boolean
  dropped: number
}

export interface ReplayRequest extends LetterChoice {
  requestedBy: string | null
}

const outcomesMax = 1000

export class DeadLetters {
  readonly #deps: DeadLettersDeps
  readonly #records: ReplayRecords
  readonly #turns = new Mutex()
  readonly #loop: JobLoop<ReplayRecord>
  readonly #ended = new Map<string, PromiseWithResolvers<void>>()

  static async open(deps: DeadLettersDeps): Promise<DeadLetters> {
    return new DeadLetters(deps, await openReplayRecords(deps))
  }

  private constructor(deps: DeadLettersDeps, records: ReplayRecords) {
    this.#deps = deps
    this.#records = records
    this.#loop = new JobLoop({
      records,
      work: (record, signal) => this.#turns.run(() => this.#work(record, signal)),
      failed: async (record, error) => {
        record.waitingFor = messageOf(error)
        deps.logger.warn({ replay: record.id, stream: record.stream, reason: record.waitingFor }, 'replay waits')
        return false
      },
      timers: deps.timers,
    })
  }

  /** Begins with the replays that are not done. */
  start(): void {
    this.#loop.start()
  }

  /** Ends what is under way at its next step; the next start goes on with it. */
  async stop(): Promise<void> {
    await this.#loop.stop()
    await this.#turns.run(async () => undefined)
  }

  async overview(signal: AbortSignal): Promise<{ streams: StreamLetters[] }> {
    const streams: StreamLetters[] = []
    for (const stream of this.#deps.letteredStreams().toSorted()) {
      const stages = await this.#deps.reader.count(stream, signal)
      streams.push({ stream, letters: stages.reduce((sum, { letters }) => sum + letters, 0), stages })
    }
    return { streams }
  }

  /** @throws FreshetError `unknown_stream`, `invalid_sql`, `forbidden_sql` */
  async list(
    stream: string,
    choice: LetterChoice,
    limit: number,
    signal: AbortSignal,
  ): Promise<{ stream: string; letters: LetterAnswer[]; more: boolean }> {
    const found = await this.#deps.reader.list(stream, choice, limit + 1, signal)
    const letters = found.slice(0, limit).map((letter) => answerOfLetter(letter))
    return { stream, letters, more: found.length > limit }
  }

  /** @throws FreshetError `unknown_stream`, `not_found` */
  async show(stream: string, id: string, signal: AbortSignal): Promise<LetterAnswer> {
    return answerOfLetter(await this.#deps.reader.find(stream, id, signal), true)
  }

  /** What a replay would do. Nothing changes. @throws FreshetError as `list` does */
  async foresee(name: string, choice: LetterChoice, signal: AbortSignal): Promise<ReplayForecast> {
    const stream = this.#stream(name)
    const { keys, more } = await this.#deps.reader.keys(name, choice, maxPosition, signal)
    const forecast: ReplayForecast = {
      stream: name,
      dryRun: true,
      letters: 0,
      accepted: 0,
      failed: 0,
      more,
      outcomes: [],
    }
    await foresee(this.#deps, stream, keys, signal, ({ key: [id] }, verdict) => {
      forecast.letters++
      if (verdict.accepted) forecast.accepted++
      else forecast.failed++
      if (forecast.outcomes.length >= outcomesMax) return
      if (verdict.accepted) forecast.outcomes.push({ id, accepted: true })
      else forecast.outcomes.push({ id, ...verdict })
    })
    return forecast
  }

  /**
   * Takes a replay down; it is durable when this resolves, and goes on by itself.
   * @throws FreshetError `unknown_stream`, `invalid_sql`, `forbidden_sql`
   */
  async request(name: string, { where, requestedBy }: ReplayRequest, signal: AbortSignal): Promise<ReplayAnswer> {
    const { reader, clock, random, logger } = this.#deps
    const stream = this.#stream(name)
    await reader.condition(name, { where })
    return this.#turns.run(async () => {
      const below = await stream.settle(AbortSignal.any([signal, this.#loop.stopping]))
      const { keys, more } = await reader.keys(name, { where }, below, signal)
      const record: ReplayRecord = {
        format: 1,
        id: random.hex(12),
        stream: name,
        state: 'running',
        requestedAt: new Date(clock.nowMs()).toISOString(),
        requestedBy,
        where: where ?? null,
        keys,
        batches: [],
        nextSequence: 0,
        letters: keys.length,
        replayed: 0,
        failed: 0,
        failures: [],
        more,
        finishedAt: null,
        waitingFor: null,
      }
      await this.#records.save(record)
      logger.info(
        { audit: 'dead-letter replay', replay: record.id, stream: name, letters: keys.length, by: requestedBy },
        'replay requested',
      )
      this.#ended.set(record.id, Promise.withResolvers<void>())
      this.#loop.wake()
      return answerOfReplay(record)
    })
  }

  /** Resolves when a replay is done, or when `signal` is aborted; how it stands then. */
  async wait(id: string, signal: AbortSignal): Promise<ReplayAnswer> {
    const aborted = Promise.withResolvers<void>()
    const stopped = AbortSignal.any([signal, this.#loop.stopping])
    const leave = (): void => aborted.resolve()
    stopped.addEventListener('abort', leave, { once: true })
    if (stopped.aborted) leave()
    await Promise.race([this.#ended.get(id)?.promise, aborted.promise])
    stopped.removeEventListener('abort', leave)
    return this.find(id)
  }

  /** @throws FreshetError `not_found` */
  find(id: string): ReplayAnswer {
    const record = this.#records.get(id)
    if (record !== undefined) return answerOfReplay(record)
    throw new FreshetError('not_found', `There is no replay ${JSON.stringify(id.slice(0, 100))}.`, {
      hint: 'The answer to a request names it; those that ended long ago are forgotten.',
    })
  }

  /**
   * Drops letters for good.
   * @throws FreshetError `unknown_stream`, `invalid_sql`, `forbidden_sql`
   */
  async drop(
    name: string,
    { where, dryRun, requestedBy }: ReplayRequest & { dryRun: boolean },
    signal: AbortSignal,
  ): Promise<DropAnswer> {
    const { reader, random, logger, holdUpkeep } = this.#deps
    const stream = this.#stream(name)
    const condition = await reader.condition(name, { where }, true)
    // Also shows that it can be evaluated.
    const matching = await reader.matching(name, condition, signal)
    if (dryRun) return { stream: name, dryRun, dropped: matching }
    return this.#turns.run(async () => {
      const stop = AbortSignal.any([signal, this.#loop.stopping])
      await stream.settle(stop)
      const letters = stream.letters()
      const id = random.hex(12)
      const dropped =
        letters === undefined ? 0 : await holdUpkeep(() => dropWhere(this.#deps, letters, { id, condition }, stop))
      logger.info(
        { audit: 'dead-letter drop', drop: id, stream: name, letters: dropped, by: requestedBy },
        'dead letters dropped',
      )
      return { stream: name, dryRun, dropped }
    })
  }

  async #work(kept: ReplayRecord, signal: AbortSignal): Promise<void> {
    const { clock, logger, holdUpkeep } = this.#deps
    // What was not saved does not count.
    const record = structuredClone(kept)
    const stream = this.#stream(record.stream)
    const save = (one: ReplayRecord): Promise<void> => this.#records.save(structuredClone(one))
    // Letters that a crash has set back to the log are in the table again before any is looked for.
    await stream.settle(signal)
    await holdUpkeep(() => replay({ ...this.#deps, save }, stream, record, signal))
    record.state = 'done'
    record.finishedAt = new Date(clock.nowMs()).toISOString()
    record.waitingFor = null
    await save(record)
    logger.info(
      { replay: record.id, stream: record.stream, replayed: record.replayed, failed: record.failed },
      'replay done',
    )
    this.#ended.get(record.id)?.resolve()
    this.#ended.delete(record.id)
  }

  #stream(name: string): LetteredStream {
    const stream = this.#deps.streamOf(name)
    if (stream !== undefined) return stream
    throw new FreshetError('unknown_stream', `There is no stream ${JSON.stringify(name.slice(0, 100))}.`, {
      hint: 'SELECT name FROM freshet.streams lists the streams.',
    })
  }
}

const maxPosition = 2n ** 63n - 1n
