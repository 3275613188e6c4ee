/**
 * Where files go. A file appears under its name whole or not at all, once, and over nothing that is there; also when somebody takes
 * files away at once, and whatever is killed.
 *
 * 1. The state names the files that will be: for each the part that is written, and the place.
 * 2. The parts are written and synced, and so are their folders.
 * 3. The state says that they are whole.
 * 4. Each gets to its place, a marker behind the file that it marks: in a folder the part is renamed (folder-target.ts), in a bucket
 *    its bytes are put (bucket-target.ts).
 * 5. The state says that the segment is done; its spool is removed.
 *
 * A crash before 3 leaves parts, which are removed and written again. From 3 on nothing is written again; what is not in its place yet gets
 * there, and how that is known is told where it is done. After 5 at most a spool is left, which nothing names.
 */
import { createHash } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import type { SinkEvent } from '../sink.ts'
import type { StagedFile } from './state.ts'

/** A file that is to be: its place, and what is in it. */
export interface PlannedFile {
  /** With `/` between its parts, below the folder or what keys begin with. */
  path: string
  events: readonly SinkEvent[]
}

/** A file whose place is free, with what the state has to know of it. */
export interface PlacedFile extends PlannedFile {
  staged: readonly StagedFile[]
}

export interface FilesTarget {
  /** Longest path that it takes, in bytes. */
  readonly pathBytesMax: number
  /** Finds a free place for each file of a segment. Nothing is written. */
  place(files: readonly PlannedFile[], sequence: number): Promise<PlacedFile[]>
  /** Writes the parts; they are durable, with their names, when it resolves. */
  writeParts(placed: readonly PlacedFile[], sequence: number): Promise<void>
  /** Removes parts, as far as they are there. */
  removeParts(staged: readonly StagedFile[]): Promise<void>
  /**
   * Puts whole parts into their places, in order. A part that is in its place already is passed over.
   * @param note notes durably what there is still to do, where the target cannot tell by itself
   */
  putInPlace(staged: readonly StagedFile[], note: (rest: readonly StagedFile[]) => Promise<void>): Promise<void>
  /** Ends what is under way. */
  close(): Promise<void>
}

/** The path with a number before its ending, such as `-2`; the first one is the path itself. */
export function numberedPath(path: string, number: number): string {
  if (number === 1) return path
  const { stem, ending } = partsOfName(path)
  return join(dirname(path), `${stem}-${number}${ending}`)
}

/** What a name has before its first dot, and from there on. */
export function partsOfName(path: string): { stem: string; ending: string } {
  const name = basename(path)
  const dot = name.indexOf('.')
  return dot < 0 ? { stem: name, ending: '' } : { stem: name.slice(0, dot), ending: name.slice(dot) }
}

/** A marker says what it marks, so that a reader can check it. */
export function markerText(file: { path: string; events: number; bytes: Uint8Array }): Buffer {
  const { path, events, bytes } = file
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return Buffer.from(`${JSON.stringify({ file: basename(path), bytes: bytes.length, events, sha256 })}\n`)
}
