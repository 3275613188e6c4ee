/**
 * The file format of a run: a set of ids on disk, in the order of their hashes. Words are of the machine's own byte order: a run is
 * a cache and never leaves its machine.
 *
 *     filter      `blocks` blocks of 32 bytes, in the order of the low hash
 *     pages       one for each bucket; bucket b holds the ids whose low hash starts with the `bits` bits of b
 *     index       buckets + 1 words: where each page starts, and the last one ends, in words behind the filter; then the CRC-32 of
 *                 each 4 KiB of the filter
 *     footer      JSON, see `RunFooter`
 *     tail        words: bytes of the footer, CRC-32 of the footer, magic
 *
 * A page is words: CRC-32 of all that follows (begun with the bucket's number), number of ids, their low hashes, their high hashes;
 * then their lengths in 16 bits each; then the ids themselves, one after another; then zeros up to a whole word.
 *
 * The filter is a split block Bloom filter: an id sets one bit in each of the eight words of its block. It needs twelve bits an id
 * and takes an id that is not there for one that is about once in 200 times, which costs a look at a page.
 */
import { crc32 } from 'node:zlib'
import type { IdList } from './id-table.ts'

export const wordBytes = 4
export const blockBytes = 32
/** What of a filter is checked, and read where it is not in memory, at once. */
export const windowBytes = 4096
const blockWords = 8
const filterBitsPerId = 12
/** Ids in a page, on average, at most. */
const pageIdsMax = 400
export const tailBytes = 12
export const magic = 0x31736469
export const formatVersion = 1
const salts = Uint32Array.of(
  0x47b6137b,
  0x44974d91,
  0x8824ad5b,
  0xa2b7289d,
  0x705495c7,
  0x2df1424b,
  0x9efc4947,
  0x5c6bfb31,
)

/** How the ids of a run are laid out. */
export interface RunShape {
  /** How many ids there are. */
  count: number
  /** There are 2^bits buckets. */
  bits: number
  /** Blocks of the filter for each bucket. */
  bucketBlocks: number
}

export interface RunFooter extends RunShape {
  version: number
  /** What the ids are hashed with. */
  seed: number
  indexCrc: number
  /** The data files whose ids, of one partition, these are. */
  files: string[]
}

export function shapeFor(count: number): RunShape {
  const bits = Math.max(0, Math.ceil(Math.log2(count / pageIdsMax)))
  const buckets = 2 ** bits
  return { count, bits, bucketBlocks: Math.max(1, Math.ceil((count * filterBitsPerId) / (blockBytes * 8) / buckets)) }
}

export function filterBytes({ bits, bucketBlocks }: RunShape): number {
  return 2 ** bits * bucketBlocks * blockBytes
}

/** How many words an index has. */
export function indexWords(shape: RunShape): number {
  return 2 ** shape.bits + 1 + Math.ceil(filterBytes(shape) / windowBytes)
}

export function bucketOf(low: number, bits: number): number {
  return bits === 0 ? 0 : low >>> (32 - bits)
}

/** The block of an id with this low hash. */
export function blockOf(low: number, { bits, bucketBlocks }: RunShape): number {
  // The bits behind the bucket's own choose among its blocks, so that blocks are in the order of the hash, too.
  const within = Math.floor((((low << bits) >>> 0) / 2 ** 32) * bucketBlocks)
  return bucketOf(low, bits) * bucketBlocks + within
}

/** @param filter words of a filter, or of a part of it; @param block counted from where `filter` begins */
export function setInFilter(filter: Uint32Array, block: number, high: number): void {
  const first = block * blockWords
  for (let word = 0; word < blockWords; word++) {
    filter[first + word] = filter[first + word]! | (1 << (Math.imul(high, salts[word]!) >>> 27))
  }
}

/** False when no id with this high hash is in the block. */
export function inFilter(filter: Uint32Array, block: number, high: number): boolean {
  const first = block * blockWords
  for (let word = 0; word < blockWords; word++) {
    if (((filter[first + word]! >>> (Math.imul(high, salts[word]!) >>> 27)) & 1) === 0) return false
  }
  return true
}

/** A page's size in bytes. */
export function pageBytes(ids: number, idBytes: number): number {
  return align(8 + 10 * ids + idBytes)
}

function align(bytes: number): number {
  return (bytes + wordBytes - 1) & ~(wordBytes - 1)
}

/** Writes the page of `bucket` to `into` at `at`, a whole word: the ids of `list` that `indexes` names. @returns where it ends */
export function writePage(into: Uint8Array, at: number, bucket: number, list: IdList, indexes: Uint32Array): number {
  const count = indexes.length
  const words = new Uint32Array(into.buffer, into.byteOffset + at, 2 + 2 * count)
  const lengths = new Uint16Array(into.buffer, into.byteOffset + at + 8 + 8 * count, count)
  const { low, high, starts, bytes } = list
  let to = at + 8 + 10 * count
  words[1] = count
  for (let place = 0; place < count; place++) {
    const index = indexes[place]!
    const start = starts[index]!
    const end = starts[index + 1]!
    words[2 + place] = low[index]!
    words[2 + count + place] = high[index]!
    lengths[place] = end - start
    for (let from = start; from < end; from++) into[to++] = bytes[from]!
  }
  while ((to & (wordBytes - 1)) !== 0) into[to++] = 0
  words[0] = crc32(into.subarray(at + wordBytes, to), bucket)
  return to
}

/** The ids of a page. */
export interface Page {
  count: number
  low: Uint32Array
  high: Uint32Array
  lengths: Uint16Array
  /** The ids lie in `bytes` from `idStart` on. */
  bytes: Uint8Array
  idStart: number
}

/** Reads the page of `bucket`, which fills `bytes`; these start at a whole word. @returns undefined when it is damaged */
export function readPage(bytes: Uint8Array, bucket: number): Page | undefined {
  if (bytes.length < 8) return undefined
  const [crc, count = 0] = new Uint32Array(bytes.buffer, bytes.byteOffset, 2)
  if (crc32(bytes.subarray(wordBytes), bucket) !== crc || bytes.length < 8 + 10 * count) return undefined
  return {
    count: count,
    low: new Uint32Array(bytes.buffer, bytes.byteOffset + 8, count),
    high: new Uint32Array(bytes.buffer, bytes.byteOffset + 8 + 4 * count, count),
    lengths: new Uint16Array(bytes.buffer, bytes.byteOffset + 8 + 8 * count, count),
    bytes,
    idStart: 8 + 10 * count,
  }
}

/** The indexes of ids sorted by bucket, of `buckets` buckets from `first` on; `ends[b]` is where bucket `first` + b ends. */
export function sortedByBucket(
  { low, count }: IdList,
  bits: number,
  first: number,
  buckets: number,
): { order: Uint32Array; ends: Uint32Array } {
  const ends = new Uint32Array(buckets)
  for (let index = 0; index < count; index++) {
    const bucket = bucketOf(low[index]!, bits) - first
    ends[bucket] = ends[bucket]! + 1
  }
  let sum = 0
  for (let bucket = 0; bucket < buckets; bucket++) {
    const size = ends[bucket]!
    ends[bucket] = sum
    sum += size
  }
  const order = new Uint32Array(count)
  for (let index = 0; index < count; index++) {
    const bucket = bucketOf(low[index]!, bits) - first
    order[ends[bucket]!] = index
    ends[bucket] = ends[bucket]! + 1
  }
  return { order, ends }
}
