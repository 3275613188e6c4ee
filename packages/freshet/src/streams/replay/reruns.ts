/**
 * Runs transforms over the history of their sources, for replays of streams. It has functions of its own beside those of the consumers, which go on
 * meanwhile; they are let go of when they have had nothing to do for a while. Nothing changes: what comes of the events is handed back.
 */
import { nearest } from '../../config/spelling.ts'
import type { DeadLetter } from '../../events/dead-letter.ts'
import type { Clock } from '../../runtime/clock.ts'
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import type { Timers } from '../../runtime/timers.ts'
import { logStart } from '../place.ts'
import { runsOf, type SourceBatch } from '../source-batch.ts'
import { failedLetters } from '../transforms/failed-letters.ts'
import type { Functions } from '../transforms/functions.ts'
import type { DerivedStream } from '../worker.ts'

export interface RerunsDeps {
  streams: Readonly<Record<string, DerivedStream>>
  functionsOf: (stream: DerivedStream) => Functions
  clock: Clock
  timers: Timers
}

/** What came of some events. */
export interface Made {
  /** Whole lines of the target's log. */
  lines: Uint8Array
  count: number
  /** Of the events that failed. */
  letters: DeadLetter[]
}

interface Opened {
  functions: Functions
  /** Batches that are being run. */
  busy: number
  /** Calls off that they are closed. */
  keep: () => void
}

const idleMs = 30_000

export class Reruns {
  readonly #deps: RerunsDeps
  readonly #opened = new Map<string, Opened>()

  constructor(deps: RerunsDeps) {
    this.#deps = deps
  }

  /**
   * @param lines events of the stream's source, as lines of the log
   * @throws FreshetError `not_found`, `worker_unavailable`
   */
  async run(name: string, lines: Buffer, count: number): Promise<Made> {
    const stream = this.#find(name)
    const opened = this.#open(stream)
    opened.busy++
    try {
      const batch = batchOf(lines, count)
      const { made, failed } = await opened.functions.run({ batch, runs: runsOf(batch.batches) })
      return {
        lines: Buffer.concat(made.map(({ bytes }) => bytes)),
        count: made.reduce((sum, one) => sum + one.count, 0),
        letters: failedLetters(stream, batch, failed, this.#deps.clock.nowMs()),
      }
    } catch (error) {
      if (error instanceof FreshetError) throw error
      throw new FreshetError('worker_unavailable', `The transform of ${name} cannot be run: ${messageOf(error)}.`, {
        hint: 'Mend the configuration, and start the server again.',
        cause: error,
      })
    } finally {
      opened.busy--
      this.#closeLater(name, opened)
    }
  }

  async close(): Promise<void> {
    const all = [...this.#opened.keys()]
    await Promise.all(all.map((name) => this.#close(name)))
  }

  #open(stream: DerivedStream): Opened {
    const found = this.#opened.get(stream.name)
    if (found !== undefined) {
      found.keep()
      return found
    }
    const opened: Opened = { functions: this.#deps.functionsOf(stream), busy: 0, keep: () => undefined }
    this.#opened.set(stream.name, opened)
    return opened
  }

  #closeLater(name: string, opened: Opened): void {
    if (opened.busy > 0 || this.#opened.get(name) !== opened) return
    opened.keep()
    opened.keep = this.#deps.timers.after(idleMs, () => void this.#close(name))
  }

  async #close(name: string): Promise<void> {
    const opened = this.#opened.get(name)
    if (opened === undefined) return
    this.#opened.delete(name)
    opened.keep()
    await opened.functions.close()
  }

  #find(name: string): DerivedStream {
    const { streams } = this.#deps
    if (Object.hasOwn(streams, name)) return streams[name]!
    const names = Object.keys(streams)
    const near = nearest(name.slice(0, 100), names)
    const hint = near === undefined ? `There are: ${names.join(', ') || 'none'}.` : `Did you mean "${near}"?`
    throw new FreshetError('not_found', `No transform makes the stream ${JSON.stringify(name.slice(0, 100))}.`, {
      hint,
    })
  }
}

/** Each output has the source and the time of arrival of its own event, so where the batch came from does not matter. */
function batchOf(bytes: Buffer, count: number): SourceBatch {
  const batches = [{ count, receivedAtMs: 0, source: undefined, eventTimeMaxMs: undefined }]
  return { bytes, count, skip: 0, batches, from: logStart, to: logStart }
}
