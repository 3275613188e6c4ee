/** Rotation of master keys: wraps the data keys of a bucket by its newest master key. The bytes of objects stay as they are. */
import { FreshetError } from '../runtime/errors.ts'
import { blobPlace, type Blobs } from './blobs.ts'
import type { ObjectIndex } from './object-index.ts'
import type { Uploads } from './uploads.ts'

export interface Rotation {
  rewrapped: number
  /** Wrapped by the newest key already. */
  current: number
  /** Stored before the bucket was encrypted. */
  plain: number
  /** Damaged, or wrapped by a key that is not there. */
  unreadable: number
  /** Why, for some of them. */
  problems: string[]
}

const page = 500
const atATime = 8
const problemsMax = 10

/** Safe to be interrupted and begun again: what is wrapped by the newest key is left alone. */
export async function rotate(
  bucket: string,
  { blobs, index, uploads }: { blobs: Blobs; index: ObjectIndex; uploads: Uploads },
): Promise<Rotation> {
  const found: Rotation = { rewrapped: 0, current: 0, plain: 0, unreadable: 0, problems: [] }
  const one = async (place: string): Promise<void> => {
    try {
      const outcome = await blobs.locked(place, () => blobs.rewrap(bucket, place))
      if (outcome !== 'missing') found[outcome]++
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error
      found.unreadable++
      if (found.problems.length < problemsMax) found.problems.push(error.message)
    }
  }
  const all = async (places: readonly string[]): Promise<void> => {
    for (let at = 0; at < places.length; at += atATime) await Promise.all(places.slice(at, at + atATime).map(one))
  }
  for (let after = ''; ;) {
    const hashes = await index.blobs(bucket, after, page)
    if (hashes.length === 0) break
    await all(hashes.map((sha256) => blobPlace(bucket, sha256)))
    after = hashes.at(-1)!
  }
  await all(await uploads.places(bucket))
  return found
}
