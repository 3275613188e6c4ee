/** What the stream of a bucket is told of each change of an object. The fields are those of `objectEvents` (config/object-events.ts). */
import type { ObjectEvent } from '../config/object-events.ts'
import { eventIdOf } from './object-key.ts'

/** A change of an object: bytes that were put under a key, or the key's removal. */
export interface ObjectVersion {
  bucket: string
  key: string
  /** Grows with each change of any object. */
  version: number
  /** Of the plain bytes, lower-case hex; for a removal of those that were removed. So are the fields below. */
  sha256: string
  bytes: number
  type: string
  metadata: Readonly<Record<string, string>>
  /** Who put it. */
  source: string | null
  putAtMs: number
  deleted: boolean
}

/** How the log recognises the event when it is sent again. */
export interface EventMark {
  id: string
  sequence: number
}

/** The event of a change; the same for the same change, whenever it is made. */
export function objectEvent(object: ObjectVersion): ObjectEvent {
  const { bucket, key, version, sha256, bytes, type, metadata, putAtMs, deleted } = object
  return {
    id: eventIdOf(bucket, key, version),
    bucket,
    key,
    sha256,
    size: bytes,
    content_type: type,
    metadata: { ...metadata },
    version,
    put_at: new Date(putAtMs).toISOString(),
    deleted,
  }
}
