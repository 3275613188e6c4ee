/**
 * How a writer tells readers in other processes where the durable bytes of a partition end (I2): a 12-byte file
 * `_ends/<stream>.<partition>` holding the end as a 64-bit little-endian integer and its CRC-32. It is written after the data
 * was synced and is itself never synced: whatever of it survives a crash is at most the true end, and the writer's recovery
 * writes it anew. Twelve bytes inside one page are read and written whole; the CRC catches anything else.
 */
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { FileSystem } from '../../runtime/file-system.ts'

const fileBytes = 12

export function endsFolder(logDir: string): string {
  return join(logDir, '_ends')
}

export function endFile(logDir: string, stream: string, partition: number): string {
  return join(endsFolder(logDir), `${stream}.${partition}`)
}

export function encodeEnd(end: number): Buffer {
  const buffer = Buffer.allocUnsafe(fileBytes)
  buffer.writeBigUInt64LE(BigInt(end))
  buffer.writeUInt32LE(crc32(buffer.subarray(0, 8)), 8)
  return buffer
}

/** The end, or undefined when the bytes are no valid end. */
export function decodeEnd(bytes: Buffer): number | undefined {
  if (bytes.length < fileBytes || crc32(bytes.subarray(0, 8)) !== bytes.readUInt32LE(8)) return undefined
  return Number(bytes.readBigUInt64LE())
}

/** The published end of a partition; undefined when there is none, or none that can be trusted. */
export function readEnd(
  fileSystem: Pick<FileSystem, 'readNow'>,
  logDir: string,
  stream: string,
  partition: number,
): number | undefined {
  const path = endFile(logDir, stream, partition)
  // A read that met a write half way is right the next time.
  for (let attempt = 0; attempt < 3; attempt++) {
    const bytes = fileSystem.readNow(path)
    if (bytes === undefined) return undefined
    const end = decodeEnd(bytes)
    if (end !== undefined) return end
  }
  return undefined
}
