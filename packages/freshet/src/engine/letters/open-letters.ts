/** Puts together what can be done with dead letters, from the parts of an engine. */
import type { Plan } from '../../config/plan.ts'
import { letteredStream } from '../../events/dead-letter.ts'
import type { Log, Positions } from '../../log/log.ts'
import type { StreamViews } from '../query/stream-views.ts'
import type { StreamLoader } from '../stream-loader.ts'
import { DeadLetters, type DeadLettersDeps } from './dead-letters.ts'
import { LetterReader } from './letter-reader.ts'
import { letteredStreamOf } from './lettered-stream.ts'
import type { ReplayAtConsumer } from './replay.ts'

export interface LettersOptions extends Omit<
  DeadLettersDeps,
  'dir' | 'reader' | 'streamOf' | 'letteredStreams' | 'replayAtConsumer'
> {
  plan: Plan
  log: Log
  rollLog: (stream: string) => Promise<Positions>
  letterReplays?: { dir: string; atConsumer?: ReplayAtConsumer }
  loaders: ReadonlyMap<string, StreamLoader>
  views: StreamViews
  /** Resolves when letters may be read. */
  ready: (signal: AbortSignal) => Promise<void>
}

/** @returns undefined where replays are kept nowhere */
export async function openLetters(options: LettersOptions): Promise<DeadLetters | undefined> {
  const { letterReplays, loaders, plan } = options
  if (letterReplays === undefined) return undefined
  const reader = new LetterReader({
    ...options,
    hasStream: (name) => loaders.has(name),
    timeoutMs: plan.sql.timeoutMs,
  })
  return DeadLetters.open({
    ...options,
    dir: letterReplays.dir,
    replayAtConsumer: letterReplays.atConsumer,
    reader,
    streamOf: (name) => letteredStreamOf({ ...options, loaderOf: (one) => loaders.get(one) }, name),
    letteredStreams: () => [...loaders.keys()].flatMap((name) => letteredStream(name) ?? []),
  })
}
