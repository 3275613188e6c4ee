/** How bugs are planted: by wrapping the seams that the product's parts are joined by. */
import type { Catalog } from '../../../src/lake/catalog.ts'
import type { Log } from '../../../src/log/log.ts'
import type { FileHandle, FileSystem } from '../../../src/runtime/file-system.ts'

export interface Bug {
  summary: string
  /** The invariants by one of which it shows. */
  breaks: readonly string[]
  plant: () => Plant
}

/** What a bug changes; what is left out stays as it is. Asked for anew by each process that starts. */
export interface Plant {
  gatewayFiles?: (files: FileSystem) => FileSystem
  engineFiles?: (files: FileSystem) => FileSystem
  gatewayLog?: (log: Log) => Log
  engineLog?: (log: Log) => Log
  catalog?: (catalog: Catalog) => Catalog
  statement?: (sql: string) => string
  workerFiles?: (files: FileSystem) => FileSystem
  workerLog?: (log: Log) => Log
  /** The log is trimmed without a look at its consumers. */
  holdsNothing?: boolean
}

export const noBug: Plant = {}

/** The same files, but for handles of those at `matches`. */
export function withHandles(
  files: FileSystem,
  matches: (path: string) => boolean,
  change: (handle: FileHandle, path: string) => Partial<FileHandle>,
): FileSystem {
  return delegating(files, {
    open: async (path, mode) => {
      const handle = await files.open(path, mode)
      return matches(path) ? delegating(handle, change(handle, path)) : handle
    },
  })
}

/** An object that does what `changes` say, and else what `base` does. */
export function delegating<Base extends object>(base: Base, changes: Partial<Base>): Base {
  return new Proxy(base, {
    get: (target, name) => {
      const changed: unknown = Reflect.get(changes, name)
      const value: unknown = changed ?? Reflect.get(target, name, target)
      return typeof value === 'function'
        ? (value as () => unknown).bind(changed === undefined ? target : changes)
        : value
    },
  })
}
