/**
 * The check at the end of an erasure: looks at everything that is left on disk of a stream, and says where what was to be erased still is.
 *
 * - Data files, also those that no snapshot reaches: their rows, by the condition itself.
 * - Manifests: bounds of removed files, and manifests that nothing reaches. Bounds of live files come from their own rows.
 * - The log: every byte (`SearchLog`). Batches that came after the request may have the same values, and are only counted.
 * - Metadata and ledger files, ids, scratch and spill files: bytes. Names of sources and columns are no events, and are told as such.
 *
 * What has the values for another reason is `explained`; anything else is a match, and the erasure is not done.
 */
import { basename, join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { hasDeletedBounds, isManifestWith } from '../../lake/deleted-bounds.ts'
import { reachedKeys } from '../../lake/reachable.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import { literal } from '../sql-text.ts'
import { countEach, looseFile, type HistoryRequest } from './history.ts'
import { holdsAny } from './needles.ts'
import type { Literal } from './predicate.ts'
import type { SearchedPlace } from './record.ts'
import type { RewriteDeps } from './rewrite.ts'

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

function place(name: string): SearchedPlace {
  return { place: name, files: 0, bytes: 0, matches: [], explained: [] }
}

function note(list: string[], text: string): void {
  if (list.length < namedMax) list.push(text)
  else if (list.length === namedMax) list.push('and others')
}

/** The rows of all data files in a table's folder, and what its metadata folder has. */
export async function searchTable(
  deps: RewriteDeps,
  request: HistoryRequest,
  needles: readonly Buffer[],
): Promise<SearchedPlace[]> {
  const { kept, isMeant } = request
  const { table } = kept
  if (table === undefined) return []
  const data = place(`data files of ${table.name}`)
  const metadata = place(`metadata of ${table.name}`)
  const listed = await deps.store.list(`${table.name}/`)
  const known = new Map(kept.files.map((file) => [file.key, file]))
  const files = listed.filter(({ key }) => key.endsWith('.parquet'))
  data.files = files.length
  data.bytes = files.reduce((sum, { bytes }) => sum + bytes, 0)
  const scanned = files.map(({ key, bytes }) => known.get(key) ?? looseFile(key, bytes))
  const found = await deps.database.with((connection) => countEach(connection, deps, request, table, scanned))
  for (const key of found) note(data.matches, key)

  const seen = new Map<string, boolean>()
  for (const snapshot of table.metadata.snapshots) {
    if (!(await hasDeletedBounds(deps, table, snapshot, isMeant, seen))) continue
    note(metadata.matches, `bounds of a removed file in snapshot ${snapshot['snapshot-id']}`)
  }
  const reached = await reachedKeys(deps, table)
  for (const { key, bytes } of listed.filter((one) => !one.key.endsWith('.parquet'))) {
    metadata.files++
    metadata.bytes += bytes
    const content = await deps.store.get(key)
    if (content === undefined) continue
    if (key.endsWith('.avro')) {
      if (!reached.has(key) && isManifestWith(content, isMeant)) note(metadata.matches, key)
    } else if (holdsAny(content, needles)) note(metadata.explained, `${key}: the name of a source, a column or a tag`)
  }
  for (const path of await filesBelow(deps.fileSystem, join(deps.lakeDir, table.name))) {
    if (!basename(path).startsWith('.')) continue
    const content = await deps.fileSystem.readFile(path).catch(() => undefined)
    if (content !== undefined && (holdsAny(content, needles) || isManifestWith(content, isMeant)))
      note(metadata.matches, path)
  }
  return [data, metadata]
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
  for (const path of await filesBelow(fileSystem, tmpDir)) {
    const name = basename(path)
    const { bytes, found } = await searchFile(fileSystem, path, request.needles)
    scratch.files++
    scratch.bytes += bytes
    const isMatch = name.endsWith('.parquet')
      ? await database.with((connection) => parquetHolds(connection, path, request))
      : found && !name.startsWith('system-') && !(await holdsLaterLinesOnly(fileSystem, path, request))
    if (isMatch) note(scratch.matches, path)
  }
  return scratch
}

/** Whether a Parquet file has rows with one of the values, but for those of events that arrived later. */
async function parquetHolds(
  connection: DuckDBConnection,
  path: string,
  { literals, untilMs }: { literals: readonly Literal[]; untilMs: number },
): Promise<boolean> {
  if (literals.length === 0) return false
  const texts = literals.map(({ text }) => `contains(j, ${literal(JSON.stringify(text).slice(1, -1))})`)
  const rows = `SELECT CAST(to_json(r) AS VARCHAR) AS j FROM read_parquet(${literal(path)}) AS r`
  const until = `coalesce(epoch_ms(TRY_CAST(json_extract_string(j, '$._received_at') AS TIMESTAMPTZ)) <= ${untilMs}, true)`
  try {
    const result = await connection.runAndReadAll(
      `SELECT 1 FROM (${rows}) WHERE ${until} AND (${texts.join(' OR ')}) LIMIT 1`,
    )
    return result.currentRowCount > 0
  } catch {
    // It is being written, or has gone: the next search knows.
    return true
  }
}

/** Whether all lines of a file that have one of the values are events that arrived later. */
async function holdsLaterLinesOnly(
  fileSystem: FileSystem,
  path: string,
  { needles, untilMs }: { needles: readonly Buffer[]; untilMs: number },
): Promise<boolean> {
  if (!path.endsWith('.ndjson')) return false
  const content = await fileSystem.readFile(path).catch(() => Buffer.alloc(0))
  return content
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
  } catch {
    return { bytes, found: false }
  }
}

async function filesBelow(fileSystem: FileSystem, dir: string): Promise<string[]> {
  const found: string[] = []
  for (const { name, folder } of await fileSystem.readEntries(dir)) {
    const path = join(dir, name)
    if (folder) found.push(...(await filesBelow(fileSystem, path)))
    else found.push(path)
  }
  return found
}
