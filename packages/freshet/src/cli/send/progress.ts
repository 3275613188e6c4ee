import { terminalWidth, type CliContext } from '../context.ts'
import { shorten } from '../output/table.ts'
import { formatCount, formatDuration } from '../output/units.ts'
import type { SendReport } from './report.ts'

/** The progress of `send` on standard error: a line that is rewritten on a terminal, else a line every ten seconds. */
export class Progress {
  bytesRead = 0
  readonly #context: CliContext
  readonly #report: SendReport
  readonly #bytesTotal: number | null
  readonly #quiet: boolean
  readonly #startedMs: number
  #shownMs: number
  #lineShown = false

  constructor(options: { context: CliContext; report: SendReport; bytesTotal: number | null; quiet: boolean }) {
    this.#context = options.context
    this.#report = options.report
    this.#bytesTotal = options.bytesTotal
    this.#quiet = options.quiet
    this.#startedMs = options.context.nowMs()
    this.#shownMs = this.#startedMs
  }

  get elapsedMs(): number {
    return Math.max(1, this.#context.nowMs() - this.#startedMs)
  }

  /** Shows how far it is, when it is time to. */
  update(): void {
    const everyMs = this.#context.stderr.isTTY === true ? 100 : 10_000
    if (this.#context.nowMs() - this.#shownMs >= everyMs) this.#show(this.#counts())
  }

  /** Shows why nothing moves. */
  waiting(reason: string, ms: number): void {
    if (this.#context.stderr.isTTY === true) this.#show(`${reason} Trying again in ${formatDuration(ms)}.`)
  }

  note(text: string): void {
    if (this.#context.stderr.isTTY === true) this.#show(text)
  }

  /** Prints a line that stays, above the progress. */
  print(line: string): void {
    this.clear()
    this.#context.stderr.write(`${line}\n`)
  }

  clear(): void {
    if (this.#lineShown) this.#context.stderr.write('\r\u001b[K')
    this.#lineShown = false
  }

  #show(text: string): void {
    if (this.#quiet) return
    this.#shownMs = this.#context.nowMs()
    if (this.#context.stderr.isTTY === true) {
      this.#context.stderr.write(`\r${shorten(text, (terminalWidth(this.#context.stderr) ?? 80) - 1)}\u001b[K`)
      this.#lineShown = true
    } else {
      this.#context.stderr.write(`${text}\n`)
    }
  }

  #counts(): string {
    const { handled, duplicates, rejected } = this.#report
    const parts = [`${formatCount(handled)} events`, `${formatCount(Math.round((handled * 1000) / this.elapsedMs))}/s`]
    if (duplicates > 0) parts.push(`${formatCount(duplicates)} duplicates`)
    if (rejected > 0) parts.push(`${formatCount(rejected)} rejected`)
    if (this.#bytesTotal !== null && this.#bytesTotal > 0)
      parts.push(`${Math.min(100, Math.floor((this.bytesRead * 100) / this.#bytesTotal))}%`)
    return parts.join('  ')
  }
}
