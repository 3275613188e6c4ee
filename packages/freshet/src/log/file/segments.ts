/** Where segments lie: `<log>/<stream>/<partition>/<base>.ndjson`, `base` being the position of the first byte, in 20 digits. */
import { join } from 'node:path'
import type { FileSystem } from '../../runtime/file-system.ts'

export interface Segment {
  base: number
  path: string
}

export function partitionFolder(logDir: string, stream: string, partition: number): string {
  return join(logDir, stream, String(partition))
}

export function segmentPath(folder: string, base: number): string {
  return join(folder, `${String(base).padStart(20, '0')}.ndjson`)
}

export function seenPath(folder: string, base: number): string {
  return join(folder, `${String(base).padStart(20, '0')}.seen`)
}

async function listBases(fileSystem: FileSystem, folder: string, pattern: RegExp): Promise<number[]> {
  const bases: number[] = []
  for (const name of await fileSystem.readDir(folder)) {
    const match = pattern.exec(name)
    if (match) bases.push(Number(match[1]))
  }
  return bases.toSorted((a, b) => a - b)
}

/** The segments of a partition in order. */
export async function listSegments(fileSystem: FileSystem, folder: string): Promise<Segment[]> {
  const bases = await listBases(fileSystem, folder, /^(\d{20})\.ndjson$/)
  return bases.map((base) => ({ base, path: segmentPath(folder, base) }))
}

/** Positions at which the memory of seen batches was saved, in order. */
export function listSeen(fileSystem: FileSystem, folder: string): Promise<number[]> {
  return listBases(fileSystem, folder, /^(\d{20})\.seen$/)
}
