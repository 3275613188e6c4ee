/**
 * A frame is one appended batch in a segment: a header line, then the batch's own NDJSON lines.
 *
 *     {"_frame":{"bytes":1234,"count":5,"at":1763670000000,"synced":98765,"source":"site-1","until":1763669999000,
 *      "producer":"site-1","sequence":7},"_crc":305419896}\n
 *     {"_event_id":...}\n   x count, 1234 bytes in all
 *
 * `bytes` and `count` describe the lines, `at` is the arrival time in milliseconds since 1970, `synced` is the log's durable end
 * when the frame was written. `source` is who sent it, `until` the latest event time in it. `producer` + `sequence`, or `key` + `checksum`, are there when the client sent them. `_crc` is
 * zlib's CRC-32 over the text of the `_frame` object followed by the lines.
 *
 * Recovery reads frames until one is cut short or fails its checksum. `synced` then tells a torn tail from damage: if any later
 * frame was written when the bad place was already durable, acknowledged bytes have changed.
 *
 * There is no version here: the format of the whole data folder has one, in its freshet.json, and a newer one is refused.
 */
import { crc32 } from 'node:zlib'
import type { AppendBatch } from '../log.ts'

export interface FrameHeader {
  bytes: number
  count: number
  at: number
  synced: number
  source?: string
  until?: number
  producer?: string
  sequence?: number
  key?: string
  checksum?: number
}

/** A frame found in a buffer. Offsets count from the start of the buffer. */
export interface Frame {
  header: FrameHeader
  linesStart: number
  end: number
}

/** Why no frame could be read: more bytes are needed (`end` says how many in all, if known), or what is there is no valid frame. */
export type FrameProblem = { problem: 'short'; end: number | undefined } | { problem: 'bad'; reason: string }

const opening = Buffer.from('{"_frame":')
const middle = ',"_crc":'
const newline = 10

/** No header is longer: the longest key or producer is 255 characters, escaped at most sixfold. */
export const headerBytesMax = 4096

/** The buffers to write for a batch: its header line and its lines. */
export function encodeFrame(batch: AppendBatch, synced: number): Uint8Array[] {
  let bytes = 0
  for (const lines of batch.lines) bytes += lines.byteLength
  const header: FrameHeader = {
    bytes,
    count: batch.count,
    at: batch.receivedAtMs,
    synced,
    ...(batch.source !== undefined && { source: batch.source }),
    ...(batch.eventTimeMaxMs !== undefined && { until: batch.eventTimeMaxMs }),
    ...(batch.producer && { producer: batch.producer.id, sequence: batch.producer.sequence }),
    ...(batch.idempotency && { key: batch.idempotency.key, checksum: batch.idempotency.checksum }),
  }
  const text = JSON.stringify(header)
  let crc = crc32(text)
  for (const lines of batch.lines) crc = crc32(lines, crc)
  return [Buffer.from(`{"_frame":${text}${middle}${crc}}\n`), ...batch.lines]
}

/** A frame's header line, not yet checked against the lines it stands for. */
export interface FrameHead {
  header: FrameHeader
  linesStart: number
  /** CRC-32 of the header's text, to be carried on over the lines. */
  crc: number
  /** What `closing` of the finished CRC has to be. */
  ending: string
}

/** The end of a header line for a CRC-32. */
export function closing(crc: number): string {
  return `${crc}}`
}

/** Reads the header line that starts at `start`. */
export function decodeHead(buffer: Buffer, start: number): FrameHead | FrameProblem {
  const lineEnd = buffer.indexOf(newline, start)
  const headerEnd = lineEnd === -1 ? Math.min(buffer.length, start + headerBytesMax) : lineEnd
  const prefix = buffer.subarray(start, Math.min(start + opening.length, headerEnd))
  if (prefix.compare(opening, 0, prefix.length) !== 0) return { problem: 'bad', reason: 'no frame header' }
  if (lineEnd === -1) {
    return buffer.length - start >= headerBytesMax
      ? { problem: 'bad', reason: 'a frame header without end' }
      : { problem: 'short', end: undefined }
  }
  const line = buffer.toString('utf8', start, lineEnd)
  const split = line.lastIndexOf(middle)
  const text = line.slice(opening.length, split)
  const header = split === -1 ? undefined : parseHeader(text)
  if (header === undefined) return { problem: 'bad', reason: 'an unreadable frame header' }
  return { header, linesStart: lineEnd + 1, crc: crc32(text), ending: line.slice(split + middle.length) }
}

/** Reads and checks the frame that starts at `start`. */
export function decodeFrame(buffer: Buffer, start: number): Frame | FrameProblem {
  const head = decodeHead(buffer, start)
  if ('problem' in head) return head
  const { header, linesStart } = head
  const end = linesStart + header.bytes
  if (end > buffer.length) return { problem: 'short', end: end - start }
  if (closing(crc32(buffer.subarray(linesStart, end), head.crc)) !== head.ending) {
    return { problem: 'bad', reason: 'a checksum that does not match' }
  }
  return { header, linesStart, end }
}

function parseHeader(text: string): FrameHeader | undefined {
  try {
    const header = JSON.parse(text) as FrameHeader
    const whole = [header.bytes, header.count, header.synced].every(
      (value) => Number.isSafeInteger(value) && value >= 0,
    )
    return whole ? header : undefined
  } catch {
    return undefined
  }
}

/**
 * The whole frames from the start of `buffer`, and what stopped the walk: nothing (`undefined`) when the buffer ends with the last
 * frame.
 */
export function walkFrames(
  buffer: Buffer,
  onFrame: (frame: Frame, start: number) => void,
): { end: number; stopped: FrameProblem | undefined } {
  let end = 0
  while (end < buffer.length) {
    const frame = decodeFrame(buffer, end)
    if ('problem' in frame) return { end, stopped: frame }
    onFrame(frame, end)
    end = frame.end
  }
  return { end, stopped: undefined }
}

/**
 * The valid frames behind a bad place, in order. A header is known by its text at the start of a line, where no event can hold
 * it: events are spliced with `_event_id` first.
 * @param bad offset of the bad place in the buffer
 */
export function framesBehind(buffer: Buffer, bad: number): { frame: Frame; start: number }[] {
  const found: { frame: Frame; start: number }[] = []
  let at = buffer.indexOf(opening, bad + 1)
  while (at !== -1) {
    const frame = buffer[at - 1] === newline ? decodeFrame(buffer, at) : undefined
    const valid = frame !== undefined && !('problem' in frame)
    if (valid) found.push({ frame, start: at })
    at = buffer.indexOf(opening, valid ? frame.end : at + 1)
  }
  return found
}
