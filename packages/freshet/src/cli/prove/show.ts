import { terminalWidth, type CliContext } from '../context.ts'
import { shorten } from '../output/table.ts'

/** Says on standard error how a run gets on: a line that is rewritten on a terminal, else a line every ten seconds. */
export class Show {
  readonly #context: CliContext
  readonly #quiet: boolean
  #shownMs = -Infinity
  #lineShown = false

  constructor(context: CliContext, quiet: boolean) {
    this.#context = context
    this.#quiet = quiet
  }

  /** Says how far it is, when it is time to. */
  progress(text: () => string): void {
    const isTerminal = this.#context.stderr.isTTY === true
    const nowMs = performance.now()
    if (this.#quiet || nowMs - this.#shownMs < (isTerminal ? 100 : 10_000)) return
    this.#shownMs = nowMs
    if (isTerminal) {
      this.#context.stderr.write(`\r${shorten(text(), (terminalWidth(this.#context.stderr) ?? 80) - 1)}\u001b[K`)
      this.#lineShown = true
    } else {
      this.#context.stderr.write(`${text()}\n`)
    }
  }

  /** Prints a line that stays. */
  line(text: string): void {
    this.clear()
    if (!this.#quiet) this.#context.stderr.write(`${text}\n`)
    this.#shownMs = performance.now()
  }

  clear(): void {
    if (this.#lineShown) this.#context.stderr.write('\r\u001b[K')
    this.#lineShown = false
  }
}
