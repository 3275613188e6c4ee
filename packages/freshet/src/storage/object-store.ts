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

/** A store that is reached over a network: an answer may be lost though what was asked for is done. */
export interface RemoteObjectStore extends ObjectStore {
  /**
   * Like `putIfAbsent`, with a mark that is kept with the object. True also when what is there has this mark: it was stored by an
   * earlier call, perhaps of a former process, whose answer was lost.
   * @param mark letters and digits, at most 100; no two objects that differ have the same
   */
  putOnce(key: string, body: Uint8Array, mark: string): Promise<boolean>
  /** Looks whether the store can be used. @throws FreshetError `object_store_unusable` that says why not */
  check(): Promise<void>
  /** Ends what is under way with an error. */
  close(): Promise<void>
}

/** How a bucket of S3, or of a server that talks like it, is reached. */
export interface BucketSettings {
  bucket: string
  /** What all keys begin with, without a slash at its end. */
  prefix?: string
  region?: string
  /** Address of a server that is not Amazon's. */
  endpoint?: string
  /** With `secretAccessKey`; left out: what the SDK finds by itself. */
  accessKeyId?: string
  secretAccessKey?: string
  /** Whether the bucket is in the path of addresses and not in their host name. */
  pathStyle?: boolean
}
