/**
 * Snapshot expiry: the table forgets states that it had, and the files that only those need are removed: manifest lists, manifests,
 * data and delete files.
 *
 * What stays: on `main` and every other branch, the newest `keepLast` snapshots and those that are young enough; what a tag or branch
 * points at; and always the current one. A branch may ask for more (`min-snapshots-to-keep`, `max-snapshot-age-ms`); a tag or branch goes when
 * its own `max-ref-age-ms` is over (Iceberg spec, Snapshot Retention Policy). Log positions stay the same.
 *
 * Crash points: the metadata is committed first, then files are removed. A crash between the two, or in the middle of the removal, leaves
 * files that nothing refers to, which orphan removal finds; nothing that a snapshot needs is ever gone. What may be removed is judged from
 * the table after the commit: later commits only carry on files of its snapshots, or bring new ones.
 */
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { LoadedTable } from './catalog.ts'
import { samePositions, snapshotById, tablePositions, type Snapshot, type TableMetadata } from './metadata.ts'
import { reachedKeys, unreachedFiles } from './reachable.ts'
import { commitInLoop, reload, type Attempt, type CommitDeps } from './snapshot-commit.ts'
import { statisticsFiles, withoutSnapshots } from './snapshot-cap.ts'
import { keyOf } from './table-paths.ts'
import { positionsField } from './snapshot-summary.ts'

export interface ExpireOptions {
  /** Snapshots from this time on stay. Ms since 1970. */
  olderThanMs: number
  /** Newest snapshots of each branch that stay, however old; at least 1. */
  keepLast: number
  /** Further snapshots that go, whatever their age. Those that are gone already are passed over. */
  ids?: readonly bigint[]
  /** Called after the commit: files are removed when it has resolved, so that those who still read them can come to an end. */
  ready?: () => Promise<void>
}

export interface ExpireResult {
  table: LoadedTable
  expired: Snapshot[]
  /** Object store keys of the files that were removed. */
  removed: string[]
}

const keysPerRemoval = 500

/**
 * Expires snapshots and removes their files.
 * @throws FreshetError `invalid_request` when `ids` names a snapshot that a tag or branch points at.
 */
export async function expireSnapshots(
  deps: CommitDeps,
  table: LoadedTable,
  options: ExpireOptions,
): Promise<ExpireResult> {
  let chosen: Expiry = { expired: [], refs: [], statistics: [] }
  const { table: committed } = await commitInLoop(deps, {
    base: table,
    written: [],
    isMade: (metadata) => isExpired(metadata, chosen),
    attempt: async (base) => {
      chosen = chooseExpired(base, options, deps.clock.nowMs())
      return chosen.expired.length + chosen.refs.length === 0 ? 'nothing' : attemptOf(deps, base.metadata, chosen)
    },
  })
  const { expired } = chosen
  if (expired.length === 0) return { table: committed, expired, removed: [] }
  await options.ready?.()
  const removed = await removeFiles(deps, committed, async () => [
    ...(await unreachedFiles(deps, await reload(deps, committed), expired)),
    ...chosen.statistics.map((path) => keyOf(committed, path)),
  ])
  return { table: committed, expired, removed }
}

/** What leaves the metadata. */
interface Expiry {
  expired: Snapshot[]
  /** Names of tags and branches. */
  refs: string[]
  /** Paths of statistics files of expired snapshots. */
  statistics: string[]
}

/** What expiry would take out of a table at a time. @throws FreshetError `invalid_request` as `expireSnapshots` does */
export function chooseExpired(
  { name, metadata }: LoadedTable,
  { olderThanMs, keepLast, ids = [] }: Pick<ExpireOptions, 'olderThanMs' | 'keepLast' | 'ids'>,
  nowMs: number,
): Expiry {
  const agedRefs = new Set(Object.keys(metadata.refs).filter((ref) => isAged(metadata, ref, nowMs)))
  const refs = Object.entries(metadata.refs).filter(([ref]) => !agedRefs.has(ref))
  const retained = new Set<bigint>(refs.map(([, ref]) => ref['snapshot-id']))
  const current = metadata['current-snapshot-id']
  if (current !== null) retained.add(current)
  for (const id of ids) {
    const holder = refs.find(([, ref]) => ref['snapshot-id'] === id)?.[0] ?? (id === current ? 'main' : undefined)
    if (holder !== undefined) throw heldSnapshot(name, id, holder)
  }

  const ancestors = new Set<bigint>()
  for (const [, ref] of refs) {
    const min = Math.max(keepLast, 1, numberOf(ref['min-snapshots-to-keep']) ?? 0)
    const maxAgeMs = numberOf(ref['max-snapshot-age-ms'])
    const cutoffMs = Math.min(olderThanMs, maxAgeMs === undefined ? olderThanMs : nowMs - maxAgeMs)
    let kept = 0
    for (const snapshot of lineage(metadata, ref['snapshot-id'])) {
      ancestors.add(snapshot['snapshot-id'])
      if (ref.type !== 'branch' || (kept >= min && snapshot['timestamp-ms'] < cutoffMs)) continue
      kept++
      retained.add(snapshot['snapshot-id'])
    }
  }
  const chosen = new Set(ids)
  const expired = metadata.snapshots.filter((snapshot) => {
    const id = snapshot['snapshot-id']
    if (chosen.has(id)) return true
    // What no branch leads to, for example after another engine's rollback, is kept while it is young.
    return !retained.has(id) && (ancestors.has(id) || snapshot['timestamp-ms'] < olderThanMs)
  })
  const gone = new Set(expired.map((snapshot) => snapshot['snapshot-id']))
  const statistics = statisticsFiles(metadata).filter((file) => gone.has(BigInt(file['snapshot-id'])))
  return { expired, refs: [...agedRefs], statistics: statistics.map((file) => file['statistics-path']) }
}

function isAged(metadata: TableMetadata, name: string, nowMs: number): boolean {
  const ref = metadata.refs[name]!
  const maxAgeMs = numberOf(ref['max-ref-age-ms'])
  const snapshot = snapshotById(metadata, ref['snapshot-id'])
  return (
    name !== 'main' && maxAgeMs !== undefined && snapshot !== undefined && nowMs - snapshot['timestamp-ms'] > maxAgeMs
  )
}

function numberOf(option: unknown): number | undefined {
  return typeof option === 'number' ? option : undefined
}

/** A snapshot and its ancestors, as far back as the metadata has them. */
function* lineage(metadata: TableMetadata, id: bigint): Generator<Snapshot> {
  const byId = new Map(metadata.snapshots.map((snapshot) => [snapshot['snapshot-id'], snapshot]))
  for (let snapshot = byId.get(id); snapshot !== undefined;) {
    yield snapshot
    byId.delete(snapshot['snapshot-id'])
    snapshot = byId.get(snapshot['parent-snapshot-id'] ?? -1n)
  }
}

function attemptOf(deps: CommitDeps, base: TableMetadata, { expired, refs }: Expiry): Attempt {
  const gone = new Set(refs)
  const next: TableMetadata = {
    ...withoutSnapshots(base, expired),
    refs: Object.fromEntries(Object.entries(base.refs).filter(([name]) => !gone.has(name))),
    'last-updated-ms': Math.max(deps.clock.nowMs(), base['last-updated-ms']),
  }
  const positions = tablePositions(base)
  // Where the current snapshot is another engine's, an expired one may be what said them.
  if (!samePositions(positions, tablePositions(next))) {
    next.properties = { ...next.properties, ...positionsField(positions) }
  }
  return { next, live: new Set(), doomed: [], expired: [] }
}

function isExpired(metadata: TableMetadata, { expired, refs }: Expiry): boolean {
  return (
    expired.every((snapshot) => snapshotById(metadata, snapshot['snapshot-id']) === undefined) &&
    refs.every((name) => metadata.refs[name] === undefined)
  )
}

/**
 * Removes those of some files that no snapshot of the table, as it is then, refers to; returns their keys. For files that were live
 * once, or were never committed: not for those that a commit may be about to bring in.
 * @param keys object store keys of data or delete files, manifests or manifest lists
 */
export async function removeUnreached(
  deps: Pick<CommitDeps, 'catalog' | 'store' | 'logger'>,
  table: LoadedTable,
  keys: readonly string[],
): Promise<string[]> {
  const now = await reload(deps, table)
  return removeFiles(deps, now, async () => {
    const reached = await reachedKeys(deps, now)
    return keys.filter((key) => !reached.has(key))
  })
}

/** A file that cannot be removed only takes space, so nothing here makes what was committed fail. */
async function removeFiles(
  { store, logger }: Pick<CommitDeps, 'store' | 'logger'>,
  table: LoadedTable,
  find: () => Promise<string[]>,
): Promise<string[]> {
  const removed: string[] = []
  try {
    const keys = await find()
    for (let start = 0; start < keys.length; start += keysPerRemoval) {
      const chunk = keys.slice(start, start + keysPerRemoval)
      await store.delete(chunk)
      removed.push(...chunk)
    }
  } catch (error) {
    logger.warn({ table: table.name, reason: messageOf(error) }, 'files that no snapshot needs could not be removed')
  }
  return removed
}

function heldSnapshot(name: string, id: bigint, ref: string): FreshetError {
  return new FreshetError('invalid_request', `The snapshot ${id} of ${name} is what "${ref}" points at.`, {
    hint: ref === 'main' ? 'The current snapshot cannot expire.' : `Drop the tag or branch "${ref}" first.`,
  })
}
