import { closeSync, openSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { messageOf } from '../../runtime/errors.ts'
import { usageError } from '../exit-codes.ts'
import { sanitiseCell } from '../output/sanitise.ts'
import type { Outcome } from './answer.ts'
import { eventOf, type Batch } from './batches.ts'
import type { BrokenInput } from './input-item.ts'

export interface ReportOptions {
  /** Rejections printed one by one. */
  errorsMax: number
  /** File that rejected events are written to, one a line; null: none. */
  rejectsFile: string | null
  cwd: string
  /** Prints one line. */
  print: (line: string) => void
}

/** Counts what became of every event, and shows the rejected ones. */
export class SendReport {
  accepted = 0
  duplicates = 0
  rejected = 0
  retries = 0
  readonly #options: ReportOptions
  readonly #rejects: number | null
  #printed = 0

  /** @throws FreshetError `invalid_usage` when the rejects file cannot be written */
  constructor(options: ReportOptions) {
    this.#options = options
    this.#rejects =
      options.rejectsFile === null ? null : openRejects(resolve(options.cwd, options.rejectsFile), options.rejectsFile)
  }

  get handled(): number {
    return this.accepted + this.duplicates + this.rejected
  }

  answered(label: string, batch: Batch, outcome: Extract<Outcome, { kind: 'done' }>): void {
    this.accepted += outcome.accepted
    this.duplicates += outcome.duplicates
    this.rejected += outcome.rejected
    for (const { index, code, path, reason } of outcome.rejections) {
      const line = batch.lines[index]
      if (line === undefined) continue
      // The server counts lines from the beginning of the batch; the line of the file stands in front already.
      this.#show(label, line, code, path, reason.replace(/^line \d+, (?=column \d)/, ''))
      if (this.#rejects !== null) this.#keep(eventOf(batch, index))
    }
  }

  broken(label: string, input: BrokenInput): void {
    this.rejected++
    this.#show(label, input.line, input.code, input.path, input.reason)
    if (this.#rejects !== null) this.#keep(input.raw)
  }

  /** Rejections that were counted but not printed. */
  get unprinted(): number {
    return this.rejected - this.#printed
  }

  close(): void {
    if (this.#rejects !== null) closeSync(this.#rejects)
  }

  #show(label: string, line: number, code: string, path: string | null, reason: string): void {
    if (this.#printed >= this.#options.errorsMax) return
    this.#printed++
    this.#options.print(sanitiseCell(`${label}:${line}: ${code}${path === null ? '' : ` at ${path}`}: ${reason}`))
  }

  #keep(event: Buffer): void {
    const bytes = Buffer.concat([event, Buffer.from('\n')])
    for (let at = 0; at < bytes.length;) at += writeSync(this.#rejects!, bytes, at)
  }
}

function openRejects(path: string, written: string): number {
  try {
    return openSync(path, 'w', 0o600)
  } catch (error) {
    throw usageError(`The rejects file ${written} cannot be written: ${messageOf(error)}.`)
  }
}
