/**
 * Uploads by parts: an object that arrives in pieces, each of which is durable when it is answered, in any order and again if need be.
 *
 * Parts are blobs of their own, stored as the bucket's objects are, in places that are never used twice: a part that comes again is
 * written beside the first and takes its place in the index. Completing puts the parts together as one object (object-buckets.ts), and
 * notes its version with the upload in the same transaction; so a repeat of that, whose answer was lost, is told the same. A crash
 * before it leaves the upload as it was; behind it, parts that the sweep removes.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { Clock } from '../runtime/clock.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { Random } from '../runtime/random.ts'
import { corrupt } from './blob-format.ts'
import type { Blobs, IncomingBlob } from './blobs.ts'
import type { IndexFile } from './index-file.ts'
import { KeyedMutex } from './keyed-mutex.ts'
import type { ObjectBuckets, ObjectFields, PutResult } from './object-buckets.ts'

export interface UploadPart {
  number: number
  sha256: string
  bytes: number
}

interface StoredPart extends UploadPart {
  place: string
}

export interface Upload extends ObjectFields {
  id: string
  /** When something of it was last sent. */
  touchedAtMs: number
  /** Of the object it has become. */
  version: number | null
}

export const partNumberMax = 10_000

const insertUpload = `INSERT INTO upload VALUES
  (:id, :bucket, :key, :type, :metadata, :source, :sha256, :onlyNew, :touchedAtMs, NULL)`

export interface UploadsOptions {
  blobs: Blobs
  file: IndexFile
  buckets: ObjectBuckets
  clock: Clock
  random: Random
}

export class Uploads {
  readonly #options: UploadsOptions
  readonly #locks = new KeyedMutex()

  constructor(options: UploadsOptions) {
    this.#options = options
  }

  /** @throws FreshetError `object_exists`, `objects_unavailable` */
  async begin(fields: ObjectFields): Promise<Upload> {
    const { file, buckets, clock, random } = this.#options
    const { bucket, key, type, metadata, source, sha256 = null, onlyNew } = fields
    if (onlyNew) await buckets.refuseTaken(bucket, key)
    const upload: Upload = { ...fields, id: random.hex(16), touchedAtMs: Math.floor(clock.nowMs()), version: null }
    const { id, touchedAtMs } = upload
    const row = { id, bucket, key, type, metadata: JSON.stringify(metadata), source, sha256, touchedAtMs }
    await file.change((database) => {
      database.prepare(insertUpload).run({ ...row, onlyNew: Number(onlyNew) })
    })
    return upload
  }

  /** @throws FreshetError `unknown_upload` */
  async find(bucket: string, key: string, id: string): Promise<Upload> {
    const [found] = await this.#all('id = ? AND bucket = ? AND key = ?', id, bucket, key)
    if (found !== undefined) return found
    throw new FreshetError('unknown_upload', `There is no upload ${JSON.stringify(id.slice(0, 100))} of this object.`, {
      hint: 'It may have been aborted, or have expired. Begin another by POST with ?uploads.',
    })
  }

  /** Uploads that are not completed, those of one key if it is given. */
  list(bucket: string, key?: string): Promise<Upload[]> {
    return key === undefined
      ? this.#all('bucket = ? AND version IS NULL ORDER BY key, id LIMIT 1000', bucket)
      : this.#all('bucket = ? AND key = ? AND version IS NULL ORDER BY touched_at_ms DESC LIMIT 1000', bucket, key)
  }

  async parts(id: string): Promise<UploadPart[]> {
    return (await this.#parts(id)).map(({ number, sha256, bytes }) => ({ number, sha256, bytes }))
  }

  /**
   * Keeps a part; durable when it resolves.
   * @param incoming is used up
   * @throws FreshetError `checksum_mismatch`, `object_too_large`, `unknown_upload`, `invalid_request` for one that is completed
   */
  async putPart(
    upload: Upload,
    { number, sha256: expected }: { number: number; sha256: string | undefined },
    incoming: IncomingBlob,
  ): Promise<UploadPart> {
    const { blobs, file, clock, random } = this.#options
    try {
      const { sha256, bytes } = await incoming.finish()
      if (expected !== undefined && expected !== sha256) throw otherPart(number, expected, sha256)
      const place = `parts/${upload.bucket}/${upload.id}/${number}-${random.hex(8)}`
      return await this.#locks.run(upload.id, async () => {
        await this.#openUpload(upload)
        const others = (await this.#parts(upload.id)).filter((part) => part.number !== number)
        this.checkSize(
          upload.bucket,
          others.reduce((sum, part) => sum + part.bytes, bytes),
        )
        await incoming.keep(place)
        const before = await file.change((database) => {
          const replaced = database
            .prepare('SELECT place FROM part WHERE upload = ? AND number = ?')
            .get(upload.id, number)
          database
            .prepare('INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?)')
            .run(upload.id, number, place, sha256, bytes)
          database.prepare('UPDATE upload SET touched_at_ms = ? WHERE id = ?').run(Math.floor(clock.nowMs()), upload.id)
          return replaced?.['place'] as string | undefined
        })
        if (before !== undefined) await blobs.remove([before])
        return { number, sha256, bytes }
      })
    } finally {
      await incoming.discard()
    }
  }

  /** @throws FreshetError `object_too_large` */
  checkSize(bucket: string, bytes: number): void {
    const { objectBytesMax } = this.#options.buckets.plan(bucket)
    if (bytes <= objectBytesMax) return
    throw new FreshetError(
      'object_too_large',
      `An object of the bucket "${bucket}" may have at most ${objectBytesMax} bytes.`,
      {
        hint: 'Raise `maxObject` of the bucket.',
      },
    )
  }

  /**
   * Makes the object of the parts; durable when it resolves. A repeat is told what the first was.
   * @param wanted the parts in order, numbers 1, 2, 3, ...
   * @throws FreshetError `invalid_request`, `checksum_mismatch`, and what `put` throws
   */
  async complete(upload: Upload, wanted: readonly { number: number; sha256: string }[]): Promise<PutResult> {
    const { blobs, buckets, file } = this.#options
    return this.#locks.run(upload.id, async () => {
      const { version } = await this.find(upload.bucket, upload.key, upload.id)
      if (version !== null) return { object: await buckets.find(upload.bucket, upload.key, version), created: false }
      const parts = await this.#parts(upload.id)
      checkParts(parts, wanted)
      this.checkSize(
        upload.bucket,
        parts.reduce((sum, { bytes }) => sum + bytes, 0),
      )
      const incoming = await blobs.receive(upload.bucket)
      try {
        for (const { place } of parts) await this.#copy(upload.bucket, place, incoming)
      } catch (error) {
        await incoming.discard()
        throw error
      }
      const result = await buckets.put(upload, incoming, (added) => (database) => {
        database.prepare('UPDATE upload SET version = ? WHERE id = ?').run(added, upload.id)
      })
      await blobs.remove(parts.map(({ place }) => place))
      await file.note((database) => void database.prepare('DELETE FROM part WHERE upload = ?').run(upload.id))
      return result
    })
  }

  /** Forgets an upload and removes its parts. */
  async abort(upload: Pick<Upload, 'id'>): Promise<void> {
    await this.#locks.run(upload.id, async () => {
      const parts = await this.#parts(upload.id)
      // Forgotten first: the sweep removes parts that nobody knows, and parts that are known are there.
      await this.#options.file.change((database) => {
        database.prepare('DELETE FROM upload WHERE id = ?').run(upload.id)
        database.prepare('DELETE FROM part WHERE upload = ?').run(upload.id)
      })
      await this.#options.blobs.remove(parts.map(({ place }) => place))
    })
  }

  /** Uploads that were last touched at `untilMs` or before. */
  old(bucket: string, untilMs: number): Promise<Upload[]> {
    return this.#all('bucket = ? AND touched_at_ms <= ? LIMIT 1000', bucket, untilMs)
  }

  /** Places of all parts of a bucket that are known. */
  places(bucket: string): Promise<string[]> {
    const query = 'SELECT place FROM part JOIN upload ON upload.id = part.upload WHERE bucket = ?'
    return this.#options.file.read((database) =>
      database
        .prepare(query)
        .all(bucket)
        .map(({ place }) => String(place)),
    )
  }

  async #copy(bucket: string, place: string, incoming: IncomingBlob): Promise<void> {
    const blob = await this.#options.blobs.open(bucket, place)
    if (blob === undefined) throw corrupt(place, 'it is not there')
    for await (const piece of blob.read()) await incoming.write(piece)
  }

  /** @throws FreshetError `unknown_upload`, `invalid_request` */
  async #openUpload({ bucket, key, id }: Upload): Promise<void> {
    const { version } = await this.find(bucket, key, id)
    if (version === null) return
    throw new FreshetError('invalid_request', 'The upload is completed; it takes no more parts.')
  }

  #parts(id: string): Promise<StoredPart[]> {
    const query = 'SELECT number, place, sha256, bytes FROM part WHERE upload = ? ORDER BY number'
    return this.#options.file.read((database) => database.prepare(query).all(id) as unknown as StoredPart[])
  }

  #all(where: string, ...values: (string | number)[]): Promise<Upload[]> {
    return this.#options.file.read((database) => selectUploads(database, where, values))
  }
}

function selectUploads(database: DatabaseSync, where: string, values: (string | number)[]): Upload[] {
  const rows = database.prepare(`SELECT * FROM upload WHERE ${where}`).all(...values)
  return rows.map((row) => ({
    id: String(row['id']),
    bucket: String(row['bucket']),
    key: String(row['key']),
    type: String(row['type']),
    metadata: JSON.parse(String(row['metadata'])) as Record<string, string>,
    source: row['source'] as string | null,
    sha256: (row['sha256'] as string | null) ?? undefined,
    onlyNew: row['only_new'] === 1,
    touchedAtMs: Number(row['touched_at_ms']),
    version: row['version'] as number | null,
  }))
}

function checkParts(parts: readonly UploadPart[], wanted: readonly { number: number; sha256: string }[]): void {
  if (wanted.length === 0) throw badParts('An object has at least one part.')
  for (const [index, { number, sha256 }] of wanted.entries()) {
    const part = parts[index]
    if (number !== index + 1)
      throw badParts(`Parts are numbered 1, 2, 3, ...; ${number} is in the place of ${index + 1}.`)
    if (part?.number !== number) throw badParts(`Part ${number} has not arrived.`)
    if (part.sha256 !== sha256)
      throw badParts(`Part ${number} has the SHA-256 ${part.sha256}, and ${sha256} was named.`)
  }
  if (parts.length > wanted.length)
    throw badParts(`Part ${parts[wanted.length]!.number} has arrived, and is not named.`)
}

function badParts(message: string): FreshetError {
  return new FreshetError('invalid_request', message, { hint: 'GET the upload for the parts that have arrived.' })
}

function otherPart(number: number, expected: string, found: string): FreshetError {
  return new FreshetError(
    'checksum_mismatch',
    `The SHA-256 of part ${number} is ${found}, and ${expected} was announced.`,
    { hint: 'Send the part again; nothing of it was kept.' },
  )
}
