/** The files of a stream's log, as a test looks at them and damages them. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface SegmentFile {
  path: string
  /** Position of its first byte. */
  base: bigint
}

export function segmentsOf(dataDir: string, stream: string): SegmentFile[] {
  const folder = join(dataDir, 'log', stream, '0')
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((name) => name.endsWith('.ndjson'))
    .toSorted()
    .map((name) => ({ path: join(folder, name), base: BigInt(name.replace('.ndjson', '')) }))
}

/** Position behind the last byte, acknowledged or not; 0 while there is no log. */
export function logEnd(dataDir: string, stream: string): bigint {
  const last = segmentsOf(dataDir, stream).at(-1)
  return last === undefined ? 0n : last.base + BigInt(statSync(last.path).size)
}

/** Offsets at which the frames of a segment begin. */
export function frameOffsets(path: string): number[] {
  const bytes = readFileSync(path)
  const offsets: number[] = []
  for (let at = bytes.indexOf('{"_frame":'); at !== -1; at = bytes.indexOf('{"_frame":', at + 1)) offsets.push(at)
  return offsets
}

/** Flips one bit of a file; doing it again mends it. */
export function flipBit(path: string, offset: number): void {
  const bytes = readFileSync(path)
  bytes[offset]! ^= 0x04
  writeFileSync(path, bytes)
}
