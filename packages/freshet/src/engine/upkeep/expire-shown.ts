/**
 * Expires snapshots of a table that queries are shown: the commit is made in the table's turn, and files are removed when the queries that
 * began before it have ended. Those are waited for when the table has been let go of, so that loads do not wait with them. What a crash leaves,
 * and what never expires: lake/expire.ts.
 */
import type { LoadedTable } from '../../lake/catalog.ts'
import type { CommitDeps } from '../../lake/commit.ts'
import { expireSnapshots, type ExpireOptions, type ExpireResult } from '../../lake/expire.ts'
import { endedOrAborted, type KeptTable } from './job.ts'

export interface ExpireShownRequest extends Omit<ExpireOptions, 'ready'> {
  kept: KeptTable
  /** What is committed to the table before, and the table with it. */
  prepare?: (table: LoadedTable) => Promise<LoadedTable>
  /** See `StreamTable.change`. */
  change: 'kept' | 'fewer'
}

/**
 * @param signal when it is aborted, files are left where they are, as queries may read them still
 * @throws the signal's reason when it is aborted; FreshetError as `expireSnapshots` does
 */
export async function expireShown(
  deps: CommitDeps,
  { kept, prepare, change, ...options }: ExpireShownRequest,
  signal: AbortSignal,
): Promise<ExpireResult> {
  const committed = Promise.withResolvers<void>()
  const removal = Promise.withResolvers<void>()
  removal.promise.catch(() => undefined)
  let expiring: Promise<ExpireResult> | undefined
  try {
    await kept.change(async (table) => {
      const base = (await prepare?.(table)) ?? table
      const ready = async (): Promise<void> => {
        committed.resolve()
        await removal.promise
      }
      expiring = expireSnapshots(deps, base, { ...options, ready })
      const early = await Promise.race([committed.promise, expiring])
      return early?.table ?? (await deps.catalog.load(table.name)) ?? base
    }, change)
  } finally {
    await endedOrAborted(kept.readersGone(), signal)
    if (signal.aborted) removal.reject(signal.reason)
    else removal.resolve()
    // Whoever reads the result is told of its failure; after one of the change itself, nobody does.
    await expiring?.catch(() => undefined)
  }
  return expiring!
}
