/** Sends many files, some at a time, with progress; a file that is refused does not stop the others. */
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import type { Client } from '../client.ts'
import { terminalWidth, type CliContext } from '../context.ts'
import { shorten } from '../output/table.ts'
import { formatBytes, formatDuration } from '../output/units.ts'
import type { LocalFile } from './local-files.ts'
import { putFile, type PutOutcome, type PutWishes } from './put-file.ts'

const filesAtATime = 4
const retryMs = { first: 500, max: 15_000 }
/** A request is sent again for so long. */
const patienceMs = 10 * 60 * 1000
const showEveryMs = 200

export interface PutReport {
  done: PutOutcome[]
  failed: { key: string; code: string; message: string; hint: string | null }[]
  bytes: number
}

export async function putFiles(
  client: Client,
  files: readonly LocalFile[],
  wishes: Omit<PutWishes, 'onBytes' | 'retry'>,
  context: CliContext,
): Promise<PutReport> {
  const report: PutReport = { done: [], failed: [], bytes: 0 }
  const progress = new PutProgress(context, files)
  const queue = [...files]
  const work = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      try {
        const onBytes = (bytes: number): void => progress.moved(bytes)
        const retry = <T>(request: () => Promise<T>): Promise<T> => retried(request, context, progress)
        report.done.push(await putFile(client, file, { ...wishes, onBytes, retry }))
        report.bytes += file.bytes
      } catch (error) {
        report.failed.push(failureOf(file.key, error))
        // Nothing else would reach it either.
        if (error instanceof FreshetError && error.code === 'server_unreachable') queue.length = 0
      }
      progress.fileDone()
    }
  }
  await Promise.all(Array.from({ length: filesAtATime }, work))
  progress.clear()
  report.done.sort((a, b) => (a.key < b.key ? -1 : 1))
  return report
}

function failureOf(key: string, error: unknown): PutReport['failed'][number] {
  if (!(error instanceof FreshetError)) return { key, code: 'internal', message: messageOf(error), hint: null }
  return { key, code: error.code, message: error.message, hint: error.hint ?? null }
}

async function retried<T>(request: () => Promise<T>, context: CliContext, progress: PutProgress): Promise<T> {
  const untilMs = context.nowMs() + patienceMs
  for (let waitMs = retryMs.first; ; waitMs = Math.min(waitMs * 2, retryMs.max)) {
    try {
      return await request()
    } catch (error) {
      if (!(error instanceof FreshetError) || !error.retryable || context.nowMs() + waitMs > untilMs) throw error
      progress.waiting(error.message, waitMs)
      await context.sleep(waitMs)
    }
  }
}

/** A line on standard error that is rewritten, on a terminal only. */
class PutProgress {
  readonly #context: CliContext
  readonly #files: number
  readonly #bytes: number
  readonly #startedMs: number
  #filesDone = 0
  #bytesDone = 0
  #shownMs = 0

  constructor(context: CliContext, files: readonly LocalFile[]) {
    this.#context = context
    this.#files = files.length
    this.#bytes = files.reduce((sum, { bytes }) => sum + bytes, 0)
    this.#startedMs = context.nowMs()
  }

  moved(bytes: number): void {
    this.#bytesDone += bytes
    if (this.#context.nowMs() - this.#shownMs >= showEveryMs) this.#show(this.#counts())
  }

  fileDone(): void {
    this.#filesDone++
  }

  waiting(reason: string, ms: number): void {
    this.#show(`${reason} Trying again in ${formatDuration(ms)}.`)
  }

  clear(): void {
    if (this.#context.stderr.isTTY === true) this.#context.stderr.write('\r\u001b[K')
  }

  #show(text: string): void {
    if (this.#context.stderr.isTTY !== true) return
    this.#shownMs = this.#context.nowMs()
    this.#context.stderr.write(`\r${shorten(text, (terminalWidth(this.#context.stderr) ?? 80) - 1)}\u001b[K`)
  }

  #counts(): string {
    const share = this.#bytes === 0 ? 100 : Math.floor((this.#bytesDone * 100) / this.#bytes)
    const rate = (this.#bytesDone * 1000) / Math.max(1, this.#context.nowMs() - this.#startedMs)
    const bytes = `${formatBytes(this.#bytesDone)} of ${formatBytes(this.#bytes)}`
    return `${this.#filesDone} of ${this.#files} files  ${bytes}  ${share}%  ${formatBytes(rate)}/s`
  }
}
