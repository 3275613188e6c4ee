/** Takes what came of the events of a batch, in their order, and makes of it the lines of each run. */
import type { EventFault } from '../../events/refusal.ts'
import type { Run } from '../source-batch.ts'
import type { FailedEvent, MadeLines, TransformResult } from './functions.ts'
import type { Origin, OutputLines } from './output-lines.ts'

/** What came of one event: what the function returned, or how it failed. */
export type Outcome = { returned: unknown } | { failure: Omit<FailedEvent, 'index'> }

export interface ResultWriterOptions {
  runs: readonly Pick<Run, 'first' | 'count'>[]
  /** Where lines are put as far as they fit. */
  room?: Uint8Array | undefined
}

/** Text is made bytes in pieces of this length: one by one would cost a call for each line, all at once would keep all of them. */
const pieceLength = 64 * 1024
/** A character of text has at most so many bytes. */
const bytesPerCharacter = 3

export class ResultWriter {
  readonly #runs: ResultWriterOptions['runs']
  readonly #lines: OutputLines
  readonly #made: MadeLines[] = []
  readonly #failed: FailedEvent[] = []
  #buffer: Buffer
  #used = 0
  /** Lines that are not in the buffer yet. */
  #text = ''
  /** Where the run at hand begins in the buffer, and how many lines it has. */
  #start = 0
  #count = 0

  constructor({ runs, room }: ResultWriterOptions, lines: OutputLines) {
    this.#runs = runs
    this.#lines = lines
    this.#buffer = room === undefined ? Buffer.alloc(0) : Buffer.from(room.buffer, room.byteOffset, room.byteLength)
  }

  /** Events come in order; those of which there is nothing to say can be left out. */
  write(index: number, event: Origin, outcome: Outcome): void {
    this.#goTo(index)
    if ('failure' in outcome) {
      this.#failed.push({ index, ...outcome.failure })
      return
    }
    const written = this.#lines.make(outcome.returned, event)
    if ('code' in written) {
      this.#failed.push({ index, ...invalid(written) })
      return
    }
    this.#text += written.text
    this.#count += written.count
    if (this.#text.length >= pieceLength) this.#flush()
  }

  /** All runs have lines then, or none. */
  end(): TransformResult {
    while (this.#made.length < this.#runs.length) this.#endRun()
    return { made: this.#made, failed: this.#failed }
  }

  /** Ends the runs in front of an event. */
  #goTo(index: number): void {
    for (;;) {
      const { first, count } = this.#runs[this.#made.length]!
      if (index < first + count) return
      this.#endRun()
    }
  }

  #endRun(): void {
    this.#flush()
    this.#made.push({ bytes: this.#buffer.subarray(this.#start, this.#used), count: this.#count })
    this.#start = this.#used
    this.#count = 0
  }

  #flush(): void {
    const text = this.#text
    this.#text = ''
    const bytesMax = text.length * bytesPerCharacter
    if (this.#used + bytesMax > this.#buffer.length) this.#grow(bytesMax)
    this.#used += this.#buffer.write(text, this.#used)
  }

  /** Goes on in a larger buffer. Runs that are ended stay in the one that they are in. */
  #grow(bytes: number): void {
    const own = this.#buffer.subarray(this.#start, this.#used)
    const larger = Buffer.allocUnsafeSlow(Math.max(own.length * 2, own.length + bytes))
    own.copy(larger)
    this.#buffer = larger
    this.#start = 0
    this.#used = own.length
  }
}

function invalid({ code, path, reason }: EventFault): Omit<FailedEvent, 'index'> {
  return { code, path, message: `the output ${path === '' ? '' : `at ${path} `}${reason}` }
}
