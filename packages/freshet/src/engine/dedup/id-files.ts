/** What the book of ids is given to work with. */
import type { ScanFile } from '../../lake/scan.ts'
import type { Logger } from '../../runtime/logging.ts'
import type { Random } from '../../runtime/random.ts'
import type { IdMemory } from './id-memory.ts'
import type { Scope } from './scan.ts'

/** A data file, as far as ids are concerned. */
export interface IdFile {
  /** Names the file, and the rows of it that were deleted: so the ids under a name never change. */
  key: string
  /** Set for a file with deleted rows, whose key is not its place. */
  cut?: Pick<ScanFile, 'key' | 'path' | 'deletes'>
  /** The partition that all its ids belong to; undefined when they may belong to any. */
  partition: number | undefined
  rows: number
}

/** Where the book reads ids; the stream's table answers. */
export interface IdSource {
  /** The committed data files. */
  files(): readonly IdFile[]
  /** The ids of one partition in a data file, or in the hot rows (undefined), in pieces: ids as UTF-8, each ended by a newline. */
  readIds(file: IdFile | undefined, partition: number, onPiece: (ids: Buffer) => Promise<void>): Promise<void>
}

export interface IdBookOptions {
  scope: Scope
  source: IdSource
  /** Folder of the stream's runs. */
  dir: string
  memory: IdMemory
  random: Random
  logger: Logger
}
