/**
 * Objects: bytes under keys, in buckets. Each change is an event of the bucket's stream.
 *
 * A put, in order, and what a crash leaves behind each step:
 *
 * 1. the bytes are a file in `incoming/`: nothing; the next start removes it;
 * 2. the blob is in place, durable (blobs.ts): bytes that no key has, which the sweep removes, and the repeated put uses;
 * 3. the change is in the index, durable, `announced = 0`: the object is there, and the next start sends its event;
 * 4. the event is in the log: likewise; the log recognises the second sending by the event's mark, and the engine by its id;
 * 5. `announced = 1`, which may be lost: as behind 4;
 * 6. the answer. A client that has lost it puts the same bytes again: that is no change, and makes no event.
 *
 * Changes of a key are made, and their events sent, one after another, so events of a key are in the log in the order of versions. A reader
 * may see an object before its event is in the log; it is durable by then (index-file.ts).
 *
 * A blob goes only when no change in the index refers to it (sweep.ts); `locked` covers it from the look whether it is there until
 * the change that refers to it is in the index.
 */
import type { BucketPlan } from '../config/plan.ts'
import type { Clock } from '../runtime/clock.ts'
import { FreshetError } from '../runtime/errors.ts'
import { blobPlace, type Blobs, type IncomingBlob } from './blobs.ts'
import type { Announcer } from './announcer.ts'
import { corrupt } from './blob-format.ts'
import type { BlobReader } from './blob-reader.ts'
import type { IndexFile } from './index-file.ts'
import { KeyedMutex } from './keyed-mutex.ts'
import { ObjectIndex, type IndexedObject, type NewVersion } from './object-index.ts'
import { listObjects, type ListRequest, type ObjectPage } from './object-list.ts'
import type { ObjectVersion } from './object-event.ts'

export interface ObjectBucketsOptions {
  plans: Readonly<Record<string, BucketPlan>>
  blobs: Blobs
  file: IndexFile
  index: ObjectIndex
  clock: Clock
  announcer: Announcer
}

/** What a client says of an object. */
export interface ObjectFields {
  bucket: string
  key: string
  type: string
  metadata: Readonly<Record<string, string>>
  source: string | null
  /** What the hash of its bytes must be. */
  sha256?: string | undefined
  /** Refused when the key is taken. */
  onlyNew: boolean
}

export interface PutResult {
  object: ObjectVersion
  /** Whether the key was free. */
  created: boolean
}

export class ObjectBuckets {
  readonly #options: ObjectBucketsOptions
  readonly #keys = new KeyedMutex()

  constructor(options: ObjectBucketsOptions) {
    this.#options = options
  }

  /** @throws FreshetError `unknown_bucket` */
  plan(bucket: string): BucketPlan {
    const { plans } = this.#options
    if (Object.hasOwn(plans, bucket)) return plans[bucket]!
    const names = Object.keys(plans)
    const there = names.length === 0 ? 'None is declared.' : `There are: ${names.slice(0, 100).join(', ')}.`
    throw new FreshetError('unknown_bucket', `There is no bucket ${JSON.stringify(bucket.slice(0, 100))}. ${there}`, {
      hint: 'Declare it under `buckets` in freshet.config.ts.',
    })
  }

  /** @throws FreshetError `object_exists` */
  async refuseTaken(bucket: string, key: string): Promise<void> {
    const current = await this.#options.index.current(bucket, key)
    if (current !== undefined && !current.deleted) throw taken(current)
  }

  /**
   * Puts bytes that have arrived under a key; resolves when all of that is durable.
   * @param incoming is used up
   * @param check refuses an object, by throwing, before anything of it is kept
   * @param within what else is to happen in the transaction that adds the change
   * @throws FreshetError `checksum_mismatch`, `object_exists`, `objects_unavailable`, and what the log refuses
   */
  async put(fields: ObjectFields, incoming: IncomingBlob, within?: (version: number) => AddWork): Promise<PutResult> {
    const { bucket, key } = fields
    try {
      const { bytes, sha256 } = await incoming.finish()
      if (fields.sha256 !== undefined && fields.sha256 !== sha256) throw otherBytes(fields.sha256, sha256, bytes)
      return await this.#keys.run(`${bucket}/${key}`, () => this.#put(fields, { bytes, sha256 }, incoming, within))
    } finally {
      await incoming.discard()
    }
  }

  async #put(
    fields: ObjectFields,
    { bytes, sha256 }: { bytes: number; sha256: string },
    incoming: IncomingBlob,
    within: ((version: number) => AddWork) | undefined,
  ): Promise<PutResult> {
    const { index, blobs, clock, file, announcer } = this.#options
    const { bucket, key, type, metadata, source, onlyNew } = fields
    await announcer.settle(bucket, key)
    const before = await index.current(bucket, key)
    const change: NewVersion = { bucket, key, sha256, bytes, type, metadata, source, deleted: false }
    const isSame = before !== undefined && isRepeat(before, change)
    if (before !== undefined && !before.deleted && onlyNew && !isSame) throw taken(before)
    const nowMs = Math.floor(clock.nowMs())
    announcer.check({ ...change, version: nowMs, putAtMs: nowMs })
    const place = blobPlace(bucket, sha256)
    const object = await blobs.locked(place, async () => {
      if (!(await blobs.has(bucket, place))) await incoming.keep(place)
      return file.change((database) => {
        const kept = isSame ? before : index.addWithin(database, change, nowMs)
        within?.(kept.version)(database)
        return kept
      })
    })
    if (!object.announced) await announcer.announce(object)
    return { object, created: before === undefined || before.deleted }
  }

  /**
   * The object under a key, or a version of it that is still known.
   * @throws FreshetError `unknown_object`
   */
  async find(bucket: string, key: string, version?: number): Promise<IndexedObject> {
    const { index } = this.#options
    const found = await (version === undefined ? index.current(bucket, key) : index.at(bucket, key, version))
    if (found === undefined || found.deleted) throw unknownObject(bucket, key, version)
    return found
  }

  /** The bytes of an object. @throws FreshetError `corrupt_object`, `object_unreadable` */
  async open({ bucket, sha256 }: Pick<ObjectVersion, 'bucket' | 'sha256'>): Promise<BlobReader> {
    const place = blobPlace(bucket, sha256)
    const blob = await this.#options.blobs.open(bucket, place)
    if (blob === undefined) throw corrupt(place, 'it is not there')
    return blob
  }

  /** Removes an object; durable when it resolves. One that was removed before is no error. @throws FreshetError `unknown_object` */
  async remove(bucket: string, key: string, source: string | null): Promise<void> {
    const { index, clock, announcer } = this.#options
    await this.#keys.run(`${bucket}/${key}`, async () => {
      await announcer.settle(bucket, key)
      const before = await index.current(bucket, key)
      if (before === undefined) throw unknownObject(bucket, key)
      if (before.deleted) return
      const { sha256, bytes, type, metadata } = before
      const nowMs = Math.floor(clock.nowMs())
      const change: NewVersion = { bucket, key, sha256, bytes, type, metadata, source, deleted: true }
      announcer.check({ ...change, version: nowMs, putAtMs: nowMs })
      await announcer.announce(await index.add(change, nowMs))
    })
  }

  list(request: ListRequest): Promise<ObjectPage> {
    return listObjects(this.#options.file, request)
  }
}

type AddWork = Parameters<IndexFile['note']>[0]

/** Whether a put says just what is there: the repeat of one whose answer was lost. */
function isRepeat(before: IndexedObject, { sha256, type, metadata, bytes }: NewVersion): boolean {
  return (
    !before.deleted &&
    before.sha256 === sha256 &&
    before.bytes === bytes &&
    before.type === type &&
    JSON.stringify(before.metadata) === JSON.stringify(metadata)
  )
}

function taken({ bucket, key, sha256 }: IndexedObject): FreshetError {
  return new FreshetError('object_exists', `The bucket "${bucket}" has an object ${JSON.stringify(key)} already.`, {
    hint: 'Leave `If-None-Match: *` out to replace it.',
    extra: { sha256 },
  })
}

function unknownObject(bucket: string, key: string, version?: number): FreshetError {
  const which = version === undefined ? '' : ` of version ${version}`
  return new FreshetError('unknown_object', `The bucket "${bucket}" has no object ${JSON.stringify(key)}${which}.`, {
    hint: `GET /v1/objects/${bucket} lists those there are.`,
  })
}

function otherBytes(expected: string, found: string, bytes: number): FreshetError {
  return new FreshetError(
    'checksum_mismatch',
    `The SHA-256 of the ${bytes} bytes that came is ${found}, and ${expected} was announced.`,
    { hint: 'Send the object again; nothing of it was kept.' },
  )
}
