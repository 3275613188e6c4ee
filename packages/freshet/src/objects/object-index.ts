/**
 * The index of objects: what is under which key. A row is a change of an object, a put or a removal, and is never changed, except that it
 * is noted when its event is in the log (`announced`), and when another change took its place (`ended_at_ms`).
 *
 * Versions grow over all objects and are never given twice, not even by an index that was restored from a copy: they are times, pushed
 * on where two would be the same. Else the events of new changes would be taken for repeats of old ones.
 *
 * Each row has the mark by which the log recognises its event. The producer of a mark is new at each start, so that an index that was restored
 * cannot give a mark that was given before, either.
 */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import type { Random } from '../runtime/random.ts'
import type { IndexFile } from './index-file.ts'
import type { EventMark, ObjectVersion } from './object-event.ts'

export interface IndexedObject extends ObjectVersion {
  mark: EventMark
  /** Whether its event is in the log. */
  announced: boolean
}

/** What a bucket has. */
export interface BucketTotals {
  objects: number
  /** Plain bytes of the objects. */
  bytes: number
  /** Bytes on disk when the sweep last looked; null before that. */
  storedBytes: number | null
  /** Uploads that are not completed. */
  uploads: number
}

export type NewVersion = Omit<ObjectVersion, 'version' | 'putAtMs'>

const insertRow = `INSERT INTO object VALUES
  (:version, :bucket, :key, :sha256, :bytes, :type, :metadata, :source, :nowMs, :deleted, :producer, :sequence, 0, NULL)`

interface Row {
  version: number
  bucket: string
  key: string
  sha256: string
  bytes: number
  type: string
  metadata: string
  source: string | null
  put_at_ms: number
  deleted: number
  producer: string
  sequence: number
  announced: number
}

export class ObjectIndex {
  readonly #file: IndexFile
  readonly #epoch: string
  readonly #sequences = new Map<string, number>()

  constructor(file: IndexFile, random: Random) {
    this.#file = file
    this.#epoch = random.hex(8)
  }

  /** What is under a key, a removal too. */
  current(bucket: string, key: string): Promise<IndexedObject | undefined> {
    return this.#one('bucket = ? AND key = ? AND ended_at_ms IS NULL', bucket, key)
  }

  /** A version that is still known. */
  at(bucket: string, key: string, version: number): Promise<IndexedObject | undefined> {
    return this.#one('bucket = ? AND key = ? AND version = ?', bucket, key, version)
  }

  /** Adds a change and ends the one before it; durable when it resolves. */
  add(change: NewVersion, nowMs: number): Promise<IndexedObject> {
    return this.#file.change((database) => this.addWithin(database, change, nowMs))
  }

  /** As `add`, within a transaction. */
  addWithin(database: DatabaseSync, change: NewVersion, nowMs: number): IndexedObject {
    const { bucket, key, sha256, bytes, type, metadata, source, deleted } = change
    const version = Math.max(latestVersion(database) + 1, nowMs)
    const mark = { id: `bucket:${bucket}:${this.#epoch}`, sequence: this.#sequences.get(bucket) ?? 0 }
    database
      .prepare('UPDATE object SET ended_at_ms = ? WHERE bucket = ? AND key = ? AND ended_at_ms IS NULL')
      .run(nowMs, bucket, key)
    const row = { version, bucket, key, sha256, bytes, type, source, nowMs, producer: mark.id, sequence: mark.sequence }
    database.prepare(insertRow).run({ ...row, metadata: JSON.stringify(metadata), deleted: Number(deleted) })
    this.#sequences.set(bucket, mark.sequence + 1)
    return { ...change, version, putAtMs: nowMs, mark, announced: false }
  }

  /** Changes whose events may not be in the log, the oldest first. */
  pending(limit: number): Promise<IndexedObject[]> {
    return this.#all('announced = 0 ORDER BY version LIMIT ?', limit)
  }

  /** Those of one key. */
  pendingOf(bucket: string, key: string): Promise<IndexedObject[]> {
    return this.#all('announced = 0 AND bucket = ? AND key = ? ORDER BY version', bucket, key)
  }

  /** Notes that the event is in the log. When that is lost, the event is sent again and recognised. */
  announced(version: number): Promise<void> {
    return this.#file.note((database) => {
      database.prepare('UPDATE object SET announced = 1 WHERE version = ?').run(version)
    })
  }

  /** Whether any change that is known means these bytes. */
  refersTo(bucket: string, sha256: string): Promise<boolean> {
    return this.#file.read((database) => refersTo(database, bucket, sha256))
  }

  /** Each blob that is referred to, once, from `after` on. */
  blobs(bucket: string, after: string, limit: number): Promise<string[]> {
    const query = 'SELECT DISTINCT sha256 FROM object WHERE bucket = ? AND sha256 > ? ORDER BY sha256 LIMIT ?'
    return this.#file.read((database) =>
      database
        .prepare(query)
        .all(bucket, after, limit)
        .map((row) => String(row['sha256'])),
    )
  }

  /**
   * Forgets changes that ended, or were removals, at `untilMs` or before, at most `limit`.
   * @returns the blobs that nothing refers to any more, and how many changes were forgotten
   */
  forget(bucket: string, untilMs: number, limit: number): Promise<{ count: number; sha256s: string[] }> {
    return this.#file.change((database) => {
      const rows = database
        .prepare(
          `SELECT version, sha256 FROM object WHERE bucket = ? AND announced = 1 AND
           (ended_at_ms <= ? OR (ended_at_ms IS NULL AND deleted = 1 AND put_at_ms <= ?)) LIMIT ?`,
        )
        .all(bucket, untilMs, untilMs, limit)
      if (rows.length === 0) return { count: 0, sha256s: [] }
      setNote(database, 'version', latestVersion(database))
      const remove = database.prepare('DELETE FROM object WHERE version = ?')
      for (const { version } of rows) remove.run(version!)
      const hashes = new Set(rows.map(({ sha256 }) => String(sha256)))
      return { count: rows.length, sha256s: [...hashes].filter((sha256) => !refersTo(database, bucket, sha256)) }
    })
  }

  totals(bucket: string): Promise<BucketTotals> {
    return this.#file.read((database) => {
      const row = database.prepare('SELECT objects, bytes FROM total WHERE bucket = ?').get(bucket)
      const open = database
        .prepare('SELECT count(*) AS uploads FROM upload WHERE bucket = ? AND version IS NULL')
        .get(bucket)
      return {
        objects: Number(row?.['objects'] ?? 0),
        bytes: Number(row?.['bytes'] ?? 0),
        storedBytes: noteOf(database, storedNote(bucket)) ?? null,
        uploads: Number(open?.['uploads'] ?? 0),
      }
    })
  }

  /** Remembers what a bucket has on disk. */
  measured(bucket: string, storedBytes: number): Promise<void> {
    return this.note(storedNote(bucket), storedBytes)
  }

  /** A number that is kept with the index. */
  noted(name: string): Promise<number | undefined> {
    return this.#file.read((database) => noteOf(database, name))
  }

  note(name: string, value: number): Promise<void> {
    return this.#file.note((database) => setNote(database, name, value))
  }

  async #one(where: string, ...values: SQLInputValue[]): Promise<IndexedObject | undefined> {
    return (await this.#all(where, ...values))[0]
  }

  #all(where: string, ...values: SQLInputValue[]): Promise<IndexedObject[]> {
    return this.#file.read((database) =>
      database
        .prepare(`SELECT * FROM object WHERE ${where}`)
        .all(...values)
        .map((row) => indexedObject(row as unknown as Row)),
    )
  }
}

/** A row of the table `object`. */
export function indexedObject(row: Row): IndexedObject {
  return {
    bucket: row.bucket,
    key: row.key,
    version: row.version,
    sha256: row.sha256,
    bytes: row.bytes,
    type: row.type,
    metadata: JSON.parse(row.metadata) as Record<string, string>,
    source: row.source,
    putAtMs: row.put_at_ms,
    deleted: row.deleted === 1,
    mark: { id: row.producer, sequence: row.sequence },
    announced: row.announced === 1,
  }
}

function refersTo(database: DatabaseSync, bucket: string, sha256: string): boolean {
  return (
    database.prepare('SELECT 1 FROM object WHERE bucket = ? AND sha256 = ? LIMIT 1').get(bucket, sha256) !== undefined
  )
}

function storedNote(bucket: string): string {
  return `stored:${bucket}`
}

/** The latest version that was given, of changes that are forgotten too. */
function latestVersion(database: DatabaseSync): number {
  const row = database.prepare('SELECT max(version) AS version FROM object').get()
  return Math.max(Number(row?.['version'] ?? 0), noteOf(database, 'version') ?? 0)
}

function noteOf(database: DatabaseSync, name: string): number | undefined {
  return database.prepare('SELECT value FROM note WHERE name = ?').get(name)?.['value'] as number | undefined
}

function setNote(database: DatabaseSync, name: string, value: number): void {
  database.prepare('INSERT OR REPLACE INTO note VALUES (?, ?)').run(name, value)
}
