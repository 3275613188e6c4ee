/**
 * The check at the end of an erasure: looks at everything that is left on disk of a stream, and says where what was to be erased still is.
 *
 * - Data files: all their rows, by the condition itself; no file is left out by what its bounds say.
 * - Files that no snapshot reaches: rows by the condition, and by the values; others by their bytes (unreached.ts).
 * - Manifests: bounds of removed files. Bounds of live files come from their own rows.
 * - The log: every byte (`SearchLog`). Batches that came after the request may have the same values, and are only counted.
 * - Metadata and ledger files, ids, scratch and spill files: bytes. Names of sources and columns are no events, and are told as such.
 *
 * What has the values for another reason is `explained`; anything else is a match, and the erasure is not done.
 */
import { basename, join } from 'node:path'
import { hasDeletedBounds, isManifestWith } from '../../lake/deleted-bounds.ts'
import { systemCodeOf } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import { countEach, type HistoryRequest } from './history.ts'
import { holdsAny } from './needles.ts'
import { textsIn } from './parquet-texts.ts'
import type { Literal } from './predicate.ts'
import type { SearchedPlace } from './record.ts'
import type { RewriteDeps } from './rewrite.ts'
import { filesBelow, looseFile, unlistedFiles, unreachedFiles, withMeant, type Sought } from './unreached.ts'

/** What is found in a stream's log: given by whoever knows its files. */
export type SearchLog = (request: {
  stream: string
  needles: readonly Buffer[]
  untilMs: number
  position: bigint
}) => Promise<SearchedPlace[]>

/** Paths that are told by name. */
const namedMax = 20
const pieceBytes = 8 * 1024 * 1024
/** What DuckDB spills in blocks of other sizes than its own is packed; the bytes of others can be searched. */
const packedSpill = /^duckdb_temp_storage_S\d/

function place(name: string): SearchedPlace {
  return { place: name, files: 0, bytes: 0, matches: [], explained: [] }
}

function note(list: string[], text: string): void {
  if (list.length < namedMax) list.push(text)
  else if (list.length === namedMax) list.push('and others')
}

/** The rows of all data files in a table's folder, and everything else in it. */
export async function searchTable(
  deps: RewriteDeps,
  request: HistoryRequest,
  sought: Sought,
): Promise<SearchedPlace[]> {
  const { kept, isMeant } = request
  const { table } = kept
  if (table === undefined) return []
  const data = place(`data files of ${table.name}`)
  const metadata = place(`metadata of ${table.name}`)
  const listed = await deps.store.list(`${table.name}/`)
  for (const { key, bytes } of listed) {
    const which = key.endsWith('.parquet') ? data : metadata
    which.files++
    which.bytes += bytes
  }
  const loose = await unreachedFiles(deps, table, listed)
  const looseKeys = new Set(loose.map(({ key }) => key))
  const suspects = new Set(await withMeant(deps, request, sought, table, loose))

  const known = new Map(kept.files.map((file) => [file.key, file]))
  const deletes = new Set(kept.files.flatMap((file) => file.deletes.map(({ key }) => key)))
  const reached = listed.filter(({ key }) => !looseKeys.has(key))
  const files = reached
    .filter(({ key }) => key.endsWith('.parquet') && !deletes.has(key))
    .map(({ key, bytes }) => known.get(key) ?? looseFile(key, bytes))
  const found = await deps.database.with((connection) => countEach(connection, deps, request, table, files))
  for (const key of found) note(data.matches, key)
  // Delete files may have the deleted rows beside their places.
  const texts = { texts: sought.needles.map(String), untilMs: sought.untilMs }
  for (const key of deletes) {
    const path = join(deps.lakeDir, key)
    if (await deps.database.with((connection) => textsIn(connection, path, texts))) note(data.matches, key)
  }

  const seen = new Map<string, boolean>()
  for (const snapshot of table.metadata.snapshots) {
    if (!(await hasDeletedBounds(deps, table, snapshot, isMeant, seen))) continue
    note(metadata.matches, `bounds of a removed file in snapshot ${snapshot['snapshot-id']}`)
  }
  for (const { key } of reached) {
    if (key.endsWith('.parquet') || key.endsWith('.avro')) continue
    const content = await deps.store.get(key)
    if (content !== undefined && holdsAny(content, sought.needles))
      note(metadata.explained, `${key}: the name of a source, a column or a tag`)
  }
  for (const path of await unlistedFiles(deps, table)) {
    const content = await deps.fileSystem.readFile(path).catch(passOverGone)
    metadata.files++
    metadata.bytes += content?.length ?? 0
    if (content !== undefined && (holdsAny(content, sought.needles) || isManifestWith(content, isMeant)))
      suspects.add(path)
  }
  for (const suspect of await stillUnreached(deps, request, suspects))
    note(suspect.endsWith('.parquet') ? data.matches : metadata.matches, `${suspect}, which no snapshot has`)
  return [data, metadata]
}

/** Those that are no files of a flush that was under way: of what it has written since, no snapshot knew. */
async function stillUnreached(
  deps: RewriteDeps,
  { kept }: HistoryRequest,
  suspects: ReadonlySet<string>,
): Promise<string[]> {
  if (suspects.size === 0) return []
  const still: string[] = []
  await kept.change(async (table) => {
    const loose = (await unreachedFiles(deps, table)).map(({ key }) => key)
    still.push(...[...loose, ...(await unlistedFiles(deps, table))].filter((one) => suspects.has(one)))
    return table
  }, 'kept')
  return still
}

/** Which ids the table holds, as they are remembered on disk: runs of files that are live have the ids of rows that are there. */
export async function searchIds(
  fileSystem: FileSystem,
  dir: string,
  needles: readonly Buffer[],
): Promise<SearchedPlace> {
  const ids = place('ids')
  for (const path of await filesBelow(fileSystem, dir)) {
    const { bytes, found } = await searchFile(fileSystem, path, needles)
    ids.files++
    ids.bytes += bytes
    if (found) note(ids.explained, `${path}: an id of an event that is there`)
  }
  return ids
}

/** Scratch and spill files. Rows and lines of events that arrived later do not count. */
export async function searchScratch(
  deps: Pick<RewriteDeps, 'fileSystem' | 'database'>,
  tmpDir: string,
  request: { literals: readonly Literal[]; needles: readonly Buffer[]; untilMs: number },
): Promise<SearchedPlace> {
  const scratch = place('scratch and spill files')
  const { fileSystem, database } = deps
  const texts = request.literals.map(({ text }) => JSON.stringify(text).slice(1, -1))
  for (const path of await filesBelow(fileSystem, tmpDir)) {
    const name = basename(path)
    const { bytes, found } = await searchFile(fileSystem, path, request.needles)
    scratch.files++
    scratch.bytes += bytes
    const isMatch = name.endsWith('.parquet')
      ? await database.with((connection) => textsIn(connection, path, { texts, untilMs: request.untilMs }))
      : found && !name.startsWith('system-') && !(await holdsLaterLinesOnly(fileSystem, path, request))
    if (isMatch) note(scratch.matches, path)
    else if (packedSpill.test(name)) note(scratch.explained, `${path}: what running queries have spilled, packed`)
  }
  return scratch
}

/** Whether all lines of a file that have one of the values are events that arrived later. */
async function holdsLaterLinesOnly(
  fileSystem: FileSystem,
  path: string,
  { needles, untilMs }: { needles: readonly Buffer[]; untilMs: number },
): Promise<boolean> {
  if (!path.endsWith('.ndjson')) return false
  const content = await fileSystem.readFile(path).catch(passOverGone)
  return (content ?? Buffer.alloc(0))
    .toString('utf8')
    .split('\n')
    .filter((line) => holdsAny(Buffer.from(line), needles))
    .every((line) => (receivedAtMs(line) ?? 0) > untilMs)
}

function receivedAtMs(line: string): number | undefined {
  try {
    const { _received_at: text } = JSON.parse(line) as { _received_at?: string }
    return text === undefined ? undefined : Date.parse(text)
  } catch {
    return undefined
  }
}

/** Looks through a file piece by piece; one that has gone has nothing. */
async function searchFile(
  fileSystem: FileSystem,
  path: string,
  needles: readonly Buffer[],
): Promise<{ bytes: number; found: boolean }> {
  const overlap = Math.max(0, ...needles.map((needle) => needle.length - 1))
  let bytes = 0
  try {
    const file = await fileSystem.open(path, 'read')
    try {
      for (;;) {
        const piece = await file.read(Math.max(0, bytes - overlap), pieceBytes + overlap)
        const fresh = piece.length - Math.min(bytes, overlap)
        if (fresh <= 0) return { bytes, found: false }
        bytes += fresh
        if (holdsAny(piece, needles)) return { bytes: await file.size(), found: true }
      }
    } finally {
      await file.close()
    }
  } catch (error) {
    passOverGone(error)
    return { bytes, found: false }
  }
}

/** A file that is gone has nothing. @throws any other error: of a file that cannot be read nobody knows what it has */
function passOverGone(error: unknown): undefined {
  if (systemCodeOf(error) !== 'ENOENT') throw error
}
