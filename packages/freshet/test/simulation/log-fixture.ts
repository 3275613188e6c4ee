import type { FileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger, type Logger } from '../../src/runtime/logging.ts'
import { systemTimers } from '../../src/runtime/timers.ts'
import { openFileLog, type FileLog, type FileLogOptions } from '../../src/log/file/file-log.ts'
import { seededRandom } from './seeded-random.ts'
import { SimulatedDisk, type Call, type Fate, type Interfere } from './simulated-file-system.ts'
import type { AppendBatch, Log, Position } from '../../src/log/log.ts'

export const logDir = '/data/log'
export const partitionDir = `${logDir}/trades/0`
export const nowMs = 1_763_670_000_000

/** A batch whose events carry `name` and their place in it. */
export function batch(name: string, marks: Partial<AppendBatch> = {}, count = 2): AppendBatch {
  const lines = Array.from({ length: count }, (_, index) => `{"_event_id":"${name}/${index}","n":${index}}\n`)
  return { lines: [Buffer.from(lines.join(''))], count, receivedAtMs: nowMs, ...marks }
}

/** The batch `sequence` of a producer, named after both. */
export function numbered(id: string, sequence: number, count?: number): AppendBatch {
  return batch(`${id}:${sequence}`, { producer: { id, sequence } }, count)
}

export function logOptions(fileSystem: FileSystem, changes: Partial<FileLogOptions> = {}): FileLogOptions {
  return {
    dir: logDir,
    mode: 'write',
    segmentBytes: 1024 * 1024,
    diskFreeBytesMin: 0,
    fileSystem,
    clock: { nowMs: () => nowMs },
    timers: systemTimers,
    logger: silentLogger,
    ...changes,
  }
}

export function openLog(fileSystem: FileSystem, changes?: Partial<FileLogOptions>): Promise<FileLog> {
  return openFileLog(logOptions(fileSystem, changes))
}

/** The ids of all events from a position to the durable end, read in chunks of about `maxBytes`. */
export async function readIds(log: Log, from: Position = 0n, maxBytes = 512, stream = 'trades'): Promise<string[]> {
  const ids: string[] = []
  for (let at = from; ;) {
    const chunk = await log.read(stream, 0, at, maxBytes)
    if (chunk.next === at) return ids
    ids.push(...idsOf(chunk.bytes))
    at = chunk.next
  }
}

/** The ids of the events in NDJSON, frame lines left out. */
export function idsOf(bytes: Buffer): string[] {
  return bytes
    .toString()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('{"_frame":'))
    .map((line) => (JSON.parse(line) as { _event_id: string })._event_id)
}

/** The ids in batches made by `batch`, in order. */
export function idsIn(...batches: AppendBatch[]): string[] {
  return batches.flatMap(({ lines }) => idsOf(Buffer.concat(lines)))
}

/** The code of the error a promise fails with; `fulfilled` when it does not. */
export async function codeOf(outcome: Promise<unknown>): Promise<string> {
  return outcome.then(
    () => 'fulfilled',
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  )
}

/** Seeds for tests that are run on several disks. */
export const seeds = [0, 1, 2, 3, 4, 5, 6, 7]

/** Small enough for a new segment every two or three batches. */
export const small = { segmentBytes: 400 }

export const isSegment = (path: string): boolean => path.endsWith('.ndjson')
export const isEnd = (path: string): boolean => path.includes('/_ends/')

/** The fate of the first call of a kind on a path; all others go on. */
export function once(call: Call, matches: (path: string) => boolean, fate: Fate): Interfere {
  let done = false
  return (called, path) => {
    if (done || called !== call || !matches(path)) return 'goes on'
    done = true
    return fate
  }
}

/** A disk on which the folder above the log is durable, as the data folder is before a log is opened in it. */
export async function makeDisk(seed: number): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk(seededRandom(seed))
  const first = disk.process()
  await first.makeDir(logDir)
  first.kill()
  return disk
}

export interface Reported {
  level: 'error' | 'warn'
  message: string
  file?: string
  offset?: number
  error?: string
}

/** A logger that keeps what it is told of trouble. */
export function recorder(): { logger: Logger; reported: Reported[] } {
  const reported: Reported[] = []
  const note =
    (level: 'error' | 'warn') =>
    (details: object, message: string): void => {
      reported.push({ level, message, ...details })
    }
  const logger = Object.assign(Object.create(silentLogger) as Logger, { error: note('error'), warn: note('warn') })
  return { logger, reported }
}
