import { createHash } from 'node:crypto'
import { FreshetError } from '../runtime/errors.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { corrupt } from './blob-format.ts'
import { openBlob, type BlobReader } from './blob-reader.ts'
import { blobPlace, type BlobForm } from './blobs.ts'
import type { ObjectReader } from './object-reader.ts'

const sha256Form = /^[0-9a-f]{64}$/

/**
 * Reads objects beside the process that writes them. It needs no index: blobs are found by their hash, and change no more.
 * @param store the one that blobs are in
 * @param forms by bucket
 */
export function openObjectReader(store: ObjectStore, forms: ReadonlyMap<string, BlobForm>): ObjectReader {
  const open = async (bucket: string, sha256: string): Promise<BlobReader | undefined> => {
    const form = forms.get(bucket)
    if (form === undefined) {
      throw new FreshetError('unknown_bucket', `There is no bucket ${JSON.stringify(bucket)}.`, {
        hint: 'Declare it under `buckets` in freshet.config.ts.',
      })
    }
    return sha256Form.test(sha256) ? openBlob(store, blobPlace(bucket, sha256), form.keys) : undefined
  }
  return {
    async read(bucket, sha256) {
      const blob = await open(bucket, sha256)
      if (blob === undefined) return undefined
      const pieces: Buffer[] = []
      for await (const piece of blob.read()) pieces.push(piece)
      const bytes = Buffer.concat(pieces, blob.bytes)
      if (createHash('sha256').update(bytes).digest('hex') === sha256) return bytes
      throw corrupt(blobPlace(bucket, sha256), 'its bytes have another hash')
    },
    async stream(bucket, sha256, range) {
      const blob = await open(bucket, sha256)
      if (blob === undefined) return undefined
      const { start = 0, end = blob.bytes } = range ?? {}
      return blob.read(Math.max(0, start), Math.min(blob.bytes, end))
    },
  }
}
