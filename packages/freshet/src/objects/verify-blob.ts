/** Checks a stored blob, for a reader that changes nothing. */
import { createHash } from 'node:crypto'
import type { ObjectStore } from '../storage/object-store.ts'
import { corrupt, decodeHead, headOf } from './blob-format.ts'
import { BlobReader, dataKeyOf } from './blob-reader.ts'
import type { MasterKeys } from './master-keys.ts'

export interface VerifyBlobOptions {
  store: ObjectStore
  place: string
  /** Those of its bucket that are at hand. */
  keys: MasterKeys | null
  /** What the plain bytes must be, as the index says. */
  sha256: string
  bytes: number
  /** Also reads all that is stored. */
  deep: boolean
  onBytes: (bytes: number) => void
}

/**
 * Looks whether a blob is there, whole, and the one that it should be. Without `deep` that is what can be told from its head, its table
 * of blocks and its size; with it every block, and the hash of the plain bytes.
 * @returns the id of the master key that is not at hand: what is stored was held against its checksums alone
 * @throws FreshetError `corrupt_object`
 */
export async function verifyBlob(options: VerifyBlobOptions): Promise<string | undefined> {
  const { store, place, keys, sha256, bytes, deep, onBytes } = options
  const found = await store.get(headOf(place))
  if (found === undefined) throw corrupt(place, 'it is not there')
  const head = decodeHead(found, place)
  if (head.bytes !== bytes) throw corrupt(place, `it has ${head.bytes} bytes, and the index says ${bytes}`)
  const missing = head.key === null || keys?.has(head.key.id) === true ? undefined : head.key.id
  const blob = new BlobReader(store, place, head, missing === undefined ? dataKeyOf(head, place, keys) : null)
  await blob.checkShape()
  if (!deep) return missing
  if (missing !== undefined) {
    await blob.check(onBytes)
    return missing
  }
  const hash = createHash('sha256')
  for await (const piece of blob.read()) {
    hash.update(piece)
    onBytes(piece.length)
  }
  if (hash.digest('hex') !== sha256) throw corrupt(place, 'its bytes have another hash')
  return undefined
}
