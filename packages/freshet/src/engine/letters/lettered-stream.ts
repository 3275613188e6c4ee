/** A stream that may have dead letters, as far as replays and drops work on it. */
import type { StreamPlan } from '../../config/plan.ts'
import { deadLettersOf } from '../../events/dead-letter.ts'
import type { Log, Positions } from '../../log/log.ts'
import type { ErasedTable } from '../erasure/rewrite.ts'
import type { StreamLoader } from '../stream-loader.ts'

export interface LetteredStream {
  name: string
  plan: StreamPlan
  /** Which of some lines could not be loaded now, and why. */
  unreadable: (lines: readonly Buffer[]) => Promise<{ index: number; reason: string }[]>
  /** The table of its letters; undefined where it has never had one. */
  letters: () => ErasedTable | undefined
  /**
   * Resolves when every event that is in the log now is committed, and every letter that is.
   * @returns the position below which all events are committed
   */
  settle: (signal: AbortSignal) => Promise<bigint>
}

const partition = 0

export interface LetteredDeps {
  log: Pick<Log, 'ends'>
  rollLog: (stream: string) => Promise<Positions>
  loaderOf: (name: string) => StreamLoader | undefined
}

/** @returns undefined for a stream that is not there */
export function letteredStreamOf({ log, rollLog, loaderOf }: LetteredDeps, name: string): LetteredStream | undefined {
  const loader = loaderOf(name)
  if (loader === undefined) return undefined
  const { table } = loader
  const letters = (): StreamLoader | undefined => loaderOf(deadLettersOf(name))
  return {
    name,
    plan: table.stream,
    unreadable: (lines) => table.unreadable(lines),
    letters: () => letters()?.table,
    settle: async (signal) => {
      await loader.commitUpTo((await log.ends(name)).get(partition) ?? 0n, signal)
      // A new segment of the log lets go of the letters that are dropped.
      const own = letters()
      if (own !== undefined) {
        await own.commitUpTo((await rollLog(deadLettersOf(name))).get(partition) ?? 0n, signal)
        await own.table.refresh()
      }
      return table.checkpoint
    },
  }
}
