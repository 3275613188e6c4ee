/**
 * Checks one partition of the log on disk, byte for byte, without changing or locking anything; a server may be running on it.
 *
 * What was durable once never changes, and segments go only from the front (trim), so the view is made consistent by its order: first
 * the published end, then the list of segments. Everything up to the end, the start of the last segment or the newest `.seen` file
 * has to be there without a gap (recovery.ts says why these are known to be durable). What lies behind was never acknowledged, or
 * is being written: it is counted, and is a problem only where a later frame knows it as durable. A problem is looked at a second
 * time before it is reported, and dropped when the segment was trimmed meanwhile.
 */
import { join } from 'node:path'
import { messageOf, systemCodeOf } from '../../runtime/errors.ts'
import type { FileHandle, FileSystem } from '../../runtime/file-system.ts'
import { problemsIn, type Finding } from '../../runtime/finding.ts'
import { decodeEnd, endFile } from './durable-end.ts'
import { FrameCheck } from './frame-check.ts'
import { readPieces } from './pieces.ts'
import { damage } from './recovery.ts'
import { SeenBatches } from './seen-batches.ts'
import { listSeen, listSegments, partitionFolder, seenPath, type Segment } from './segments.ts'

export interface VerifyPartitionOptions {
  fileSystem: FileSystem
  logDir: string
  stream: string
  partition: number
  /** Told how many bytes were checked since the last call; what it throws ends the check. */
  onBytes: (bytes: number) => void
}

export interface PartitionCheck {
  segments: number
  frames: number
  events: number
  bytes: number
  /** Positions: the first that is still held, and the durable end. */
  start: number
  end: number
  findings: Finding[]
}

interface SegmentCheck {
  frames: number
  events: number
  bytes: number
  findings: Finding[]
}

/** Bad places of one segment that are told one by one. */
const findingsMax = 100

/** See the head of this file. @throws what the file system throws, other than about a file that cannot be read */
export async function verifyPartition(options: VerifyPartitionOptions): Promise<PartitionCheck> {
  const { fileSystem, logDir, stream, partition } = options
  const folder = partitionFolder(logDir, stream, partition)
  const ending = checkEnd(options)
  const segments = await listSegments(fileSystem, folder)
  const remembered = (await listSeen(fileSystem, folder)).at(-1) ?? 0
  const end = Math.max(ending.end, segments.at(-1)?.base ?? 0, remembered)
  const result: PartitionCheck = {
    segments: segments.length,
    frames: 0,
    events: 0,
    bytes: 0,
    start: segments[0]?.base ?? end,
    end,
    findings: [...ending.findings],
  }
  if (segments.length === 0 && end > 0) {
    const what = `The log of "${stream}" was written up to position ${end}, but ${folder} holds no segment.`
    result.findings.push(problem(stream, { file: folder, what, mend: 'Restore the folder from a copy.' }))
  }
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1]?.base
    const check = await checkTwice(options, segment, (next ?? end) - segment.base, next === undefined)
    result.frames += check.frames
    result.events += check.events
    result.bytes += check.bytes
    result.findings.push(...check.findings)
  }
  result.findings.push(...(await checkSeen(options)), ...(await strayFiles(options)))
  return result
}

function problem(stream: string, found: Omit<Finding, 'severity' | 'check' | 'stream'>): Finding {
  return { severity: 'problem', check: 'log', stream, ...found }
}

function note(stream: string, found: Omit<Finding, 'severity' | 'check' | 'stream'>): Finding {
  return { severity: 'note', check: 'log', stream, ...found }
}

/** The published end; 0 where there is none that says more, which a crash may leave. */
function checkEnd({ fileSystem, logDir, stream, partition }: VerifyPartitionOptions): {
  end: number
  findings: Finding[]
} {
  const file = endFile(logDir, stream, partition)
  let bytes = fileSystem.readNow(file)
  // A read that met a write half way is right the next time.
  for (let attempt = 0; attempt < 3 && bytes !== undefined; attempt++) {
    const end = decodeEnd(bytes)
    if (end !== undefined) return { end, findings: [] }
    bytes = fileSystem.readNow(file)
  }
  if (bytes === undefined) return { end: 0, findings: [] }
  // It is never synced and never relied on alone (durable-end.ts): a crash may leave anything here.
  const what = `The durable end in ${file} cannot be read, as a crash may leave it.`
  return { end: 0, findings: [note(stream, { file, what, mend: 'The gateway writes it anew when it starts.' })] }
}

async function checkTwice(
  options: VerifyPartitionOptions,
  segment: Segment,
  length: number,
  last: boolean,
): Promise<SegmentCheck> {
  const first = await checkSegment(options, segment, length, last)
  if (problemsIn(first.findings).length === 0) return first
  const { fileSystem, logDir, stream, partition } = options
  const held = await listSegments(fileSystem, partitionFolder(logDir, stream, partition))
  const trimmed = held.length > 0 && segment.base < held[0]!.base
  if (trimmed) return { ...first, findings: [] }
  return checkSegment({ ...options, onBytes: () => undefined }, segment, length, last)
}

/** @param length bytes from the segment's base that were durable when its place was looked up */
async function checkSegment(
  options: VerifyPartitionOptions,
  segment: Segment,
  length: number,
  last: boolean,
): Promise<SegmentCheck> {
  const { fileSystem, stream, onBytes } = options
  const check: SegmentCheck = { frames: 0, events: 0, bytes: 0, findings: [] }
  let untold = 0
  const damaged = (at: number, reason: string): void => {
    if (check.findings.length >= findingsMax) {
      untold++
      return
    }
    const offset = at - segment.base
    const { message, hint } = damage(segment.path, offset, reason)
    check.findings.push(problem(stream, { file: segment.path, offset, what: message, mend: hint! }))
  }
  let file: FileHandle | undefined
  try {
    file = await fileSystem.open(segment.path, 'read')
    const frames = new FrameCheck({
      base: segment.base,
      length,
      onFrame: (header) => {
        check.frames++
        check.events += header.count
      },
      onProblem: damaged,
    })
    check.bytes = await readPieces(file, { from: 0, length }, (piece) => {
      frames.feed(piece)
      onBytes(piece.length)
    })
    const unfinished = frames.unfinished()
    if (untold > 0) {
      const what = `${segment.path} has more bad places behind these: ${untold}.`
      check.findings.push(problem(stream, { file: segment.path, what, mend: 'Restore this segment from a copy.' }))
    }
    if (check.bytes < length) check.findings.push(gap(stream, segment, check.bytes, length, unfinished))
    else if (unfinished !== undefined) damaged(unfinished, 'a frame cut short')
    else check.findings.push(...(await checkBehind(stream, segment, file, length, last)))
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === undefined) throw error
    const missing = code === 'ENOENT'
    const what = missing
      ? `The segment ${segment.path} has disappeared.`
      : `The segment ${segment.path} cannot be read behind byte ${check.bytes}: ${messageOf(error)}.`
    check.findings.push(
      problem(stream, { file: segment.path, what, mend: 'Check the disk, then restore the segment from a copy.' }),
    )
  } finally {
    await file?.close()
  }
  return check
}

/** Bytes that were acknowledged and are not there: the segment was cut, or the one behind it is missing. */
function gap(
  stream: string,
  { base, path }: Segment,
  size: number,
  length: number,
  unfinished: number | undefined,
): Finding {
  const offset = unfinished === undefined ? size : unfinished - base
  const until = `positions ${base + offset} to ${base + length} are missing`
  const what =
    unfinished === undefined
      ? `The segment ${path} ends at byte ${size}, but more was acknowledged: ${until}.`
      : `The segment ${path} ends in the middle of a batch that begins at byte ${offset}: ${until}.`
  const mend = 'Restore this segment, or the one that came after it, from a copy.'
  return problem(stream, { file: path, offset, what, mend })
}

/** What lies behind the durable bytes of a segment. */
async function checkBehind(
  stream: string,
  { base, path }: Segment,
  file: FileHandle,
  from: number,
  last: boolean,
): Promise<Finding[]> {
  const length = (await file.size()) - from
  if (length <= 0) return []
  const at = { file: path, offset: from }
  if (!last) {
    const what = `${path} has ${length} bytes behind its end at byte ${from}, of batches that were refused; nobody reads them.`
    return [note(stream, { ...at, what })]
  }
  let whole = 0
  let synced = 0
  let bad: { at: number; reason: string } | undefined
  const frames = new FrameCheck({
    base: base + from,
    length,
    onFrame: (header) => {
      whole++
      synced = Math.max(synced, header.synced)
    },
    onProblem: (position, reason) => (bad ??= { at: position, reason }),
  })
  await readPieces(file, { from, length }, (piece) => frames.feed(piece))
  if (bad !== undefined && synced > bad.at) {
    const offset = bad.at - base
    const { message, hint } = damage(path, offset, bad.reason)
    return [problem(stream, { file: path, offset, what: message, mend: hint! })]
  }
  const torn = bad !== undefined || frames.unfinished() !== undefined
  const what =
    `${path} has ${length} bytes behind the durable end at byte ${from}: ` +
    `whole batches: ${whole}${torn ? ', then a torn one' : ''}. They are being written, or were when the gateway ended.`
  return [note(stream, { ...at, what })]
}

async function checkSeen({ fileSystem, logDir, stream, partition }: VerifyPartitionOptions): Promise<Finding[]> {
  const folder = partitionFolder(logDir, stream, partition)
  const findings: Finding[] = []
  for (const position of await listSeen(fileSystem, folder)) {
    const file = seenPath(folder, position)
    try {
      if (new SeenBatches<never>().decode(await fileSystem.readFile(file))) continue
    } catch (error) {
      // Replaced by a newer one since it was listed.
      if (systemCodeOf(error) === 'ENOENT') continue
    }
    const what = `The memory of seen batches ${file} is damaged: its checksum does not match.`
    const mend =
      'Restore it from a copy, or remove it: batches sent again are then recognised by the ids of their events.'
    findings.push(problem(stream, { file, what, mend }))
  }
  return findings
}

async function strayFiles({ fileSystem, logDir, stream, partition }: VerifyPartitionOptions): Promise<Finding[]> {
  const folder = partitionFolder(logDir, stream, partition)
  const strays = (await fileSystem.readDir(folder)).filter((name) => !/^\d{20}\.(ndjson|seen)$/.test(name))
  return strays.map((name) => {
    const file = join(folder, name)
    return note(stream, { file, what: `${file} is not part of the log: it is being written, or a crash has left it.` })
  })
}
