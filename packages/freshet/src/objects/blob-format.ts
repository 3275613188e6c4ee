/**
 * How an object's bytes are stored: a data file and a head. Both are immutable, except that a rotation replaces the head.
 *
 * The data file has the plain bytes cut into blocks of `blockBytes` (the last one may be shorter; an empty object has none), each
 * stored by itself, so that a range is read without what lies before it; then the table, an entry of 16 bytes a block:
 *
 *     u64  where the stored block ends in the file (it begins where the one before ends, the first at 0)
 *     u32  CRC-32 of the stored block
 *     u8   how the block is stored: 0 as it is, 1 as one zstd frame (RFC 8878); where zstd gains nothing, blocks stay as they are
 *     u24  0
 *
 * All numbers are little-endian. With encryption a stored block is AES-256-GCM of that, its tag of 16 bytes behind it, by the STREAM
 * construction (Hoang, Reyhanitabar, Rogaway and Vizar, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance"):
 *
 *     key    the object's own, random, never used for other bytes
 *     nonce  7 zero bytes, u32 number of the block (big-endian), u8 1 for the last block and 0 for others
 *     AAD    u8 how the block is stored
 *
 * so a block that is moved, repeated, left out, or cut off at the end is refused. A nonce cannot come twice: a key has one object.
 *
 * The head is text, two lines: the CRC-32 of the second line in decimal, and JSON
 *
 *     {"format":1,"bytes":<plain bytes>,"blockBytes":...,"tableAt":<where the table begins>,"key":null | {"id":...,"text":...}}
 *
 * `key` is the data key, wrapped (master-keys.ts) with the head's other members and the blob's place, which so cannot be changed either.
 * The head is written last: a data file without one is what a crash has left, and is nobody's.
 *
 * CRCs tell damage (`corrupt_object`) from a key that is not the right one (`object_unreadable`), and protect blobs without encryption. They
 * are no protection against people: whoever may write to the folder can replace an object that is not encrypted.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { promisify } from 'node:util'
import { constants, crc32, zstdCompress, zstdDecompress } from 'node:zlib'
import { FreshetError } from '../runtime/errors.ts'
import type { WrappedKey } from './master-keys.ts'

/** Plain bytes of a block: what reading a single byte costs, and enough for zstd to find most repetition. */
export const blockBytes = 256 * 1024
export const entryBytes = 16
const tagBytes = 16
const format = 1

export interface BlobHead {
  /** Plain bytes. */
  bytes: number
  blockBytes: number
  tableAt: number
  key: WrappedKey | null
}

export interface BlockEntry {
  end: number
  crc: number
  packing: number
}

/** Key of the head that belongs to the data at `place`. */
export function headOf(place: string): string {
  return `${place}.head`
}

/** What the data key of a blob is bound to. */
export function bindingOf(place: string, head: Omit<BlobHead, 'key'>): string {
  return `freshet blob ${format}\n${place}\n${head.bytes}\n${head.blockBytes}\n${head.tableAt}\n`
}

export function encodeHead(head: BlobHead): Buffer {
  const { bytes, blockBytes: size, tableAt, key } = head
  const text = JSON.stringify({ format, bytes, blockBytes: size, tableAt, key })
  return Buffer.from(`${crc32(text)}\n${text}\n`)
}

/** @throws FreshetError `corrupt_object` */
export function decodeHead(bytes: Buffer, place: string): BlobHead {
  const [check, text = ''] = bytes.toString().split('\n')
  if (check !== String(crc32(text))) throw corrupt(place, 'its head does not match its checksum')
  const head = JSON.parse(text) as BlobHead & { format: number }
  if (head.format > format)
    throw corrupt(place, `its head has format ${head.format}, and this version reads format ${format}`)
  return head
}

export function blockCount(head: Pick<BlobHead, 'bytes' | 'blockBytes'>): number {
  return Math.ceil(head.bytes / head.blockBytes)
}

export function encodeEntries(entries: readonly BlockEntry[]): Buffer {
  const table = Buffer.alloc(entries.length * entryBytes)
  for (const [index, { end, crc, packing }] of entries.entries()) {
    table.writeBigUInt64LE(BigInt(end), index * entryBytes)
    table.writeUInt32LE(crc, index * entryBytes + 8)
    table.writeUInt8(packing, index * entryBytes + 12)
  }
  return table
}

export function decodeEntry(table: Buffer, index: number): BlockEntry {
  const at = index * entryBytes
  return {
    end: Number(table.readBigUInt64LE(at)),
    crc: table.readUInt32LE(at + 8),
    packing: table.readUInt8(at + 12),
  }
}

const asItIs = 0
const asZstd = 1
const compress = promisify(zstdCompress)
const decompress = promisify(zstdDecompress)

/** Which block of a blob it is. */
export interface BlockPlace {
  index: number
  last: boolean
  dataKey: Buffer | null
}

/** The stored form of a block. @param level of zstd; null: as it is */
export async function packBlock(
  plain: Buffer,
  level: number | null,
  { index, last, dataKey }: BlockPlace,
): Promise<{ stored: Buffer; packing: number }> {
  let packed = plain
  if (level !== null && plain.length > 0) {
    const frame = await compress(plain, {
      params: { [constants.ZSTD_c_compressionLevel]: level },
      pledgedSrcSize: plain.length,
    })
    if (frame.length < plain.length) packed = frame
  }
  const packing = packed === plain ? asItIs : asZstd
  if (dataKey === null) return { stored: packed, packing }
  const cipher = createCipheriv('aes-256-gcm', dataKey, nonceOf(index, last))
  cipher.setAAD(Buffer.of(packing))
  return { stored: Buffer.concat([cipher.update(packed), cipher.final(), cipher.getAuthTag()]), packing }
}

/**
 * The plain bytes of a stored block.
 * @param plainBytes how many they must be
 * @throws FreshetError `corrupt_object`
 */
export async function unpackBlock(
  stored: Buffer,
  { crc, packing }: BlockEntry,
  plainBytes: number,
  { index, last, dataKey, place }: BlockPlace & { place: string },
): Promise<Buffer> {
  checkBlock(stored, crc, index, place)
  try {
    const packed = dataKey === null ? stored : decrypt(stored, packing, nonceOf(index, last), dataKey)
    const plain = packing === asZstd ? await decompress(packed, { maxOutputLength: plainBytes }) : packed
    if (plain.length === plainBytes) return plain
  } catch (cause) {
    throw corrupt(place, `block ${index} was changed, moved or cut off`, cause)
  }
  throw corrupt(place, `block ${index} has not the ${plainBytes} bytes that it should`)
}

/** @throws FreshetError `corrupt_object` when a block is not as it was stored */
export function checkBlock(stored: Buffer, crc: number, index: number, place: string): void {
  if (crc32(stored) !== crc) throw corrupt(place, `block ${index} does not match its checksum`)
}

function decrypt(stored: Buffer, packing: number, nonce: Buffer, dataKey: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', dataKey, nonce, { authTagLength: tagBytes })
  decipher.setAAD(Buffer.of(packing))
  decipher.setAuthTag(stored.subarray(-tagBytes))
  return Buffer.concat([decipher.update(stored.subarray(0, -tagBytes)), decipher.final()])
}

function nonceOf(index: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUInt32BE(index, 7)
  nonce.writeUInt8(last ? 1 : 0, 11)
  return nonce
}

/** The error for a blob whose bytes are not those that were stored. */
export function corrupt(place: string, why: string, cause?: unknown): FreshetError {
  return new FreshetError('corrupt_object', `The stored object ${place} is damaged: ${why}.`, {
    hint: 'Restore the file from a copy and check the disk, or put the object again.',
    ...(cause !== undefined && { cause }),
  })
}
