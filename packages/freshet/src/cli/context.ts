import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'

type InputStream = Readable & { isTTY?: boolean }
export type OutputStream = Writable & { isTTY?: boolean; columns?: number; rows?: number }

/** What a command may touch of the world around it; tests bring their own. */
export interface CliContext {
  cwd: string
  env: Readonly<Record<string, string | undefined>>
  stdin: InputStream
  stdout: OutputStream
  stderr: OutputStream
  nowMs(): number
  /** Resolves after `ms`; rejects with an AbortError as soon as `signal` is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Calls `listener` at every Ctrl-C or SIGTERM, instead of ending the process; the result takes the listener off again. */
  onInterrupt(listener: () => void): () => void
}

/** The context of the running process. */
export function processContext(): CliContext {
  return {
    cwd: process.cwd(),
    env: process.env,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    nowMs: () => Date.now(),
    sleep: (ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }),
    onInterrupt,
  }
}

/** Wrappers such as `npm run` pass on a Ctrl-C that the terminal has delivered already: signals this close are one, ms. */
const sameInterruptMs = 500

function onInterrupt(listener: () => void): () => void {
  let lastMs = -Infinity
  const once = (): void => {
    if (performance.now() - lastMs < sameInterruptMs) return
    lastMs = performance.now()
    listener()
  }
  process.on('SIGINT', once)
  process.on('SIGTERM', once)
  return () => {
    process.off('SIGINT', once)
    process.off('SIGTERM', once)
  }
}

/** Columns of the terminal that `stream` is; undefined when it is none. Some terminals do not say, or say 0. */
export function terminalWidth(stream: OutputStream): number | undefined {
  return stream.isTTY === true ? stream.columns || 80 : undefined
}

/** Writes all of `data`; resolves when the stream takes more, so that a slow reader slows the writer down. */
export function writeOut(stream: Writable, data: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(data, (error) => (error ? reject(error) : resolve()))
  })
}
