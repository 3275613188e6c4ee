/** What goes to and from the thread that runs functions of the configuration. */
import type { Plan, StreamPlan } from '../../config/plan.ts'
import type { Run } from '../source-batch.ts'
import type { FailedEvent } from './functions.ts'

export interface ThreadData {
  configFile: string
  /** The stream whose transform it runs; undefined for a sink's functions. */
  stream: StreamPlan | undefined
  /** The sink whose functions it calls. */
  sink: string | undefined
  limits: Pick<Plan['limits'], 'eventBytesMax' | 'nestingMax'>
  /** [place of the event that is being worked on, how often that was said]: shared with whoever watches. */
  progress: SharedArrayBuffer
}

export type ToThread =
  | {
      type: 'batch'
      id: number
      /** Shared, as is `room`, until it is answered. */
      bytes: Uint8Array
      /** Where lines are put that fit. */
      room: Uint8Array
      runs: Pick<Run, 'first' | 'count'>[]
      skip: number
      leaveOut: number[]
    }
  | { type: 'call'; id: number; name: string; args: readonly unknown[] }
  | { type: 'object'; id: number; bytes: Uint8Array | undefined; problem?: string }

export type FromThread =
  | { type: 'ready' }
  | { type: 'made'; id: number; made: { bytes: Uint8Array; count: number }[]; failed: FailedEvent[] }
  | { type: 'returned'; id: number; value: unknown }
  | { type: 'failed'; id: number; message: string; stack: string | undefined }
  | { type: 'object'; id: number; bucket: string; sha256: string }
