/** What replays need of a stream that a transform makes, and of the engine. */
import type { Column, StreamPlan, TransformPlan } from '../../config/plan.ts'
import type { DeadLetter } from '../../events/dead-letter.ts'
import type { Log } from '../../log/log.ts'
import type { Unreadable } from '../chunk-lines.ts'
import type { ErasedTable, RewriteDeps } from '../erasure/rewrite.ts'
import type { StreamReplayRecord } from './record.ts'
import type { RehearsalDeps } from './rehearsal.ts'

export interface ReplayedStream {
  plan: StreamPlan & { transform: TransformPlan }
  kept: ErasedTable & { unreadable(lines: readonly Buffer[]): Promise<Unreadable[]> }
  recordBytesMax: number
  sourceColumns: () => readonly Column[]
  /** Resolves when all that is in the logs of the stream and of its letters is committed. @returns the end of the stream's log then */
  settle: (signal: AbortSignal) => Promise<bigint>
  /** Resolves when the source shows everything below a position of its log. */
  sourceShown: (position: bigint, signal: AbortSignal) => Promise<void>
  /** The table of the stream's dead letters, if it has one. */
  letters: () => ErasedTable | undefined
}

export interface ReplayDeps extends RewriteDeps, Omit<RehearsalDeps, 'log'> {
  log: Pick<Log, 'read' | 'ends'>
  /** Appends letters to the log; resolves once they are durable. */
  bury: (letters: readonly DeadLetter[]) => Promise<void>
  holdUpkeep: <T>(work: () => Promise<T>) => Promise<T>
  save: (record: StreamReplayRecord) => Promise<void>
}
