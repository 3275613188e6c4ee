/**
 * The replays that were asked for: taken down durably, done one after another in the order they came, resumed after a restart, and shown. A preview that was
 * interrupted has failed: it is asked for again.
 */
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { Timers } from '../../runtime/timers.ts'
import {
  answerOf,
  hasUndo,
  isOpen,
  openStreamReplayRecords,
  type StreamReplayAnswer,
  type StreamReplayRecord,
  type StreamReplayRecords,
} from './record.ts'
import { JobLoop } from '../job-loop.ts'
import type { ReplayDeps, ReplayedStream } from './replayed-stream.ts'
import { canUndo } from './rounds.ts'
import { apply, preview, rangeOf, undo, type Sample } from './run.ts'

export interface StreamReplaysDeps extends Omit<ReplayDeps, 'save'> {
  /** Folder of the records. */
  dir: string
  fileSystem: FileSystem
  timers: Timers
  /** @throws FreshetError `unknown_stream`, or `replay_refused` for one that no transform makes */
  streamOf: (name: string) => ReplayedStream
  /** How long the source of a stream keeps its events; undefined for ever. */
  sourceRetainMs: (name: string) => number | undefined
}

export interface StreamReplayRequest {
  /** Times as ISO 8601 text; null for no bound. */
  from: string | null
  to: string | null
  dryRun: boolean
  /** How long the former rows are kept; 7 days if left out. */
  keepMs?: number | undefined
  requestedBy: string | null
}

/** With what a preview found in single rows, for as long as this engine runs. */
export type ShownReplay = StreamReplayAnswer & { sample: Sample | null }

const keepMsDefault = 7 * 24 * 3_600_000
const openMax = 20
const samplesMax = 50

export class StreamReplays {
  readonly #deps: StreamReplaysDeps
  readonly #records: StreamReplayRecords
  readonly #samples = new Map<string, Sample>()
  readonly #loop: JobLoop<StreamReplayRecord>
  readonly #waiting = new Map<string, Set<() => void>>()

  static async open(deps: StreamReplaysDeps): Promise<StreamReplays> {
    const records = await openStreamReplayRecords(deps)
    for (const record of records.list().filter(({ state }) => state === 'previewing')) {
      const waitingFor = 'The engine was restarted meanwhile. Ask again.'
      await records.save({ ...record, state: 'failed', finishedAt: isoNow(deps), waitingFor })
    }
    return new StreamReplays(deps, records)
  }

  private constructor(deps: StreamReplaysDeps, records: StreamReplayRecords) {
    this.#deps = deps
    this.#records = records
    this.#loop = new JobLoop({
      records,
      work: async (record, signal) => {
        // What was not saved does not count.
        await this.#work(structuredClone(record), signal)
        this.#tell(record.id)
      },
      failed: (record, error) => this.#failed(record, error),
      timers: deps.timers,
    })
  }

  /** Begins with what is not done. */
  start(): void {
    this.#loop.start()
  }

  /** Ends what is under way at its next step; the next start goes on with it. */
  async stop(): Promise<void> {
    await this.#loop.stop()
    for (const id of this.#waiting.keys()) this.#tell(id)
  }

  list(): StreamReplayAnswer[] {
    return this.#records.list().map(answerOf)
  }

  /** @throws FreshetError `unknown_replay` */
  find(id: string): ShownReplay {
    return { ...answerOf(this.#record(id)), sample: this.#samples.get(id) ?? null }
  }

  /** Takes a replay down; it is durable when this resolves, and goes on by itself. @throws FreshetError */
  async request(name: string, request: StreamReplayRequest): Promise<ShownReplay> {
    const { clock, random } = this.#deps
    const { plan } = this.#deps.streamOf(name)
    this.#checkRoom()
    const from = this.#clipped(name, request.from)
    const { from: first, to: last } = rangeOf({ from, to: request.to })
    if (first !== undefined && last !== undefined && first >= last) {
      throw new FreshetError('invalid_request', `There is no time from ${from} until before ${request.to}.`, {
        hint: 'The source has nothing older than it keeps its events.',
      })
    }
    const record: StreamReplayRecord = {
      format: 1,
      id: random.hex(12),
      stream: name,
      state: request.dryRun ? 'previewing' : 'applying',
      requestedAt: isoNow(this.#deps),
      requestedBy: request.requestedBy,
      from,
      to: request.to,
      version: plan.transform.version,
      keepMs: request.keepMs ?? keepMsDefault,
      preview: null,
      applied: null,
      commits: [],
      rounds: [],
      undone: [],
      finishedAt: null,
      waitingFor: null,
    }
    await this.#begin(record, clock.nowMs())
    return this.find(record.id)
  }

  /** Applies a replay that was previewed. @throws FreshetError `unknown_replay`, `replay_refused` */
  async apply(id: string, requestedBy: string | null): Promise<ShownReplay> {
    const record = this.#record(id)
    if (record.state !== 'previewed') throw refused(record, 'only a preview can be applied')
    const { plan } = this.#deps.streamOf(record.stream)
    if (plan.transform.version !== record.version) {
      throw refused(record, 'the code has changed since its preview', 'Preview it again.')
    }
    this.#checkRoom()
    await this.#begin({ ...record, state: 'applying', requestedBy, finishedAt: null }, this.#deps.clock.nowMs())
    return this.find(id)
  }

  /** Brings the former rows back. @throws FreshetError `unknown_replay`, `replay_refused` */
  async undo(id: string, requestedBy: string | null): Promise<ShownReplay> {
    const record = this.#record(id)
    if (!hasUndo(record)) throw refused(record, 'only one that was applied can be undone')
    const later = this.#records
      .list()
      .find(
        (other) =>
          other.stream === record.stream &&
          (['applying', 'undoing'].includes(other.state) || hasUndo(other)) &&
          Date.parse(other.finishedAt ?? isoNow(this.#deps)) > Date.parse(record.finishedAt!),
      )
    if (later !== undefined) {
      throw refused(record, `the replay ${later.id} came after it`, `Undo ${later.id} first.`)
    }
    if (!canUndo(this.#deps.streamOf(record.stream), record)) {
      const hint =
        'They are kept for a time, and an erasure drops them. Replay the stream with the former code instead.'
      throw refused(record, 'its former rows are kept no more', hint)
    }
    await this.#begin({ ...record, state: 'undoing', requestedBy, finishedAt: null }, this.#deps.clock.nowMs())
    return this.find(id)
  }

  /** Resolves when nothing is left to do for a replay, or when `signal` is aborted; how it stands then. */
  async wait(id: string, signal: AbortSignal): Promise<ShownReplay> {
    if (isOpen(this.#record(id).state) && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const all = this.#waiting.get(id) ?? new Set()
      this.#waiting.set(id, all.add(resolve))
      signal.addEventListener('abort', () => resolve(), { once: true })
      await promise
      all.delete(resolve)
    }
    return this.find(id)
  }

  async #begin(record: StreamReplayRecord, nowMs: number): Promise<void> {
    await this.#records.save(record)
    const { id, stream, state, from, to, requestedBy } = record
    this.#deps.logger.info(
      { audit: 'replay', replay: id, stream, state, from, to, by: requestedBy, at: nowMs },
      'replay requested',
    )
    this.#loop.wake()
  }

  #checkRoom(): void {
    const open = this.#records.list().filter(({ state }) => isOpen(state)).length
    if (open < openMax) return
    throw new FreshetError('replay_refused', `${open} replays are not done yet.`, { hint: 'Ask again when some are.' })
  }

  /** What the source has no longer cannot be made again: rows of that time stay as they are. */
  #clipped(name: string, from: string | null): string | null {
    const retainMs = this.#deps.sourceRetainMs(name)
    if (retainMs === undefined) return from
    const oldestMs = this.#deps.clock.nowMs() - retainMs
    return from !== null && Date.parse(from) >= oldestMs ? from : new Date(oldestMs).toISOString()
  }

  #record(id: string): StreamReplayRecord {
    const record = this.#records.get(id)
    if (record !== undefined) return record
    throw new FreshetError('unknown_replay', `There is no replay ${JSON.stringify(id.slice(0, 100))}.`, {
      hint: '`freshet replays` lists them; those that ended long ago are forgotten.',
    })
  }

  async #work(record: StreamReplayRecord, signal: AbortSignal): Promise<void> {
    const deps: ReplayDeps = { ...this.#deps, save: (one) => this.#records.save(structuredClone(one)) }
    if (this.#hasOtherCode(record)) {
      throw refused(record, 'the code has changed since it was asked for', 'Replay again, or undo what was swapped.')
    }
    const stream = this.#deps.streamOf(record.stream)
    const finishedAt = (): string => isoNow(this.#deps)
    if (record.state === 'previewing') {
      const { findings, sample } = await preview(deps, stream, record, signal)
      this.#keepSample(record.id, sample)
      await deps.save({ ...record, state: 'previewed', preview: findings, finishedAt: finishedAt(), waitingFor: null })
      return
    }
    const isUndo = record.state === 'undoing'
    await (isUndo ? undo : apply)(deps, stream, record, signal)
    const state = isUndo ? 'undone' : 'applied'
    await deps.save({ ...record, state, finishedAt: finishedAt(), waitingFor: null })
    this.#deps.logger.info({ audit: 'replay', replay: record.id, stream: record.stream, state }, `replay ${state}`)
  }

  /** Whether the code that is to be applied is there no longer: the configuration was changed while the replay was cut short. */
  #hasOtherCode({ state, stream, version }: StreamReplayRecord): boolean {
    if (state !== 'applying') return false
    try {
      return this.#deps.streamOf(stream).plan.transform.version !== version
    } catch (error) {
      if (error instanceof FreshetError && !error.retryable) return true
      throw error
    }
  }

  /** @returns whether it is not tried again: a preview, what is refused before it has changed anything, and what has lost its code */
  async #failed(record: StreamReplayRecord, error: unknown): Promise<boolean> {
    const refusal = error instanceof FreshetError && !error.retryable && error.code !== 'internal'
    const isGone = record.state === 'undoing' && !canUndo(this.#deps.streamOf(record.stream), record)
    const isGivenUp = isGone || record.rounds.length === 0 || this.#hasOtherCode(record)
    const isOver = record.state === 'previewing' || (refusal && isGivenUp)
    const waitingFor = messageOf(error)
    this.#deps.logger.warn({ replay: record.id, stream: record.stream, reason: waitingFor }, 'replay does not go on')
    const ended = {
      state: 'failed' as const,
      finishedAt: isoNow(this.#deps),
      // What another undo would need is gone, too.
      ...(isGone && { rounds: [] }),
    }
    if (isOver || record.waitingFor !== waitingFor) {
      await this.#records.save({ ...record, waitingFor, ...(isOver && ended) }).catch(() => undefined)
    }
    if (isOver) this.#tell(record.id)
    return isOver
  }

  #tell(id: string): void {
    for (const resolve of this.#waiting.get(id) ?? []) resolve()
    this.#waiting.delete(id)
  }

  #keepSample(id: string, sample: Sample): void {
    this.#samples.set(id, sample)
    const oldest = this.#samples.keys().next().value
    if (this.#samples.size > samplesMax && oldest !== undefined) this.#samples.delete(oldest)
  }
}

function refused({ id }: StreamReplayRecord, reason: string, hint?: string): FreshetError {
  return new FreshetError('replay_refused', `The replay ${id} is left as it is: ${reason}.`, {
    hint: hint ?? '`freshet replays` shows how each stands.',
  })
}

function isoNow({ clock }: Pick<StreamReplaysDeps, 'clock'>): string {
  return new Date(clock.nowMs()).toISOString()
}
