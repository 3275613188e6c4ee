/** What to store: bytes, or a finished local file that the store may move into place. */
export type ObjectBody = Uint8Array | { file: string }

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
  /** Keys that start with `prefix`, sorted, with their sizes in bytes. */
  list(prefix: string): Promise<{ key: string; bytes: number }[]>
  /** Removes objects; keys that are not there are no error. */
  delete(keys: readonly string[]): Promise<void>
}
