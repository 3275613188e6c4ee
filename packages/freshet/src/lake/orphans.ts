/**
 * Orphans: files in a table's folder that nothing refers to. Commits that were not made leave them, and crashes between an expiry and
 * its removals.
 *
 * A file that is being brought in looks just like one, until its commit. So nothing is taken for an orphan
 * - that was stored, or put in place, after a time which the caller sets well before now (a day; commits take seconds),
 * - or that the caller knows to be in flight;
 * and the folder is listed before the table is loaded: what is in the listing and was committed meanwhile is then in the table. Before files
 * are removed, all of it is looked at once more.
 *
 * Whatever cannot be told for certain ends the search with an error: a manifest that cannot be read may have named any of the files, and a
 * path that lies outside the table's folder may be another way to name a file inside it. Versions of the metadata and the version
 * hint are the catalog's own. Names that begin with `.` or `_` are left to other engines (checksums, markers).
 */
import { FreshetError } from '../runtime/errors.ts'
import type { StoredObject } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import { reachedKeys } from './reachable.ts'
import { reload, type CommitDeps } from './snapshot-commit.ts'

export interface OrphanOptions {
  /** Files from this time on are none. Ms since 1970. */
  olderThanMs: number
  /** Keys of files that are about to be committed; asked after the table was read. */
  inFlight?: () => Iterable<string>
}

type OrphanDeps = Pick<CommitDeps, 'catalog' | 'store'>

const keysPerRemoval = 500

/**
 * The orphans of a table, sorted by key.
 * @throws FreshetError `corrupt_table` when some of the table cannot be read, `unsupported_table` when files of it lie elsewhere.
 */
export async function findOrphans(
  deps: OrphanDeps,
  table: LoadedTable,
  options: OrphanOptions,
): Promise<StoredObject[]> {
  const listed = await deps.store.list(`${table.name}/`)
  const old = listed.filter(
    ({ key, modifiedMs }) => modifiedMs < options.olderThanMs && !isCatalogs(key) && !isHidden(key),
  )
  if (old.length === 0) return []
  const known = new Map<string, readonly string[]>()
  let now = await sameTable(deps, table)
  let orphans = old
  for (;;) {
    const reached = await reachedKeys(deps, now, known)
    orphans = orphans.filter(({ key }) => !reached.has(key))
    const { version } = now
    now = await sameTable(deps, table)
    if (now.version === version || orphans.length === 0) break
  }
  const inFlight = new Set(options.inFlight?.())
  return orphans.filter(({ key }) => !inFlight.has(key))
}

/**
 * Removes orphans that `findOrphans` found, those that still are: not changed since, and not in the table by now.
 * @returns what was removed; when an error is thrown, some may be.
 */
export async function removeOrphans(
  deps: OrphanDeps,
  table: LoadedTable,
  orphans: readonly StoredObject[],
  options: OrphanOptions,
): Promise<StoredObject[]> {
  if (orphans.length === 0) return []
  const found = new Map(orphans.map((orphan) => [orphan.key, orphan]))
  const still = (await findOrphans(deps, table, options)).filter(({ key, bytes, modifiedMs }) => {
    const before = found.get(key)
    return before?.bytes === bytes && before.modifiedMs === modifiedMs
  })
  for (let start = 0; start < still.length; start += keysPerRemoval)
    await deps.store.delete(still.slice(start, start + keysPerRemoval).map(({ key }) => key))
  return still
}

/** @throws FreshetError `commit_conflict` when another table has its name. */
async function sameTable(deps: OrphanDeps, table: LoadedTable): Promise<LoadedTable> {
  const now = await reload(deps, table)
  if (now.metadata['table-uuid'] === table.metadata['table-uuid']) return now
  throw new FreshetError('commit_conflict', `The table ${table.name} was replaced by another one of its name.`)
}

function isCatalogs(key: string): boolean {
  return /^[^/]+\/metadata\/(v\d+(\.[a-z]+)?\.metadata\.json|version-hint\.text)$/.test(key)
}

function isHidden(key: string): boolean {
  return /\/[._][^/]*$/.test(key)
}
