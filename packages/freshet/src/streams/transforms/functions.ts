/** How a transform's function is run, wherever that is: the consumer does not know. */
import type { Run, SourceBatch } from '../source-batch.ts'

export interface TransformJob {
  batch: SourceBatch
  /** The runs that its outputs are kept apart by. */
  runs: readonly Run[]
}

/** What came of one run: whole lines of the target's log. */
export interface MadeLines {
  bytes: Uint8Array
  count: number
}

/** Why an event has no outputs. */
export interface FailedEvent {
  /** Its place in the batch, from 0. */
  index: number
  code: string
  /** JSON pointer into the output. */
  path?: string
  message: string
  stack?: string
}

export interface TransformResult {
  /** One for each run. */
  made: readonly MadeLines[]
  failed: readonly FailedEvent[]
  /** To be called when the lines are done with, and their memory may be used again; without that it is not. */
  release?: () => void
}

export interface Functions {
  /** Runs the function over a batch. @throws only for what is no fault of the batch's events */
  run(job: TransformJob): Promise<TransformResult>
  close(): Promise<void>
}
