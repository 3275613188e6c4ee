/** Walks the frames of a partition from a position to the durable end, for a reader that changes nothing. */
import { systemCodeOf } from '../../runtime/errors.ts'
import type { FileHandle, FileSystem } from '../../runtime/file-system.ts'
import { readEnd } from './durable-end.ts'
import { FrameCheck } from './frame-check.ts'
import type { FrameHeader } from './frame.ts'
import { readPieces } from './pieces.ts'
import { listSegments, partitionFolder } from './segments.ts'

export interface FrameRange {
  /** The first position that the log holds; undefined when it holds no segment. */
  start: number | undefined
  /** The durable end, as it is published. */
  end: number
  /** Position behind the last byte of the last segment. */
  heldTo: number
  /** True when a segment went while it was read: it was trimmed, and the frames are not complete. */
  trimmed: boolean
  /** Bad places on the way; frames behind them were walked all the same. */
  problems: { file: string; offset: number; reason: string }[]
}

export interface EachFrameOptions {
  fileSystem: FileSystem
  logDir: string
  stream: string
  partition: number
  /** Says where to begin, given where the log does. */
  from: (start: number) => number
  onFrame: (header: FrameHeader, start: number, end: number) => void
}

export async function eachFrame(options: EachFrameOptions): Promise<FrameRange> {
  const { fileSystem, logDir, stream, partition, onFrame } = options
  const published = readEnd(fileSystem, logDir, stream, partition) ?? 0
  const segments = await listSegments(fileSystem, partitionFolder(logDir, stream, partition))
  const start = segments[0]?.base
  const end = Math.max(published, segments.at(-1)?.base ?? 0)
  const from = options.from(start ?? end)
  const range: FrameRange = { start, end, heldTo: 0, trimmed: false, problems: [] }
  for (const [index, { base, path }] of segments.entries()) {
    const until = segments[index + 1]?.base ?? end
    const first = Math.max(base, from)
    const last = index === segments.length - 1
    if (until <= first && !last) continue
    let file: FileHandle | undefined
    try {
      file = await fileSystem.open(path, 'read')
      if (last) range.heldTo = base + (await file.size())
      if (until <= first) continue
      const onProblem = (at: number, reason: string): void => {
        range.problems.push({ file: path, offset: at - base, reason })
      }
      const frames = new FrameCheck({ base: first, length: until - first, onFrame, onProblem })
      await readPieces(file, { from: first - base, length: until - first }, (piece) => frames.feed(piece))
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return { ...range, trimmed: true }
      throw error
    } finally {
      await file?.close()
    }
  }
  return range
}
