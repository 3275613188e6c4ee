/**
 * The loop that every commit to a table goes through: make the metadata that follows a base, have the catalog put it in the base's
 * place, and when another commit was first, load the table again, check, and make it anew.
 *
 * Crash points: files are written before the swap, so without it nothing refers to them, and orphan removal finds them. After the
 * swap the commit is made; what only an older state needed may be left behind, likewise.
 *
 * A lost answer: when the swap fails, the table is loaded, and `isMade` says whether the commit is there after all. It counts only
 * once it is known to survive a power cut (`confirmDurable`). An error that leaves this open is passed on; the files stay then, for
 * the commit may have been made.
 */
import type { Clock } from '../runtime/clock.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { Catalog, LoadedTable } from './catalog.ts'
import { removeExpired } from './snapshot-cap.ts'
import type { MergePolicy } from './merge-manifests.ts'
import { snapshotById, type Snapshot, type TableMetadata } from './metadata.ts'

export interface CommitDeps extends CommitLimits {
  catalog: Catalog
  store: ObjectStore
  clock: Clock
  random: Random
  logger: Logger
}

/** How much history a table carries along; what is left out has its default. */
export interface CommitLimits {
  merge?: MergePolicy
  /** Snapshots that stay in the metadata, which every commit rewrites; older ones are expired. */
  snapshotsMax?: number
}

/** What one attempt would make of the table. */
export interface Attempt {
  next: TableMetadata
  /** Keys of files that `next` needs. Whatever else the commit wrote is removed once it is made. */
  live: ReadonlySet<string>
  /** Keys of older files that nothing needs once it is made. */
  doomed: readonly string[]
  /** Snapshots that the limit on their number takes out of the metadata. */
  expired: readonly Snapshot[]
}

export interface CommitWork {
  /** What the first attempt is made on. */
  base: LoadedTable
  /** Keys of every file that the commit has written, kept up by who writes them. */
  written: string[]
  /** Whether a table has this commit in it. */
  isMade: (metadata: TableMetadata) => boolean
  /** 'nothing': there is nothing to do on `base`. @throws FreshetError `commit_conflict` when the commit must not be made on it. */
  attempt: (base: LoadedTable) => Promise<Attempt | 'nothing'>
}

const attemptsMax = 20

/**
 * Makes a commit. `conflicts`: commits by others that it had to be rebased on.
 * @throws FreshetError `commit_conflict` when `attempt` does, or others committed first too often: nothing was changed, and what the
 * commit wrote is removed. Any other error leaves it open whether the commit was made.
 */
export async function commitInLoop(
  deps: CommitDeps,
  work: CommitWork,
): Promise<{ table: LoadedTable; conflicts: number }> {
  const { written } = work
  let { base } = work
  let conflicts = 0
  try {
    for (;;) {
      const before = written.length
      const attempt = await attemptOn(deps, work, base)
      if (attempt === 'nothing') return { table: base, conflicts }
      const committed = attempt && (await commitOnce(deps, base, attempt.next, work.isMade))
      if (attempt !== undefined && committed !== undefined) {
        // A manifest of ours that was merged at once.
        const unused = [...written.filter((key) => !attempt.live.has(key)), ...attempt.doomed]
        if (unused.length > 0) await discard(deps, unused)
        if (attempt.expired.length > 0) await removeExpired(deps, committed, attempt.expired)
        return { table: committed, conflicts }
      }
      conflicts++
      deps.logger.warn({ table: base.name, version: base.version, conflicts }, 'another writer committed first')
      if (conflicts === attemptsMax) throw tooManyConflicts(base)
      await discard(deps, written.splice(before))
      base = await reload(deps, base)
    }
  } catch (error) {
    if (isConflict(error)) await discard(deps, written)
    throw error
  }
}

/** undefined when files of `base` are gone because others have committed since, and expired its snapshot. */
async function attemptOn(
  deps: CommitDeps,
  work: CommitWork,
  base: LoadedTable,
): Promise<Attempt | 'nothing' | undefined> {
  try {
    return await work.attempt(base)
  } catch (error) {
    if (!(error instanceof FreshetError) || error.code !== 'corrupt_table') throw error
    const now = await deps.catalog.load(base.name).catch(() => undefined)
    if (now === undefined || now.version === base.version) throw error
    return undefined
  }
}

/** The committed table; undefined when another commit was first. */
async function commitOnce(
  deps: CommitDeps,
  base: LoadedTable,
  next: TableMetadata,
  isMade: CommitWork['isMade'],
): Promise<LoadedTable | undefined> {
  try {
    return await deps.catalog.commit(base, next)
  } catch (error) {
    // The answer to a commit can be lost after it was made, and a client that repeats it by itself then sees a conflict.
    const now = await deps.catalog.load(base.name).catch(() => undefined)
    if (now !== undefined && isMade(now.metadata)) {
      if (!isConflict(error)) await confirmDurable(deps.catalog, now)
      return now
    }
    if (isConflict(error) && now !== undefined) return undefined
    throw isConflict(error) ? unknownOutcome(base, error) : error
  }
}

/**
 * Resolves when the table's state, as it was loaded, is known to survive a power cut: a commit that failed, or whose process died,
 * may be there to see before it is durable. Only a conflict says that what stands in its place stays.
 */
export async function confirmDurable(catalog: Catalog, table: LoadedTable): Promise<void> {
  try {
    await catalog.commit({ ...table, version: table.version - 1 }, table.metadata)
  } catch (error) {
    if (!isConflict(error)) throw error
  }
}

/** Below 2^53, so that engines that read JSON numbers as doubles keep every digit. */
export function newSnapshotId(metadata: TableMetadata, random: Random): bigint {
  for (;;) {
    const id = BigInt(`0x${random.hex(7)}`) >> 4n
    if (id > 0n && snapshotById(metadata, id) === undefined) return id
  }
}

/** The newest state of a table that was loaded before. @throws FreshetError `corrupt_table` when it is gone. */
export async function reload(deps: Pick<CommitDeps, 'catalog'>, base: LoadedTable): Promise<LoadedTable> {
  const table = await deps.catalog.load(base.name)
  if (table === undefined)
    throw new FreshetError('corrupt_table', `The table ${base.name} is gone.`, { hint: 'Restore its metadata folder.' })
  return table
}

/** Removes files that nothing needs; one that cannot be removed only takes space. */
async function discard(deps: CommitDeps, keys: readonly string[]): Promise<void> {
  try {
    await deps.store.delete(keys)
  } catch (error) {
    deps.logger.warn({ keys, reason: messageOf(error) }, 'files that are no longer needed could not be removed')
  }
}

function isConflict(error: unknown): error is FreshetError {
  return error instanceof FreshetError && error.code === 'commit_conflict'
}

function tooManyConflicts(base: LoadedTable): FreshetError {
  return new FreshetError(
    'commit_conflict',
    `Other writers committed to ${base.name} first, ${attemptsMax} times in a row.`,
    { hint: 'Find out what else writes to the table so often, or let it commit less often.' },
  )
}

function unknownOutcome(base: LoadedTable, cause: Error): FreshetError {
  return new FreshetError(
    'internal',
    `A commit to ${base.name} met a conflict, and then the table could not be loaded.`,
    { cause },
  )
}
