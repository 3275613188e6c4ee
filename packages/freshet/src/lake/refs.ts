/**
 * Tags, which keep a snapshot from expiring, and the way back to an earlier state.
 *
 * A rollback is a new snapshot with the files of an earlier one. Log positions, ledger and sources stay those of the table: the log
 * behind them is trimmed, so they must never go back, or the next load would find a gap. What was loaded since is gone from the table, and is
 * not loaded again. The new snapshot's parent is the one it goes back to: so engines that clean up by ancestry see that
 * what was deleted in between did not happen to it, and keep its files.
 *
 * Crash points: as for every commit (snapshot-commit.ts). The check that all files are there comes before each attempt; files of a snapshot
 * that the metadata has are only ever removed after it has expired, which makes the rollback a conflict and then an error.
 */
import { FreshetError } from '../runtime/errors.ts'
import type { LoadedTable } from './catalog.ts'
import type { LedgerDelta } from './ledger.ts'
import { entryStatus, readManifest, type ManifestFile } from './manifest.ts'
import { currentSnapshot, snapshotById, type Snapshot, type TableMetadata } from './metadata.ts'
import { liveManifests, nextSnapshot } from './next-snapshot.ts'
import { positionsOf } from './rewrite.ts'
import { commitInLoop, newSnapshotId, type Attempt, type CommitDeps } from './snapshot-commit.ts'
import { positionsField } from './snapshot-summary.ts'
import { keyOf } from './table-paths.ts'

/** Summary field of a rollback: the snapshot whose files it has. */
export const rolledBackToKey = 'freshet.rolled-back-to'
/** ... and the one that was current before. */
export const rolledBackFromKey = 'freshet.rolled-back-from'

/**
 * Gives a snapshot a name; it stays until the tag is dropped, or has the age. A tag that names it already is left as it is.
 * @throws FreshetError `not_found` when there is no such snapshot, `invalid_request` when the name is taken or no name.
 */
export async function createTag(
  deps: CommitDeps,
  table: LoadedTable,
  name: string,
  snapshotId: bigint,
  options: { maxAgeMs?: number } = {},
): Promise<{ table: LoadedTable }> {
  if (!/^[A-Za-z0-9][\w.:-]{0,127}$/.test(name) || name === 'main') {
    throw new FreshetError('invalid_request', `${JSON.stringify(name)} cannot be the name of a tag.`, {
      hint: 'Use letters, digits, _ . : - and begin with a letter or digit; "main" is the table itself.',
    })
  }
  const ref = {
    'snapshot-id': snapshotId,
    type: 'tag' as const,
    ...(options.maxAgeMs !== undefined && { 'max-ref-age-ms': options.maxAgeMs }),
  }
  return changeRefs(deps, table, {
    isMade: ({ refs }) => refs[name]?.['snapshot-id'] === snapshotId,
    change: (base) => {
      snapshotOf(base, snapshotId)
      const taken = base.metadata.refs[name]
      if (taken === undefined) return { ...base.metadata.refs, [name]: ref }
      if (taken.type === 'tag' && taken['snapshot-id'] === snapshotId) return undefined
      throw new FreshetError('invalid_request', `The ${taken.type} ${name} of ${base.name} is there already.`, {
        hint: `It points at the snapshot ${taken['snapshot-id']}. Drop it first, or choose another name.`,
      })
    },
  })
}

/**
 * Takes a tag away: its snapshot expires as others do.
 * @throws FreshetError `not_found` when there is no such tag, `invalid_request` for a branch.
 */
export async function dropTag(deps: CommitDeps, table: LoadedTable, name: string): Promise<{ table: LoadedTable }> {
  return dropRef(deps, table, name, ['tag'])
}

/** Takes a tag or a branch away, `main` excepted. @throws FreshetError as `dropTag` does. */
export async function dropRef(
  deps: CommitDeps,
  table: LoadedTable,
  name: string,
  types: readonly ('tag' | 'branch')[] = ['tag', 'branch'],
): Promise<{ table: LoadedTable }> {
  if (table.metadata.refs[name] === undefined) {
    throw new FreshetError('not_found', `The table ${table.name} has no tag ${JSON.stringify(name)}.`, {
      hint: tagsHint(table.metadata),
    })
  }
  return changeRefs(deps, table, {
    isMade: ({ refs }) => refs[name] === undefined,
    change: (base) => {
      const { [name]: dropped, ...refs } = base.metadata.refs
      if (dropped === undefined) return undefined
      if (name !== 'main' && types.includes(dropped.type)) return refs
      throw new FreshetError('invalid_request', `${name} is a ${dropped.type} of ${base.name}, not a tag.`, {
        hint: 'Branches are dropped by the engine that made them; "main" is the table itself.',
      })
    },
  })
}

function tagsHint({ refs }: TableMetadata): string {
  const tags = Object.keys(refs).filter((name) => refs[name]!.type === 'tag')
  return tags.length === 0 ? 'It has no tags.' : `Its tags are ${tags.toSorted().join(', ')}.`
}

interface RefsChange {
  isMade: (metadata: TableMetadata) => boolean
  /** The refs as they are to be; undefined when they are so already. */
  change: (base: LoadedTable) => TableMetadata['refs'] | undefined
}

async function changeRefs(
  deps: CommitDeps,
  table: LoadedTable,
  { isMade, change }: RefsChange,
): Promise<{ table: LoadedTable }> {
  const { table: committed } = await commitInLoop(deps, {
    base: table,
    written: [],
    isMade,
    attempt: async (base): Promise<Attempt | 'nothing'> => {
      const refs = change(base)
      if (refs === undefined) return 'nothing'
      const updatedMs = Math.max(deps.clock.nowMs(), base.metadata['last-updated-ms'])
      const next = { ...base.metadata, refs, 'last-updated-ms': updatedMs }
      return { next, live: new Set(), doomed: [], expired: [] }
    },
  })
  return { table: committed }
}

export interface RollbackOptions {
  /** Further fields for the snapshot's summary. */
  summary?: Record<string, string>
  /** Table properties to set in the same commit, given what it changes; asked again for each attempt. */
  properties?: (base: TableMetadata, change: RollbackChange) => Record<string, string>
  /** What is added to the ledger in the same commit (I6); asked again for each attempt. */
  ledger?: (base: LoadedTable) => Promise<LedgerDelta>
}

/** What a rollback does to the rows. */
interface RollbackChange {
  /** Live files that leave the table, and those that come back. */
  removed: { files: number; rows: number }
  restored: { files: number; rows: number }
}

export interface RollbackResult extends RollbackChange {
  table: LoadedTable
  snapshot: Snapshot
}

/**
 * Makes the files of an earlier snapshot the table's, in a new snapshot.
 * @throws FreshetError `not_found` when the table has no such snapshot, `corrupt_table` when files of it are gone.
 */
export async function rollbackTo(
  deps: CommitDeps,
  table: LoadedTable,
  snapshotId: bigint,
  options: RollbackOptions = {},
): Promise<RollbackResult> {
  const id = newSnapshotId(table.metadata, deps.random)
  const writer = { store: deps.store, random: deps.random, snapshotId: id, written: [] }
  let change: RollbackChange | undefined
  const { table: committed } = await commitInLoop(deps, {
    base: table,
    written: writer.written,
    isMade: (metadata) => snapshotById(metadata, id) !== undefined,
    attempt: async (base) => {
      const { metadata } = base
      const target = snapshotOf(base, snapshotId)
      const current = currentSnapshot(metadata)!
      const manifests = await liveManifests({ store: deps.store, table: base }, target)
      change = await changeTo(deps, base, current, manifests)
      const positions = positionsOf(metadata)
      const summary = {
        operation: 'overwrite',
        ...totalsOf(target),
        ...options.summary,
        [rolledBackToKey]: String(snapshotId),
        [rolledBackFromKey]: String(current['snapshot-id']),
        ...positionsField(positions),
      }
      const properties = options.properties?.(metadata, change)
      const ledger = await options.ledger?.(base)
      const parts = { metadata, parent: target, manifests, summary, positions, properties, ledger }
      return nextSnapshot(deps, { ...writer, table: base }, parts)
    },
  })
  return { table: committed, snapshot: snapshotById(committed.metadata, id)!, ...change! }
}

/** What the table has after the rollback; what it counts of that is what the snapshot said then. */
function totalsOf({ summary }: Snapshot): Record<string, string> {
  return Object.fromEntries(Object.entries(summary).filter(([field]) => field.startsWith('total-')))
}

/** @throws FreshetError `corrupt_table` when files that would be live are gone. */
async function changeTo(
  deps: CommitDeps,
  base: LoadedTable,
  current: Snapshot,
  manifests: readonly ManifestFile[],
): Promise<RollbackChange> {
  const before = await liveFiles(deps, base, await liveManifests({ store: deps.store, table: base }, current))
  const after = await liveFiles(deps, base, manifests)
  const stored = new Set((await deps.store.list(`${base.name}/`)).map(({ key }) => key))
  const missing = [...after.keys()].filter((path) => !stored.has(keyOf(base, path)))
  if (missing.length > 0) {
    throw new FreshetError(
      'corrupt_table',
      `The table ${base.name} cannot go back: ${missing.length} files of that snapshot are gone, ${missing[0]} among them.`,
      { hint: 'Go back to a newer snapshot, or restore the files from a copy.' },
    )
  }
  return { removed: without(before, after), restored: without(after, before) }
}

function without(all: FileRows, others: FileRows): { files: number; rows: number } {
  const own = [...all].filter(([path, { content }]) => content === 0 && !others.has(path))
  return { files: own.length, rows: own.reduce((sum, [, { rows }]) => sum + rows, 0) }
}

type FileRows = Map<string, { content: number; rows: number }>

async function liveFiles(deps: CommitDeps, table: LoadedTable, manifests: readonly ManifestFile[]): Promise<FileRows> {
  const files: FileRows = new Map()
  for (const manifest of manifests) {
    for (const { status, content, file } of await readManifest(deps.store, keyOf(table, manifest.path), manifest))
      if (status !== entryStatus.deleted) files.set(file.path, { content, rows: file.recordCount })
  }
  return files
}

/** @throws FreshetError `not_found` */
function snapshotOf({ name, metadata }: LoadedTable, id: bigint): Snapshot {
  const snapshot = snapshotById(metadata, id)
  if (snapshot !== undefined) return snapshot
  throw new FreshetError('not_found', `The table ${name} has no snapshot ${id}.`, {
    hint: 'It may have expired. Choose one of those that the table has.',
  })
}
