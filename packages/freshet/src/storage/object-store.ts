/** What to store: bytes, or a finished local file that the store may move into place. */
export type ObjectBody = Uint8Array | { file: string }

export interface StoredObject {
  key: string
  bytes: number
  /** When it was stored, or put in place; ms since 1970. */
  modifiedMs: number
}

/**
 * The contract of an object store. Keys are relative paths with `/` between parts; parts never are `.` or `..`.
 * Whatever resolved is durable: it survives power loss.
 */
export interface ObjectStore {
  /** The object's bytes, or those of `range` (`end` exclusive); undefined when there is no such object. */
  get(key: string, range?: { start: number; end: number }): Promise<Buffer | undefined>
  put(key: string, body: ObjectBody): Promise<void>
  /** Stores only if the key is free; false, and nothing changed, when it is durably taken. Of concurrent callers one wins. */
  putIfAbsent(key: string, body: Uint8Array): Promise<boolean>
  /** Objects whose keys start with `prefix`, sorted by key. */
  list(prefix: string): Promise<StoredObject[]>
  /** Removes objects; keys that are not there are no error. */
  delete(keys: readonly string[]): Promise<void>
}
