/**
 * Checks the frames of a segment that come in pieces of any size: each header, its CRC over the lines, the number of lines, and that
 * every line begins as a stored event does. Memory stays at one header, whatever a frame's size.
 *
 * Behind a bad place it looks for the next header, which is known by its text at the start of a line (frame.ts), so that one
 * damaged place is one finding and the frames behind it are checked too.
 */
import { crc32 } from 'node:zlib'
import { closing, decodeHead, headerBytesMax, type FrameHead, type FrameHeader } from './frame.ts'

const eventOpening = Buffer.from('{"_event_id":"')
const frameOpening = Buffer.from('{"_frame":')
const newline = 10

export interface FrameCheckOptions {
  /** Position of the first byte. */
  base: number
  /** How many bytes there have to be; no frame reaches beyond. */
  length: number
  /** Called for each frame whose checksum is right, with the positions where it starts and ends. */
  onFrame: (header: FrameHeader, start: number, end: number) => void
  /** Called with each bad place: its position and what is there, as in "holds <reason>". */
  onProblem: (at: number, reason: string) => void
}

export class FrameCheck {
  readonly #options: FrameCheckOptions
  /** Position of the next byte that is fed. */
  #at: number
  /** Where the frame, or the line that may be a header, starts. */
  #start: number
  /** The part of a header line that came with earlier pieces. */
  #carry: Buffer = Buffer.alloc(0)
  #mode: 'head' | 'lines' | 'skip' = 'head'
  /** True behind a bad place, until a header is found. */
  #lost = false
  #head: FrameHead | undefined
  #left = 0
  #crc = 0
  #lineCount = 0
  /** Bytes of the current line's opening that were seen. */
  #matched = 0
  #lineStart = 0
  #badLine: number | undefined

  constructor(options: FrameCheckOptions) {
    this.#options = options
    this.#at = options.base
    this.#start = options.base
  }

  feed(piece: Buffer): void {
    let from = 0
    while (from < piece.length) {
      const to = this.#mode === 'lines' ? this.#lines(piece, from) : this.#search(piece, from)
      this.#at += to - from
      from = to
      if (this.#mode === 'lines' && this.#left === 0) this.#complete()
    }
  }

  /** To be called when all was fed: where a frame begins that has no end, or that nothing but a bad place follows. */
  unfinished(): number | undefined {
    if (this.#lost) return undefined
    return this.#mode === 'head' && this.#carry.length === 0 ? undefined : this.#start
  }

  #search(piece: Buffer, from: number): number {
    const found = piece.indexOf(newline, from)
    const to = found === -1 ? piece.length : found + 1
    if (this.#mode === 'head') this.#takeHeader(piece.subarray(from, to), found !== -1, this.#at + to - from)
    else if (found !== -1) this.#startLine(this.#at + to - from)
    return to
  }

  #startLine(at: number): void {
    this.#mode = 'head'
    this.#start = at
  }

  #takeHeader(part: Buffer, whole: boolean, end: number): void {
    const line = this.#carry.length === 0 ? part : Buffer.concat([this.#carry, part])
    this.#carry = Buffer.alloc(0)
    const known = Math.min(line.length, frameOpening.length)
    if (line.compare(frameOpening, 0, known, 0, known) !== 0) this.#bad('no frame header', whole, end)
    else if (line.length > headerBytesMax) this.#bad('a frame header without end', whole, end)
    else if (whole) this.#openFrame(line, end)
    else this.#carry = Buffer.from(line)
  }

  #openFrame(line: Buffer, end: number): void {
    const head = decodeHead(line, 0)
    if ('problem' in head) {
      this.#bad(head.problem === 'bad' ? head.reason : 'a frame cut short', true, end)
      return
    }
    const { base, length } = this.#options
    if (head.header.bytes > base + length - end) {
      this.#bad('a frame cut short', true, end)
      return
    }
    this.#lost = false
    this.#head = head
    this.#mode = 'lines'
    this.#left = head.header.bytes
    this.#crc = head.crc
    this.#lineCount = 0
    this.#matched = 0
    this.#badLine = undefined
    this.#lineStart = end
  }

  /** Notes a bad header and goes on with the next line. */
  #bad(reason: string, lineEnded: boolean, end: number): void {
    if (!this.#lost) this.#options.onProblem(this.#start, reason)
    this.#lost = true
    if (lineEnded) this.#startLine(end)
    else this.#mode = 'skip'
  }

  #lines(piece: Buffer, from: number): number {
    const to = Math.min(piece.length, from + this.#left)
    this.#crc = crc32(piece.subarray(from, to), this.#crc)
    for (let at = from; at < to;) {
      const known = Math.min(to, at + eventOpening.length - this.#matched)
      for (let byte = at; byte < known; byte++) {
        if (piece[byte] !== eventOpening[this.#matched++]) this.#badLine ??= this.#lineStart
      }
      const found = piece.indexOf(newline, at)
      if (found === -1 || found >= to) break
      this.#lineCount++
      this.#matched = 0
      at = found + 1
      this.#lineStart = this.#at + at - from
    }
    this.#left -= to - from
    return to
  }

  #complete(): void {
    const { onFrame, onProblem } = this.#options
    const { header, ending } = this.#head!
    const start = this.#start
    if (closing(this.#crc) !== ending) {
      onProblem(start, 'a checksum that does not match')
      // What the header says of its length may be what is wrong.
      this.#lost = true
    } else {
      if (this.#lineCount !== header.count || this.#lineStart !== this.#at) {
        onProblem(start, `${this.#lineCount} whole lines, where its header says ${header.count}, in a frame`)
      }
      if (this.#badLine !== undefined) onProblem(this.#badLine, 'a line that does not begin as a stored event')
      if (header.synced > start) onProblem(start, 'a frame that claims to know of later ones')
      onFrame(header, start, this.#at)
    }
    this.#startLine(this.#at)
  }
}
