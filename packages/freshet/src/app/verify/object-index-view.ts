/**
 * Reads the index of objects beside whoever writes it, or at rest. It changes nothing in its folder: an index whose memory file (`-shm`) is
 * there is read in place, as a process that writes it may be running; one at rest, as a file that nobody changes; and one at rest with
 * changes that only its log has, from a copy.
 */
import { copyFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { checkIndex } from '../../objects/index-file.ts'

export const indexName = 'index.db'

export interface IndexedBlob {
  sha256: string
  bytes: number
}

export interface CurrentObject {
  version: number
  sha256: string
  deleted: boolean
}

export interface BucketCounts {
  objects: number
  /** Changes that are known: objects, and what they took the place of. */
  versions: number
  bytes: number
  /** Uploads that are not completed. */
  uploads: number
  /** Changes whose events may not be in the log yet. */
  unannounced: number
}

export class ObjectIndexView {
  readonly #database: DatabaseSync
  readonly #dir: string
  /** When the file was last changed, of one that nobody was writing. */
  readonly #restedMs: number | undefined

  /**
   * undefined when there is none.
   * @param scratchDir where a copy may be put
   * @throws Error saying what is wrong with it
   */
  static async open(dir: string, scratchDir: string): Promise<ObjectIndexView | undefined> {
    const names = new Set(await readdir(dir).catch(() => []))
    if (!names.has(indexName)) return undefined
    const path = join(dir, indexName)
    const atRest = pathToFileURL(path)
    atRest.search = '?immutable=1'
    if (names.has(`${indexName}-shm`)) return new ObjectIndexView(path, dir, undefined)
    const restedMs = (await stat(path)).mtimeMs
    if (!names.has(`${indexName}-wal`)) return new ObjectIndexView(atRest, dir, restedMs)
    const copy = join(scratchDir, indexName)
    for (const ending of ['', '-wal']) await copyFile(`${path}${ending}`, `${copy}${ending}`)
    return new ObjectIndexView(copy, dir, restedMs)
  }

  private constructor(place: string | URL, dir: string, restedMs: number | undefined) {
    this.#dir = dir
    this.#restedMs = restedMs
    this.#database = new DatabaseSync(place, { readOnly: true, timeout: 1000 })
    try {
      checkIndex(this.#database, join(dir, indexName))
    } catch (error) {
      this.#database.close()
      throw error
    }
  }

  /** Whether somebody has begun to write it, so that what was read at rest says nothing. */
  async isStale(): Promise<boolean> {
    if (this.#restedMs === undefined) return false
    const names = new Set(await readdir(this.#dir).catch(() => []))
    if (names.has(`${indexName}-shm`)) return true
    return (await stat(join(this.#dir, indexName))).mtimeMs !== this.#restedMs
  }

  buckets(): string[] {
    return this.#all('SELECT DISTINCT bucket FROM object ORDER BY bucket').map(({ bucket }) => String(bucket))
  }

  /** The blobs whose hash begins so. */
  blobs(bucket: string, digits: string): IndexedBlob[] {
    const query = 'SELECT DISTINCT sha256, bytes FROM object WHERE bucket = ? AND sha256 >= ? AND sha256 < ?'
    return this.#all(query, bucket, digits, `${digits}g`) as unknown as IndexedBlob[]
  }

  refersTo(bucket: string, sha256: string): boolean {
    return this.#all('SELECT 1 FROM object WHERE bucket = ? AND sha256 = ? LIMIT 1', bucket, sha256).length > 0
  }

  /** What is under a key, a removal too. */
  current(bucket: string, key: string): CurrentObject | undefined {
    const query = 'SELECT version, sha256, deleted FROM object WHERE bucket = ? AND key = ? AND ended_at_ms IS NULL'
    const [row] = this.#all(query, bucket, key)
    return row && { version: Number(row['version']), sha256: String(row['sha256']), deleted: row['deleted'] === 1 }
  }

  /** Parts of uploads that are not completed. */
  parts(bucket: string): (IndexedBlob & { place: string })[] {
    const query = `SELECT place, part.sha256, part.bytes FROM part JOIN upload ON upload.id = part.upload
      WHERE bucket = ? AND version IS NULL`
    return this.#all(query, bucket) as unknown as (IndexedBlob & { place: string })[]
  }

  counts(bucket: string): BucketCounts {
    const present = 'ended_at_ms IS NULL AND deleted = 0'
    const [row] = this.#all(
      `SELECT count(*) AS versions, count(*) FILTER (WHERE announced = 0) AS unannounced,
         count(*) FILTER (WHERE ${present}) AS objects, coalesce(sum(bytes) FILTER (WHERE ${present}), 0) AS bytes,
         (SELECT count(*) FROM upload WHERE upload.bucket = :bucket AND version IS NULL) AS uploads
       FROM object WHERE bucket = :bucket`,
      { bucket },
    )
    return { ...(row as unknown as BucketCounts) }
  }

  close(): void {
    this.#database.close()
  }

  #all(query: string, ...values: (SQLInputValue | Record<string, SQLInputValue>)[]): Record<string, unknown>[] {
    const statement = this.#database.prepare(query)
    return statement.all(...(values as SQLInputValue[]))
  }
}
