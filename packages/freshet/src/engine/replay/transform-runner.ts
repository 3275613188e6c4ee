/** Who runs a stream's transform for a replay: the worker, which has the present code (streams/replay/). */
import type { DeadLetter } from '../../events/dead-letter.ts'
import type { Position } from '../../log/log.ts'

/** What the present code makes of some events. */
export interface Rerun {
  /** Whole lines of the target's log. */
  lines: Buffer
  count: number
  /** Of events that have no outputs. */
  letters: DeadLetter[]
}

/** How far a transform has taken its source: everything before `log`, and the first `skip` events behind it. */
export interface TransformPlace {
  log: Position
  skip: number
}

/** A transform that rests. */
export interface Pause {
  place: TransformPlace
  /** Lets it go on. */
  resume: () => Promise<void>
}

export interface TransformRunner {
  /**
   * Runs a stream's transform over lines of its source. Changes nothing.
   * @throws FreshetError `worker_unavailable`
   */
  run(stream: string, lines: Buffer, count: number, signal: AbortSignal): Promise<Rerun>
  /**
   * Resolves when the transform rests: what it has taken is in the target's log, and it takes nothing more before `resume`, or before whoever
   * paused it is gone.
   * @throws FreshetError `worker_unavailable`, or `replay_refused` while it has not come to the log yet
   */
  pause(stream: string, signal: AbortSignal): Promise<Pause>
}
