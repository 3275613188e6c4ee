/**
 * What is made of a stream: rollups. Their buckets are computed anew from what is left (engine/rollups), so their tables have nothing of the
 * erased events any more; their former snapshots still do. Nobody can tell from an aggregate whose events are in it, so all former
 * snapshots of these tables go, with the tags that keep them.
 *
 * Crash points: as in history.ts; whatever is left is found again by the next run.
 */
import type { LoadedTable } from '../../lake/catalog.ts'
import { dropRef } from '../../lake/refs.ts'
import { expireShown } from '../upkeep/expire-shown.ts'
import type { KeptTable } from '../upkeep/job.ts'
import type { ErasureReport } from './record.ts'
import type { RewriteDeps } from './rewrite.ts'

/** The rollups that are made of streams. */
export interface MadeTables {
  /** Resolves when all that is made of a stream stands for its table as it is. @throws FreshetError `rollup_behind` */
  settle(stream: string, signal: AbortSignal): Promise<void>
  madeOf(stream: string): KeptTable[]
}

/** Expires what the tables had before. What is dropped is added to `report` before it is. */
export async function expireMade(
  deps: RewriteDeps,
  tables: readonly KeptTable[],
  { report, save, signal }: { report: ErasureReport; save: () => Promise<void>; signal: AbortSignal },
): Promise<void> {
  for (const kept of tables) {
    const { table } = kept
    if (table === undefined) continue
    const { refs: all, snapshots, 'current-snapshot-id': current } = table.metadata
    const former = snapshots.map((snapshot) => snapshot['snapshot-id']).filter((id) => id !== current)
    if (former.length === 0) continue
    signal.throwIfAborted()
    const { name } = table
    const refs = Object.entries(all).filter(([ref, to]) => ref !== 'main' && to['snapshot-id'] !== current)
    for (const [ref, to] of refs)
      report.droppedRefs.push({ table: name, name: ref, type: to.type, snapshotId: String(to['snapshot-id']) })
    for (const id of former) report.expired.push({ table: name, snapshotId: String(id) })
    await save()
    const prepare = async (base: LoadedTable): Promise<LoadedTable> => {
      let next = base
      for (const [ref] of refs) if (next.metadata.refs[ref]) next = (await dropRef(deps, next, ref)).table
      return next
    }
    const options = { olderThanMs: 0, keepLast: Number.MAX_SAFE_INTEGER, ids: former }
    const { removed } = await expireShown(deps, { kept, prepare, change: 'fewer', ...options }, signal)
    report.filesDeleted += removed.length
    await save()
  }
}
