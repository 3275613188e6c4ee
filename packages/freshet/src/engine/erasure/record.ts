/**
 * What is known of an erasure: one small JSON file each, `<id>.json`, in a folder of its own. It is there, durable, before the request is
 * answered, and is all that a resumed erasure goes by.
 *
 * A file is written under a temporary name, synced and renamed: a crash leaves the former state or the next one, and perhaps a temporary file,
 * which the next start removes. While the work goes on it holds the condition as it was given; once all is checked, only the
 * condition with hashes for its values, so that the record does not keep what was erased.
 */
import { join } from 'node:path'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { Logger } from '../../runtime/logging.ts'
import { messageOf } from '../../runtime/errors.ts'
import type { Literal } from './predicate.ts'

/** In this order; `checking` goes back to `rewriting` where something is found that can be removed. */
export type ErasureState = 'queued' | 'flushing' | 'rewriting' | 'expiring' | 'checking' | 'done'

/** One commit of an erasure. */
export interface ErasureCommit {
  table: string
  /** Text, as it can exceed 2^53. */
  snapshotId: string
  /** Rows that matched and are gone. */
  rows: number
  filesRemoved: number
  filesAdded: number
  /** Bytes of the files that were rewritten or removed. */
  bytes: number
}

/** What the search afterwards found in one kind of place. */
export interface SearchedPlace {
  place: string
  files: number
  bytes: number
  /** Where what was to be erased still is. */
  matches: string[]
  /** Where a value of the condition stands for other reasons, and which. */
  explained: string[]
}

export interface ErasureReport {
  commits: ErasureCommit[]
  /** Log position below which the log holds nothing any more. */
  trimmedBelow: string | null
  /** Ids of the snapshots that were expired, by table. */
  expired: { table: string; snapshotId: string }[]
  /** Tags and branches that were dropped, as they kept snapshots that had to go. */
  droppedRefs: { table: string; name: string; type: string; snapshotId: string }[]
  filesDeleted: number
  /** undefined until a search has come to its end. */
  check?: { at: string; seconds: number; bytes: number; matches: number; places: SearchedPlace[] }
}

export interface ErasureRecord {
  format: 1
  id: string
  stream: string
  state: ErasureState
  requestedAt: string
  /** Who asked for it, as far as it is known. */
  requestedBy: string | null
  /** Events that arrived until then, in milliseconds since 1970, are meant. */
  untilMs: number
  /** Log position behind all of them. */
  position: string
  /** Of the table's schema, by whose names the condition speaks of columns; left out where there was no table. */
  schemaId?: number | undefined
  /** The condition; undefined once it is done. */
  where?: string
  literals?: Literal[]
  redacted: string
  finishedAt: string | null
  /** What it waits for, or what went wrong last; it goes on by itself. */
  waitingFor: string | null
  report: ErasureReport
}

/** What others are shown. */
export type ErasureAnswer = Omit<
  ErasureRecord,
  'format' | 'where' | 'literals' | 'redacted' | 'untilMs' | 'schemaId'
> & {
  /** With a hash in the place of each value. */
  where: string
  seconds: number | null
}

export function answerOf(record: ErasureRecord): ErasureAnswer {
  const { format: _format, where: _where, literals: _literals, redacted, untilMs: _until, ...known } = record
  const { schemaId: _schema, ...rest } = known
  const ms = record.finishedAt === null ? undefined : Date.parse(record.finishedAt) - Date.parse(record.requestedAt)
  return { ...rest, where: redacted, seconds: ms === undefined ? null : Math.max(0, ms / 1000) }
}

export function emptyReport(): ErasureReport {
  return { commits: [], trimmedBelow: null, expired: [], droppedRefs: [], filesDeleted: 0 }
}

const suffix = '.json'
const temporarySuffix = '.tmp'
/** Finished erasures that are kept; older ones are forgotten. */
const finishedMax = 1000

export class ErasureRecords {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #records = new Map<string, ErasureRecord>()

  /** Reads what there is. A file that cannot be read is reported, and left. */
  static async open(fileSystem: FileSystem, dir: string, logger: Logger): Promise<ErasureRecords> {
    const records = new ErasureRecords(fileSystem, dir)
    await fileSystem.makeDir(dir)
    for (const name of await fileSystem.readDir(dir)) {
      const path = join(dir, name)
      if (name.endsWith(temporarySuffix)) await fileSystem.remove(path)
      if (!name.endsWith(suffix)) continue
      try {
        const record = JSON.parse((await fileSystem.readFile(path)).toString()) as ErasureRecord
        if (record.format !== 1) throw new Error(`it has the format ${String(record.format)}`)
        records.#records.set(record.id, record)
      } catch (error) {
        logger.error({ file: path, reason: messageOf(error) }, 'the record of an erasure cannot be read')
      }
    }
    return records
  }

  private constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.#dir = dir
  }

  /** All of them, the oldest request first. */
  list(): ErasureRecord[] {
    return [...this.#records.values()].toSorted(
      (a, b) => Date.parse(a.requestedAt) - Date.parse(b.requestedAt) || (a.id < b.id ? -1 : 1),
    )
  }

  get(id: string): ErasureRecord | undefined {
    return this.#records.get(id)
  }

  /** Makes a state durable. Never two calls for one record at once. */
  async save(record: ErasureRecord): Promise<void> {
    const path = join(this.#dir, record.id + suffix)
    const temporary = path + temporarySuffix
    const file = await this.#fileSystem.open(temporary, 'create')
    try {
      await file.truncate(0)
      await file.write([Buffer.from(`${JSON.stringify(record, null, 1)}\n`)], 0)
      await file.sync()
    } finally {
      await file.close()
    }
    await this.#fileSystem.rename(temporary, path)
    await this.#fileSystem.syncDir(this.#dir)
    this.#records.set(record.id, record)
  }

  /** Forgets the oldest of those that are done, beyond a thousand. */
  async prune(): Promise<void> {
    const done = this.list().filter(({ state }) => state === 'done')
    for (const { id } of done.slice(0, Math.max(0, done.length - finishedMax))) {
      await this.#fileSystem.remove(join(this.#dir, id + suffix))
      this.#records.delete(id)
    }
  }
}
