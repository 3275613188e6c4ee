/** Puts together replays of streams, from the parts of an engine. */
import { systemColumns, type Column, type Plan } from '../../config/plan.ts'
import { appendDeadLetters } from '../../events/dead-letter.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { Log, Positions } from '../../log/log.ts'
import { mergeColumns } from '../columns.ts'
import { letteredStreamOf } from '../letters/lettered-stream.ts'
import type { StreamLoader } from '../stream-loader.ts'
import { recordBytesOf, type StreamTable } from '../stream-table.ts'
import { knownColumns } from '../stream-view.ts'
import type { ReplayedStream } from './replayed-stream.ts'
import { StreamReplays, type StreamReplaysDeps } from './replays.ts'
import type { TransformRunner } from './transform-runner.ts'

export interface OpenReplaysOptions extends Omit<
  StreamReplaysDeps,
  'dir' | 'log' | 'transforms' | 'bury' | 'streamOf' | 'sourceRetainMs'
> {
  plan: Plan
  log: Log
  rollLog: (stream: string) => Promise<Positions>
  replays?: { dir: string; transforms: TransformRunner }
  loaders: ReadonlyMap<string, StreamLoader>
}

const pollMs = 20

/** @returns undefined where replays are kept nowhere */
export async function openReplays(options: OpenReplaysOptions): Promise<StreamReplays | undefined> {
  const { replays, plan, log } = options
  if (replays === undefined) return undefined
  return StreamReplays.open({
    ...options,
    ...replays,
    bury: (letters) => appendDeadLetters(log, letters),
    streamOf: (name) => replayedStreamOf(options, name),
    sourceRetainMs: (name) => plan.streams[plan.streams[name]?.transform?.from ?? '']?.retainMs,
  })
}

function replayedStreamOf(options: OpenReplaysOptions, name: string): ReplayedStream {
  const { loaders, timers, plan: all } = options
  const loader = loaders.get(name)
  const lettered = letteredStreamOf({ ...options, loaderOf: (one) => loaders.get(one) }, name)
  if (loader === undefined || lettered === undefined) {
    throw new FreshetError('unknown_stream', `There is no stream ${JSON.stringify(name.slice(0, 100))}.`, {
      hint: 'SELECT name FROM freshet.streams lists the streams.',
    })
  }
  const { stream: plan } = loader.table
  const { transform } = plan
  const source = loaders.get(transform?.from ?? '')
  if (transform === undefined || source === undefined) {
    throw new FreshetError(
      'replay_refused',
      `The stream ${name} is made by no transform, so there is no code to run again.`,
      {
        hint: 'Events that are posted can be erased and sent again.',
      },
    )
  }
  return {
    plan: { ...plan, transform },
    kept: loader.table,
    recordBytesMax: recordBytesOf(plan, all.limits.eventBytesMax),
    sourceColumns: () => shownColumns(source.table),
    settle: async (signal) => {
      await lettered.settle(signal)
      return loader.table.checkpoint
    },
    sourceShown: async (position, signal) => {
      while (source.table.position < position) {
        signal.throwIfAborted()
        source.wake()
        await timers.sleep(pollMs, signal)
      }
    },
    letters: lettered.letters,
  }
}

/** The columns that queries see. */
function shownColumns({ table, hotTables, stream }: StreamTable): readonly Column[] {
  const declared = [...systemColumns, ...(stream.columns ?? [])]
  const committed = table === undefined ? declared : knownColumns(table)
  return hotTables.reduce<readonly Column[]>((columns, hot) => mergeColumns(columns, hot.columns), committed)
}
