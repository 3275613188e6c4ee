/**
 * How far a sink of files is: what it has taken, and what has become of it. It is one small file, replaced by rename, and each
 * replacement is the moment at which something has happened.
 */
import { join } from 'node:path'
import { FreshetError } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'

/** Events that are to be in one file, or in one file a group. They are in `spool-<sequence>.ndjson`, one a line. */
export interface Segment {
  sequence: number
  /** Bytes of the spool that are taken; what lies behind them is not. */
  bytes: number
  events: number
  /** When it is cut at the latest; ms since 1970. */
  dueMs: number
}

/** A file on its way into place. */
export interface StagedFile {
  /** What is written: below the folder that files go to, or for a bucket in that of the state. */
  part: string
  /** Its place: below the folder, or behind what keys begin with. A marker in a folder is a file of its own. */
  path: string
  /** In a bucket: the mark that its object carries, what the key of its marker ends in (empty for none), and how many events it has. */
  object?: { mark: string; marker: string; events: number }
}

export interface FilesState {
  format: 1
  /** Of the events that are taken. */
  checkpoint: string
  /** Of the next segment. */
  sequence: number
  /** Segments that are cut, the oldest first. */
  cut: Segment[]
  /** The segment that grows. */
  open: Segment | null
  /** Files of the oldest cut segment that are not known to be in place; `whole` when all of them are written. A marker comes behind what it marks. */
  staged: { whole: boolean; files: readonly StagedFile[] } | null
}

const name = 'state.json'
const temporary = 'state.json.tmp'

const emptyState: FilesState = { format: 1, checkpoint: '', sequence: 1, cut: [], open: null, staged: null }

export function spoolName(sequence: number): string {
  return `spool-${sequence}.ndjson`
}

/** @throws Error when the file is damaged or of another version */
export async function readState(fileSystem: FileSystem, folder: string): Promise<FilesState> {
  const names = await fileSystem.readDir(folder)
  if (!names.includes(name)) return emptyState
  const path = join(folder, name)
  const text = (await fileSystem.readFile(path)).toString()
  let state: Partial<FilesState> | undefined
  try {
    state = JSON.parse(text) as Partial<FilesState>
  } catch {
    state = undefined
  }
  if (state?.format === 1 && typeof state.checkpoint === 'string' && Array.isArray(state.cut))
    return state as FilesState
  throw new FreshetError('sink_target_unusable', `${path} cannot be read: it says what this sink has taken.`, {
    hint: 'Restore it. If you remove its folder, the sink begins anew, and events that waited in it are in no file.',
  })
}

export async function writeState(fileSystem: FileSystem, folder: string, state: FilesState): Promise<void> {
  await writeWhole(fileSystem, join(folder, temporary), Buffer.from(JSON.stringify(state)))
  await fileSystem.rename(join(folder, temporary), join(folder, name))
  await fileSystem.syncDir(folder)
}

/** Writes a file from its start and makes its bytes durable; its name is not until the folder is synced. */
export async function writeWhole(fileSystem: FileSystem, path: string, bytes: Uint8Array): Promise<void> {
  await fileSystem.remove(path)
  const file = await fileSystem.open(path, 'create')
  try {
    await file.write([bytes], 0)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Removes what a crash left in the folder: everything that the state does not name. */
export async function removeDebris(fileSystem: FileSystem, folder: string, state: FilesState): Promise<void> {
  const spools = [...state.cut, state.open].map((segment) => segment && spoolName(segment.sequence))
  const kept = new Set([name, ...spools, ...(state.staged?.files ?? []).map(({ part }) => part)])
  for (const found of await fileSystem.readDir(folder)) {
    if (!kept.has(found)) await fileSystem.remove(join(folder, found))
  }
}
