/**
 * Looks for bytes in everything that a partition has on disk: each byte of its segments, whether a frame's or left behind by one that was
 * refused, and the memories of seen batches. Read-only; segments that are trimmed meanwhile are passed over.
 */
import { systemCodeOf } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import { walkFrames } from './frame.ts'
import { listSeen, listSegments, partitionFolder, seenPath } from './segments.ts'

export interface PartitionSearch {
  files: number
  bytes: number
  /** Places in batches that arrived until the time asked for, or in no batch: `<file>:<offset>`. */
  found: string[]
  /** Segments that begin below the position asked for, which trimming has left. */
  below: string[]
  /** Batches that arrived later. */
  later: number
  /** Memories of seen batches in which a producer or key is called so. */
  marks: string[]
}

export interface SearchOptions {
  fileSystem: FileSystem
  logDir: string
  stream: string
  partition: number
  /** What is looked for. */
  needles: readonly Buffer[]
  /** Batches that arrived after it are only counted. Ms since 1970. */
  untilMs: number
  /** No segment is to begin below it. */
  position: number
}

export async function searchPartition(options: SearchOptions): Promise<PartitionSearch> {
  const { fileSystem, logDir, stream, partition, needles, untilMs, position } = options
  const folder = partitionFolder(logDir, stream, partition)
  const search: PartitionSearch = { files: 0, bytes: 0, found: [], below: [], later: 0, marks: [] }
  for (const { base, path } of await listSegments(fileSystem, folder)) {
    const bytes = await readIfThere(fileSystem, path)
    if (bytes === undefined) continue
    search.files++
    search.bytes += bytes.length
    if (base < position) search.below.push(path)
    const { end } = walkFrames(bytes, (frame, start) => {
      const at = placeIn(bytes.subarray(start, frame.end), needles)
      if (at === undefined) return
      if (frame.header.at > untilMs) search.later++
      else search.found.push(`${path}:${start + at}`)
    })
    const behind = placeIn(bytes.subarray(end), needles)
    if (behind !== undefined) search.found.push(`${path}:${end + behind}`)
  }
  for (const at of await listSeen(fileSystem, folder)) {
    const path = seenPath(folder, at)
    const bytes = await readIfThere(fileSystem, path)
    if (bytes === undefined) continue
    search.files++
    search.bytes += bytes.length
    if (placeIn(bytes, needles) !== undefined) search.marks.push(path)
  }
  return search
}

function placeIn(bytes: Buffer, needles: readonly Buffer[]): number | undefined {
  const places = needles.map((needle) => bytes.indexOf(needle)).filter((at) => at !== -1)
  return places.length === 0 ? undefined : Math.min(...places)
}

async function readIfThere(fileSystem: FileSystem, path: string): Promise<Buffer | undefined> {
  try {
    return await fileSystem.readFile(path)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  }
}
