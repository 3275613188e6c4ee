/**
 * What a writer does before its first append. A crash can leave behind:
 *
 * - a frame cut short, or pages of the last group missing (power loss before the sync): nothing of it was acknowledged; the
 *   segment is cut back to its longest prefix of whole frames;
 * - whole frames that were written but not synced: kept; they are written once more before the sync, because after a failed sync
 *   the operating system may believe that pages are on disk which are not, or a cut that is not;
 * - a segment whose name is not durable yet: the folder is synced before anything is acknowledged in it;
 * - bytes in an earlier segment behind the start of the next one (a refused group, and a cut that did not last): ignored;
 * - a published end behind the true one, or none: published anew;
 * - the memory of seen batches from an earlier position: brought up to date from the frames after it;
 * - a `.seen` file without its segment: the segment before it simply goes on.
 *
 * What was durable once is known from the published end, from the position of the newest `.seen` file, from the start of the next
 * segment, and from what later frames say (`synced`). A bad frame below that is damage, not a torn tail. It is reported and left as
 * it is, for readers to find; the frames behind it are still known as taken, and appending goes on in a new segment behind them.
 * No position is ever given out twice.
 */
import { FreshetError, systemCodeOf } from '../../runtime/errors.ts'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { Logger } from '../../runtime/logging.ts'
import { readEnd } from './durable-end.ts'
import { framesBehind, walkFrames, type Frame, type FrameProblem } from './frame.ts'
import type { Marks, SeenBatches, SeenPlace } from './seen-batches.ts'
import { loadSeen, removeOldSeen } from './seen-file.ts'
import { listSegments, partitionFolder, type Segment } from './segments.ts'

export interface RecoveryOptions {
  fileSystem: FileSystem
  logger: Logger
  logDir: string
  stream: string
  partition: number
}

export interface Recovered<Outcome> {
  /** The segment to append to; undefined: start a new one at `end`. */
  active: Segment | undefined
  /** The durable end. */
  end: number
  seen: SeenBatches<Outcome>
}

/** The error for a frame that is damaged in the middle of the log. */
export function damage(path: string, offset: number, reason: string): FreshetError {
  return new FreshetError('corrupt_log', `The log is damaged: ${path} holds ${reason} at byte ${offset}.`, {
    hint: 'Bytes that were acknowledged have changed on disk. Check the disk, then restore this segment from a copy.',
    extra: { file: path, offset },
  })
}

/**
 * @param knownEnd the durable end, where the caller knows it: a writer of this process that failed has refused what lies behind.
 */
export async function recoverPartition<Outcome>(
  options: RecoveryOptions,
  knownEnd = Number.POSITIVE_INFINITY,
): Promise<Recovered<Outcome>> {
  const { fileSystem, logger, logDir, stream, partition } = options
  const folder = partitionFolder(logDir, stream, partition)
  const report = (error: FreshetError): void => {
    logger.error({ stream, error: error.message, ...error.extra }, 'log damaged')
  }
  await fileSystem.syncDir(folder)
  await removeOldSeen(fileSystem, folder)
  const segments = await listSegments(fileSystem, folder)
  const { seen, from, damaged } = await loadSeen<Outcome>(fileSystem, folder)
  for (const file of damaged) logger.error({ stream, file }, 'damaged memory of seen batches; an older one is used')
  const last = segments.at(-1)
  const durable = Math.max(readEnd(fileSystem, logDir, stream, partition) ?? 0, from)
  if (last === undefined) {
    if (durable > 0)
      logger.error({ stream, folder, durable }, 'the segments of the log are gone; it goes on behind them')
    return { active: undefined, end: durable, seen }
  }
  if (segments[0]!.base > from) {
    const gap = { stream, from, to: segments[0]!.base }
    logger.error(gap, 'the memory of seen batches has a gap: repeats of batches in it will be taken again')
  }

  let former: SeenPlace | undefined
  const remember = (base: number, until: number) => (frame: Frame, start: number) => {
    if (base + start < from || base + start >= until) return
    former = placeOf(frame, base, start, former)
    seen.add(marksOf(frame), former)
  }
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1]
    if (next === undefined || next.base <= from) continue
    const bytes = await readUnlessTrimmed(fileSystem, segment.path)
    if (bytes === undefined) continue
    const length = next.base - segment.base
    const noted = remember(segment.base, next.base)
    const { end, stopped } = walkFrames(bytes.subarray(0, length), noted)
    if (end === length) continue
    report(damage(segment.path, end, reasonOf(stopped)))
    for (const { frame, start } of framesBehind(bytes.subarray(0, length), end)) noted(frame, start)
  }

  const bytes = await fileSystem.readFile(last.path)
  const noted = remember(last.base, knownEnd)
  const walked = walkFrames(bytes, noted)
  const end = Math.min(walked.end, knownEnd - last.base)
  const behind = walked.stopped ? framesBehind(bytes, end).filter(({ start }) => last.base + start < knownEnd) : []
  const proven = Math.max(durable, ...behind.map(({ frame }) => frame.header.synced))
  const settled = Math.min(Math.max(0, durable - last.base), bytes.length)
  if (proven > last.base + end) {
    report(damage(last.path, end, reasonOf(walked.stopped)))
    for (const { frame, start } of behind) noted(frame, start)
    const kept = behind.at(-1)?.frame.end ?? end
    await settle(fileSystem, last, bytes, { from: settled, to: kept, cut: false })
    return { active: undefined, end: Math.max(proven, last.base + kept), seen }
  }
  if (end < bytes.length) {
    const cut = { stream, file: last.path, offset: end, cutBytes: bytes.length - end }
    logger.warn(cut, 'cut a torn batch off the log; it was never acknowledged')
  }
  await settle(fileSystem, last, bytes, { from: settled, to: end, cut: true })
  // A file that a writer failed on is left, as it leaves every file that a write or sync failed on.
  return { active: Number.isFinite(knownEnd) ? undefined : last, end: last.base + end, seen }
}

/**
 * Makes a segment's bytes up to `to` durable, writing again those behind `from`. With `cut` it takes away what lies behind `to`,
 * also when nothing seems to: an earlier cut may have reached the operating system and not the disk.
 */
async function settle(
  fileSystem: FileSystem,
  segment: Segment,
  bytes: Buffer,
  { from, to, cut }: { from: number; to: number; cut: boolean },
): Promise<void> {
  const file = await fileSystem.open(segment.path, 'write')
  try {
    if (cut) await file.truncate(to)
    if (from < to) await file.write([bytes.subarray(from, to)], from)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** A segment's bytes; undefined when a reader's process has trimmed it since it was listed. */
async function readUnlessTrimmed(fileSystem: FileSystem, path: string): Promise<Buffer | undefined> {
  try {
    return await fileSystem.readFile(path)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function marksOf({ header }: Frame): Marks {
  return {
    receivedAtMs: header.at,
    ...(header.producer !== undefined && { producer: { id: header.producer, sequence: header.sequence ?? 0 } }),
    ...(header.key !== undefined && { idempotency: { key: header.key, checksum: header.checksum ?? 0 } }),
  }
}

/**
 * Where a frame is.
 * @param former where the one before it is: it is told that it shares its arrival time, if it does
 */
function placeOf({ header, end }: Frame, base: number, start: number, former: SeenPlace | undefined): SeenPlace {
  const place = { from: base + start, to: base + end, count: header.count, receivedAtMs: header.at }
  if (former?.receivedAtMs !== header.at) return { ...place, sameArrivalFrom: undefined }
  former.sameArrivalFrom ??= former.from
  return { ...place, sameArrivalFrom: former.sameArrivalFrom }
}

function reasonOf(stopped: FrameProblem | undefined): string {
  if (stopped === undefined) return 'nothing more, though bytes behind it were acknowledged,'
  return stopped.problem === 'short' ? 'a frame cut short' : stopped.reason
}
