/** Reads blobs: the whole or a range, a block in memory at a time and the next one under way. */
import type { ObjectStore } from '../storage/object-store.ts'
import {
  bindingOf,
  blockCount,
  checkBlock,
  corrupt,
  decodeEntry,
  decodeHead,
  entryBytes,
  headOf,
  unpackBlock,
  type BlobHead,
  type BlockEntry,
} from './blob-format.ts'
import { missingKey, type MasterKeys } from './master-keys.ts'

/** Entries of the table that are read at a time. */
const tablePage = 1024

/**
 * The blob at `place`, undefined when there is none.
 * @param keys of its bucket; null: it has none
 * @throws FreshetError `corrupt_object`, `object_unreadable`
 */
export async function openBlob(
  store: ObjectStore,
  place: string,
  keys: MasterKeys | null,
): Promise<BlobReader | undefined> {
  const bytes = await store.get(headOf(place))
  if (bytes === undefined) return undefined
  const head = decodeHead(bytes, place)
  return new BlobReader(store, place, head, dataKeyOf(head, place, keys))
}

/** @throws FreshetError `corrupt_object`, `object_unreadable` */
export function dataKeyOf(head: BlobHead, place: string, keys: MasterKeys | null): Buffer | null {
  if (head.key === null) return null
  if (keys === null) throw missingKey(place, head.key.id)
  return keys.unwrap(head.key, bindingOf(place, head), place)
}

export class BlobReader {
  /** Plain bytes. */
  readonly bytes: number
  readonly #store: ObjectStore
  readonly #place: string
  readonly #head: BlobHead
  readonly #dataKey: Buffer | null
  #page: { first: number; table: Buffer } | undefined

  constructor(store: ObjectStore, place: string, head: BlobHead, dataKey: Buffer | null) {
    this.#store = store
    this.#place = place
    this.#head = head
    this.#dataKey = dataKey
    this.bytes = head.bytes
  }

  /**
   * The plain bytes from `start` up to `end` (exclusive, at most `bytes`).
   * @throws FreshetError `corrupt_object`
   */
  async *read(start = 0, end = this.bytes): AsyncGenerator<Buffer> {
    if (start >= end) return
    const size = this.#head.blockBytes
    const lastIndex = Math.floor((end - 1) / size)
    let index = Math.floor(start / size)
    let next: Promise<Buffer> | undefined = this.#block(index)
    while (next !== undefined) {
      const plain: Buffer = await next
      const at = index * size
      index++
      next = index > lastIndex ? undefined : this.#block(index)
      // Its failure is met when it is waited for, or of no interest when the reader has gone.
      next?.catch(() => undefined)
      yield plain.subarray(Math.max(0, start - at), Math.min(plain.length, end - at))
    }
  }

  /**
   * Holds what is stored against its checksums and its size; that takes no key.
   * @throws FreshetError `corrupt_object`
   */
  async check(onBytes: (bytes: number) => void): Promise<void> {
    const count = blockCount(this.#head)
    for (let index = 0; index < count; index++) {
      const { stored, entry } = await this.#stored(index)
      checkBlock(stored, entry.crc, index, this.#place)
      onBytes(stored.length)
    }
  }

  /**
   * Holds the size of what is stored, and the places of its blocks, against each other, without reading the blocks.
   * @throws FreshetError `corrupt_object`
   */
  async checkShape(): Promise<void> {
    const { tableAt } = this.#head
    const count = blockCount(this.#head)
    let end = 0
    for (let index = 0; index < count; index++) {
      const entry = await this.#entry(index)
      if (entry.end < end) throw corrupt(this.#place, `its table is wrong at block ${index}`)
      end = entry.end
    }
    if (end !== tableAt) throw corrupt(this.#place, 'its table does not fit its blocks')
    const size = tableAt + count * entryBytes
    const tail = await this.#store.get(this.#place, { start: Math.max(0, size - 1), end: size + 1 })
    if (tail === undefined) throw corrupt(this.#place, 'its bytes are not there')
    if (tail.length !== Math.min(1, size)) throw corrupt(this.#place, `its file does not have ${size} bytes`)
  }

  async #block(index: number): Promise<Buffer> {
    const { stored, entry } = await this.#stored(index)
    const { bytes, blockBytes } = this.#head
    const last = index === blockCount(this.#head) - 1
    const plainBytes = last ? bytes - index * blockBytes : blockBytes
    const place = this.#place
    return unpackBlock(stored, entry, plainBytes, { index, last, dataKey: this.#dataKey, place })
  }

  /** A block as it is stored. */
  async #stored(index: number): Promise<{ stored: Buffer; entry: BlockEntry }> {
    const place = this.#place
    const start = index === 0 ? 0 : (await this.#entry(index - 1)).end
    const entry = await this.#entry(index)
    const { tableAt } = this.#head
    if (entry.end < start || entry.end > tableAt) throw corrupt(place, `its table is wrong at block ${index}`)
    const stored = await this.#store.get(place, { start, end: entry.end })
    if (stored?.length !== entry.end - start) throw corrupt(place, `block ${index} is missing`)
    return { stored, entry }
  }

  async #entry(index: number): Promise<BlockEntry> {
    const first = index - (index % tablePage)
    if (this.#page?.first !== first) {
      const count = Math.min(tablePage, blockCount(this.#head) - first)
      const start = this.#head.tableAt + first * entryBytes
      const table = await this.#store.get(this.#place, { start, end: start + count * entryBytes })
      if (table?.length !== count * entryBytes) throw corrupt(this.#place, 'its table is missing or cut off')
      this.#page = { first, table }
    }
    return decodeEntry(this.#page.table, index - first)
  }
}
