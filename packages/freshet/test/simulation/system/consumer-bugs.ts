/** Classic bugs of consumers: see bugs.ts. */
import { deadLettersSuffix } from '../../../src/config/plan.ts'
import type { Log } from '../../../src/log/log.ts'
import type { FileSystem } from '../../../src/runtime/file-system.ts'
import { consumersDir } from './machine.ts'
import { delegating, withHandles, type Bug } from './plant.ts'

export const consumerBugs: Readonly<Record<string, Bug>> = {
  'log-trimmed-past-consumers': {
    summary: 'the log is trimmed below the table alone, though a transform has not read so far',
    breaks: ['I7'],
    plant: () => ({ holdsNothing: true }),
  },
  'outputs-not-awaited': {
    summary: 'a transform goes on before its outputs are in the log',
    breaks: ['derived', 'I10'],
    plant: () => ({
      workerLog: (log) => withoutWaiting(log, (stream) => !stream.endsWith(deadLettersSuffix)),
    }),
  },
  'letters-not-awaited': {
    summary: 'a transform goes on before the letters of what it failed at are in the log',
    breaks: ['derived'],
    plant: () => ({
      workerLog: (log) => withoutWaiting(log, (stream) => stream.endsWith(deadLettersSuffix)),
    }),
  },
  'checkpoint-not-synced': {
    summary: "a consumer's record is put in the place of the former one before it is durable",
    breaks: ['I7', 'I10'],
    plant: () => ({
      workerFiles: (files) =>
        withHandles(
          files,
          (path) => path.startsWith(consumersDir),
          () => ({ sync: async () => {} }),
        ),
    }),
  },
  'checkpoint-name-not-synced': {
    summary: "the folder of the consumers' records is not synced",
    breaks: ['I7', 'derived', 'I10'],
    plant: () => ({
      workerFiles: withoutFolderSync,
      engineFiles: withoutFolderSync,
    }),
  },
}

/** The same log, but for appends to the streams at `matches`, which are said to be done at once. */
function withoutWaiting(log: Log, matches: (stream: string) => boolean): Log {
  return delegating(log, {
    append: async (stream, batch) => {
      if (!matches(stream)) return log.append(stream, batch)
      log.append(stream, batch).catch(() => undefined)
      return { from: 0n, position: 0n, duplicate: false }
    },
  })
}

/** The same files, but for the folder of the consumers' records. */
function withoutFolderSync(files: FileSystem): FileSystem {
  return delegating(files, {
    syncDir: (path) => (path === consumersDir ? Promise.resolve() : files.syncDir(path)),
  })
}
