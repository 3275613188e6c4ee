/**
 * The rounds of a replay: each is kept by two tags, of the table before it and of what its last commit left. They go by age, or when the replay has been
 * undone. A crash leaves a round without its second tag, which the next one makes first.
 */
import { createTag, dropTag } from '../../lake/refs.ts'
import { snapshotById, type Snapshot } from '../../lake/metadata.ts'
import type { ErasedTable } from '../erasure/rewrite.ts'
import type { StreamReplayRecord } from './record.ts'
import type { ReplayDeps, ReplayedStream } from './replayed-stream.ts'
import { replayKey } from './summary.ts'
import { commitsOf } from './swap.ts'

/** Whether what an undo needs is there. */
export function canUndo({ kept }: Pick<ReplayedStream, 'kept'>, record: StreamReplayRecord): boolean {
  const refs = kept.table?.metadata.refs ?? {}
  return tagsOf(record).every((tag) => refs[tag] !== undefined)
}

function tagsOf({ rounds }: StreamReplayRecord): string[] {
  return rounds.flatMap(({ before, after }) => (after === null ? [before] : [before, after]))
}

/** The tags of the rounds, as far as the table has them, whether the record still knows them or not. */
export function tagsLeft({ kept }: Pick<ReplayedStream, 'kept'>, { id }: StreamReplayRecord): string[] {
  return Object.keys(kept.table?.metadata.refs ?? {}).filter((tag) => tag.startsWith(tagPrefix(id)))
}

function tagPrefix(id: string): string {
  return `replay-${id}-`
}

/** Keeps the table as it is now for an undo. */
export async function openRound(deps: ReplayDeps, { kept }: ReplayedStream, record: StreamReplayRecord): Promise<void> {
  const before = `${tagPrefix(record.id)}${record.rounds.length + 1}-before`
  await tagCurrent(deps, kept, before, record.keepMs)
  record.rounds.push({ before, after: null })
  await deps.save(record)
}

/** Keeps what the last commit of the round left; a round without any is forgotten. */
export async function closeRound(
  deps: ReplayDeps,
  { kept }: ReplayedStream,
  record: StreamReplayRecord,
): Promise<void> {
  const round = record.rounds.at(-1)
  if (round === undefined || round.after !== null) return
  const { metadata } = kept.table!
  const opened = metadata.refs[round.before]?.['snapshot-id']
  const made = commitsOf(replayKey, record.id, kept.table!)
  const known = new Set(record.commits.map(({ snapshotId }) => snapshotId))
  record.commits.push(...made.filter(({ snapshotId }) => !known.has(snapshotId)))
  const from = opened === undefined ? undefined : snapshotById(metadata, opened)
  const own = made
    .map(({ snapshotId }) => snapshotById(metadata, BigInt(snapshotId))!)
    .filter((one) => from === undefined || one['sequence-number'] > from['sequence-number'])
    .toSorted((a, b) => a['sequence-number'] - b['sequence-number'])
  const last = own.at(-1)
  if (last === undefined) {
    record.rounds.pop()
    if (opened !== undefined) await forgetTag(deps, kept, round.before)
  } else {
    round.after = round.before.replace(/before$/, 'after')
    await tagSnapshot(deps, kept, round.after, last, record.keepMs)
  }
  await deps.save(record)
}

async function tagCurrent(deps: ReplayDeps, kept: ErasedTable, tag: string, keepMs: number): Promise<void> {
  const { metadata } = kept.table!
  await tagSnapshot(deps, kept, tag, snapshotById(metadata, metadata['current-snapshot-id'] ?? undefined)!, keepMs)
}

/** A tag's age counts from its snapshot's commit, which may be long ago. */
async function tagSnapshot(
  deps: ReplayDeps,
  kept: ErasedTable,
  tag: string,
  snapshot: Snapshot,
  keepMs: number,
): Promise<void> {
  const maxAgeMs = Math.max(0, deps.clock.nowMs() - snapshot['timestamp-ms']) + keepMs
  await kept.change(
    async (table) => (await createTag(deps, table, tag, snapshot['snapshot-id'], { maxAgeMs })).table,
    'kept',
  )
}

export async function forgetTag(deps: ReplayDeps, kept: ErasedTable, tag: string): Promise<void> {
  if (kept.table?.metadata.refs[tag] === undefined) return
  await kept.change(async (table) => (await dropTag(deps, table, tag)).table, 'kept')
}
