/**
 * The blobs of all buckets, in one object store: `blobs/<bucket>/<2 hex digits>/<sha256>` the bytes of objects, by the hash of their plain bytes,
 * so that they are stored once a bucket however often they are put; `parts/<bucket>/<upload>/...` parts of uploads. What a blob
 * consists of: blob-format.ts.
 *
 * Bytes that arrive go to a file in `incoming/`, which is moved into place when they are whole; a start empties that folder. A crash
 * between data and head leaves data without a head, which the sweep removes when it is old and the next `keep` replaces.
 *
 * Data and head of a place are written under the place's lock: two that put the same bytes at once would else leave the data of one with
 * the key of the other.
 */
import { join } from 'node:path'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Random } from '../runtime/random.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { bindingOf, blockBytes, decodeHead, encodeHead, headOf } from './blob-format.ts'
import { dataKeyOf, openBlob, type BlobReader } from './blob-reader.ts'
import { BlobWriter, type WrittenBlob } from './blob-writer.ts'
import { KeyedMutex } from './keyed-mutex.ts'
import { keyBytes, type MasterKeys } from './master-keys.ts'

/** How a bucket's blobs are stored. */
export interface BlobForm {
  /** zstd level; null: as they come. */
  level: number | null
  /** null: not encrypted. */
  keys: MasterKeys | null
}

export interface BlobsOptions {
  store: ObjectStore
  fileSystem: FileSystem
  random: Random
  /** Folder for files that are being written, on the disk of the store. */
  incomingDir: string
  /** By bucket. */
  forms: ReadonlyMap<string, BlobForm>
}

export function blobPlace(bucket: string, sha256: string): string {
  return `blobs/${bucket}/${sha256.slice(0, 2)}/${sha256}`
}

export class Blobs {
  readonly #options: BlobsOptions
  readonly #locks = new KeyedMutex()

  constructor(options: BlobsOptions) {
    this.#options = options
  }

  /** Makes room for what arrives, and removes what a process that ended was writing. */
  async prepare(): Promise<void> {
    const { fileSystem, incomingDir } = this.#options
    await fileSystem.makeDir(incomingDir)
    for (const name of await fileSystem.readDir(incomingDir)) await fileSystem.remove(join(incomingDir, name))
  }

  /** Runs `work` while nobody else writes or removes the blob at `place`. */
  locked<T>(place: string, work: () => Promise<T>): Promise<T> {
    return this.#locks.run(place, work)
  }

  /** A blob whose bytes are to come. */
  async receive(bucket: string): Promise<IncomingBlob> {
    const { fileSystem, random, incomingDir, store } = this.#options
    const { level, keys } = this.#formOf(bucket)
    const dataKey = keys === null ? null : Buffer.from(random.hex(keyBytes), 'hex')
    const path = join(incomingDir, random.hex(12))
    const writer = await BlobWriter.create({ fileSystem, path, level, dataKey })
    return new IncomingBlob({ writer, store, random, envelope: keys && dataKey && { keys, dataKey } })
  }

  /** @throws FreshetError `corrupt_object`, `object_unreadable` */
  open(bucket: string, place: string): Promise<BlobReader | undefined> {
    return openBlob(this.#options.store, place, this.#formOf(bucket).keys)
  }

  /** Whether the blob is whole, as far as can be told without reading it, and can be read by a key that is there. */
  async has(bucket: string, place: string): Promise<boolean> {
    try {
      const blob = await this.open(bucket, place)
      if (blob === undefined) return false
      for await (const piece of blob.read(Math.max(0, blob.bytes - 1))) return piece.length === 1
      return true
    } catch (error) {
      if (error instanceof FreshetError && ['corrupt_object', 'object_unreadable'].includes(error.code)) return false
      throw error
    }
  }

  /** Heads go first: what is left by a crash is data that nobody refers to. */
  async remove(places: readonly string[]): Promise<void> {
    if (places.length === 0) return
    await this.#options.store.delete(places.map(headOf))
    await this.#options.store.delete(places)
  }

  /**
   * Wraps the data key of the blob at `place` by the newest master key; the caller has its lock.
   * @throws FreshetError `corrupt_object`, `object_unreadable`
   */
  async rewrap(bucket: string, place: string): Promise<'rewrapped' | 'current' | 'plain' | 'missing'> {
    const { store, random } = this.#options
    const { keys } = this.#formOf(bucket)
    const bytes = await store.get(headOf(place))
    if (bytes === undefined) return 'missing'
    const head = decodeHead(bytes, place)
    if (head.key === null || keys === null) return 'plain'
    if (head.key.id === keys.newest) return 'current'
    const dataKey = dataKeyOf(head, place, keys)!
    await store.put(headOf(place), encodeHead({ ...head, key: keys.wrap(dataKey, bindingOf(place, head), random) }))
    return 'rewrapped'
  }

  #formOf(bucket: string): BlobForm {
    return this.#options.forms.get(bucket)!
  }
}

interface IncomingOptions {
  writer: BlobWriter
  store: ObjectStore
  random: Random
  envelope: { keys: MasterKeys; dataKey: Buffer } | null
}

/** A blob on its way in. Whoever has it calls `keep` or `discard` in the end. */
export class IncomingBlob {
  readonly #options: IncomingOptions
  #written: WrittenBlob | undefined

  constructor(options: IncomingOptions) {
    this.#options = options
  }

  get bytes(): number {
    return this.#options.writer.bytes
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#options.writer.write(chunk)
  }

  async finish(): Promise<WrittenBlob> {
    return (this.#written ??= await this.#options.writer.finish())
  }

  /** Puts the blob in place; durable when it resolves. It is finished, and the caller has the place's lock. */
  async keep(place: string): Promise<void> {
    const { writer, store, random, envelope } = this.#options
    const { bytes, tableAt } = await this.finish()
    const fields = { bytes, blockBytes, tableAt }
    const key = envelope && envelope.keys.wrap(envelope.dataKey, bindingOf(place, fields), random)
    await store.put(place, { file: writer.path })
    await store.put(headOf(place), encodeHead({ ...fields, key }))
  }

  discard(): Promise<void> {
    return this.#options.writer.discard()
  }
}
