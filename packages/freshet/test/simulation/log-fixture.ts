import type { FileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { openFileLog, type FileLog, type FileLogOptions } from '../../src/log/file/file-log.ts'
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
