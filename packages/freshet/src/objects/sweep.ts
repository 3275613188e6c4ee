/**
 * Removes what nobody can want any more: changes that ended longer ago than the bucket's `keepDeleted`, with the blobs that only they
 * referred to; uploads on which nothing has happened for a week; and blobs that a crash has left without anybody who refers to them.
 *
 * The index forgets first, and the blob goes then, under its lock and only if still nothing refers to it: a crash in between leaves a
 * blob that nobody refers to, never a change without its blob. Such blobs are removed when they are a day old, so that one that was just put,
 * and whose change is about to be in the index, is not meant. What is stored of buckets that are no longer declared is left alone.
 *
 * Nothing is removed on the word of a clock that jumped (`trusted`).
 */
import type { BucketPlan } from '../config/plan.ts'
import type { Logger } from '../runtime/logging.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { headOf } from './blob-format.ts'
import { blobPlace, type Blobs } from './blobs.ts'
import type { ObjectIndex } from './object-index.ts'
import type { Uploads } from './uploads.ts'

const dayMs = 24 * 60 * 60 * 1000
export const uploadKeepMs = 7 * dayMs
const orphanAgeMs = dayMs
const page = 500

export interface SweepOptions {
  plans: readonly BucketPlan[]
  store: ObjectStore
  blobs: Blobs
  index: ObjectIndex
  uploads: Uploads
  /** The time to go by, or why there is none. */
  trusted: () => Promise<{ nowMs: number } | { reason: string }>
  logger: Logger
}

export interface Swept {
  /** Changes that were forgotten. */
  changes: number
  blobs: number
  uploads: number
  orphans: number
}

export async function sweep(options: SweepOptions): Promise<Swept> {
  const swept: Swept = { changes: 0, blobs: 0, uploads: 0, orphans: 0 }
  const time = await options.trusted()
  if ('reason' in time) {
    options.logger.warn({ reason: time.reason }, 'objects that were removed are kept for now')
    return swept
  }
  for (const plan of options.plans) await sweepBucket(plan, time.nowMs, options, swept)
  return swept
}

async function sweepBucket(
  { name, keepDeletedMs }: BucketPlan,
  nowMs: number,
  options: SweepOptions,
  swept: Swept,
): Promise<void> {
  const { blobs, index, uploads, store } = options
  for (;;) {
    const { count, sha256s } = await index.forget(name, nowMs - keepDeletedMs, page)
    for (const sha256 of sha256s) if (await removeUnused(name, sha256, options)) swept.blobs++
    swept.changes += count
    if (count < page) break
  }
  for (const upload of await uploads.old(name, nowMs - uploadKeepMs)) {
    await uploads.abort(upload)
    swept.uploads++
  }
  // By the first digits of the hash, so that a listing is a small part of a large bucket.
  let storedBytes = 0
  for (let digits = 0; digits < 256; digits++) {
    const found = await store.list(`blobs/${name}/${digits.toString(16).padStart(2, '0')}/`)
    storedBytes += bytesOf(found)
    for (const place of oldPlaces(found, nowMs)) {
      const sha256 = place.slice(place.lastIndexOf('/') + 1)
      if (!(await index.refersTo(name, sha256)) && (await removeUnused(name, sha256, options))) swept.orphans++
    }
  }
  const listed = await store.list(`parts/${name}/`)
  await index.measured(name, storedBytes + bytesOf(listed))
  const parts = oldPlaces(listed, nowMs)
  const known = new Set(parts.length === 0 ? [] : await uploads.places(name))
  const unknown = parts.filter((place) => !known.has(place))
  await blobs.remove(unknown)
  swept.orphans += unknown.length
}

async function removeUnused(bucket: string, sha256: string, { blobs, index }: SweepOptions): Promise<boolean> {
  const place = blobPlace(bucket, sha256)
  return blobs.locked(place, async () => {
    if (await index.refersTo(bucket, sha256)) return false
    await blobs.remove([place])
    return true
  })
}

function bytesOf(files: readonly { bytes: number }[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** Places whose files have all been as they are for a day. */
function oldPlaces(files: readonly { key: string; modifiedMs: number }[], nowMs: number): string[] {
  const newest = new Map<string, number>()
  for (const { key, modifiedMs } of files) {
    const place = key.endsWith(headOf('')) ? key.slice(0, -headOf('').length) : key
    newest.set(place, Math.max(newest.get(place) ?? 0, modifiedMs))
  }
  return [...newest].filter(([, modifiedMs]) => modifiedMs <= nowMs - orphanAgeMs).map(([place]) => place)
}
