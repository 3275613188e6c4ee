/**
 * Files in a table's folder that no snapshot reaches: left by crashes and by commits that were not made, of a compaction, say, that was
 * killed before the erasure. They hold rows as much as the table did.
 *
 * Those that have rows that are meant, or show values of them, are removed once the queries have ended that may read them: an expiry
 * that was interrupted leaves files that were in a snapshot a moment ago. It happens while upkeep is held back (upkeep/turns.ts) and no
 * flush or change of the table is under way, so no file of ours is on its way into the table then; that no other Freshet writes to it
 * is what the lock on the data folder says. Where other engines write to the table, their files are given a day, as they may be about
 * to commit them. What is not removed, the check finds.
 *
 * Files that the store does not list have temporary names: they are ours, and at such a moment left by a process that was killed. All of them go.
 *
 * Crash points: whatever is left is found again by the next run.
 */
import { basename, dirname, join } from 'node:path'
import { decodeAvro } from '../../lake/avro.ts'
import { isManifestWith } from '../../lake/deleted-bounds.ts'
import { positionsKey } from '../../lake/metadata.ts'
import { reachedKeys } from '../../lake/reachable.ts'
import type { ScanFile } from '../../lake/scan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { StoredObject } from '../../storage/object-store.ts'
import { endedOrAborted } from '../upkeep/job.ts'
import { countEach, type HistoryRequest } from './history.ts'
import { holdsAny } from './needles.ts'
import type { ErasureReport } from './record.ts'
import type { RewriteDeps } from './rewrite.ts'
import { textsIn } from './parquet-texts.ts'

/** What is looked for where there is no condition to ask. */
export interface Sought {
  needles: readonly Buffer[]
  untilMs: number
}

const foreignFileAgeMs = 24 * 3600 * 1000

/** Removes files that no snapshot reaches and that have rows that are meant, or show values of them. */
export async function removeUnreached(
  deps: RewriteDeps,
  request: HistoryRequest,
  sought: Sought,
  report: ErasureReport,
): Promise<void> {
  const { kept, signal } = request
  if (kept.table === undefined) return
  const before = new Set((await unreachedFiles(deps, kept.table)).map(({ key }) => key))
  if (before.size + (await unlistedFiles(deps, kept.table)).length === 0) return
  await endedOrAborted(kept.readersGone(), signal)
  signal.throwIfAborted()
  await kept.change(async (table) => {
    for (const path of await unlistedFiles(deps, table)) {
      await deps.fileSystem.remove(path)
      await deps.fileSystem.syncDir(dirname(path))
      report.filesDeleted++
    }
    const agedMs = deps.clock.nowMs() - foreignFileAgeMs
    const loose = (await unreachedFiles(deps, table)).filter(
      (file) => before.has(file.key) && (isOurs(table, file.key) || file.modifiedMs < agedMs),
    )
    const doomed = await withMeant(deps, request, sought, table, loose)
    await deps.store.delete([...doomed])
    report.filesDeleted += doomed.size
    return table
  }, 'kept')
}

/** Files in the table's folder that no snapshot reaches, but for what the catalog keeps and ledgers that have been merged. */
export async function unreachedFiles(
  deps: RewriteDeps,
  table: LoadedTable,
  listed?: readonly StoredObject[],
): Promise<StoredObject[]> {
  const all = listed ?? (await deps.store.list(`${table.name}/`))
  const reached = await reachedKeys(deps, table)
  return all.filter(({ key }) => !reached.has(key) && !isMetadata(key))
}

/** Paths of files in the table's folder that the store does not list: those that it has not put in place yet. */
export async function unlistedFiles(
  { fileSystem, store, lakeDir }: RewriteDeps,
  { name }: LoadedTable,
): Promise<string[]> {
  const paths = await filesBelow(fileSystem, join(lakeDir, name))
  // Listed after, so that what has just been put in place is none.
  const listed = new Set((await store.list(`${name}/`)).map(({ key }) => join(lakeDir, key)))
  return paths.filter((path) => !listed.has(path))
}

/** Keys of those files that have rows that are meant, or show values of them; one that cannot be read counts as such. */
export async function withMeant(
  deps: RewriteDeps,
  request: HistoryRequest,
  sought: Sought,
  table: LoadedTable,
  loose: readonly StoredObject[],
): Promise<Set<string>> {
  const { isMeant, signal } = request
  const data = loose.filter(({ key }) => key.endsWith('.parquet'))
  const files = data.map(({ key, bytes }) => looseFile(key, bytes))
  const found = await deps.database.with((connection) => countEach(connection, deps, request, table, files))
  const wanted = { texts: sought.needles.map(String), untilMs: sought.untilMs }
  for (const { key } of data) {
    signal.throwIfAborted()
    if (found.has(key)) continue
    // It may be no data file of this table, or of a schema of which nothing is known.
    const path = join(deps.lakeDir, key)
    if (await deps.database.with((connection) => textsIn(connection, path, wanted))) found.add(key)
  }
  for (const { key } of loose) {
    if (key.endsWith('.parquet')) continue
    const bytes = await deps.store.get(key)
    if (bytes === undefined) continue
    const isAvro = key.endsWith('.avro')
    if (isAvro ? !isWholeAvro(bytes) || isManifestWith(bytes, isMeant) : holdsAny(bytes, sought.needles)) found.add(key)
  }
  return found
}

/** What Freshet names so. Where nobody else has written to the table, all its manifests are. */
function isOurs({ metadata }: LoadedTable, key: string): boolean {
  if (key.endsWith('.parquet')) return /\/[0-9a-f]{32}\.parquet$/.test(key)
  return key.endsWith('.avro') && metadata.snapshots.every(({ summary }) => summary[positionsKey] !== undefined)
}

/** Files that have no values of rows: versions of the metadata, and the ledger's. */
function isMetadata(key: string): boolean {
  const name = basename(key)
  return /(^version-hint\.text|\.metadata\.json)$/.test(name) || /^ledger-.*\.ndjson$/.test(name)
}

function isWholeAvro(bytes: Buffer): boolean {
  try {
    decodeAvro(bytes)
    return true
  } catch {
    return false
  }
}

/** A file of which nothing is known but where it is. */
export function looseFile(key: string, bytes: number): ScanFile {
  const open = { lower: undefined, upper: undefined }
  return {
    key,
    path: key,
    specId: 0,
    partitionKey: '',
    partition: undefined,
    partitionValue: null,
    recordCount: 0,
    bytes,
    deletes: [],
    eventId: open,
    eventTime: open,
    receivedAt: open,
    snapshotId: 0n,
    sequenceNumber: 0,
  }
}

/** Paths of the files in a folder and those below it. */
export async function filesBelow(fileSystem: FileSystem, dir: string): Promise<string[]> {
  const found: string[] = []
  for (const { name, folder } of await fileSystem.readEntries(dir)) {
    const path = join(dir, name)
    if (folder) found.push(...(await filesBelow(fileSystem, path)))
    else found.push(path)
  }
  return found
}
