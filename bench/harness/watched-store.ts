/** An object store that notes what is asked of it, so that a benchmark can tell what its figures are made of. */
import type { ObjectBody, ObjectStore, StoredObject } from '../../packages/freshet/dist/storage/object-store.js'

/** Requests since the last `take`. */
interface StoreUse {
  /** Keys, in the order in which they were read; one that was read twice is there twice. */
  reads: string[]
  readBytes: number
  writes: string[]
  deletes: string[]
}

export class WatchedStore implements ObjectStore {
  readonly #store: ObjectStore
  #use: StoreUse = nothing()

  constructor(store: ObjectStore) {
    this.#store = store
  }

  /** What was asked since the last time. */
  take(): StoreUse {
    const use = this.#use
    this.#use = nothing()
    return use
  }

  async get(key: string, range?: { start: number; end: number }): Promise<Buffer | undefined> {
    const found = await this.#store.get(key, range)
    this.#use.reads.push(key)
    this.#use.readBytes += found?.length ?? 0
    return found
  }

  put(key: string, body: ObjectBody): Promise<void> {
    this.#use.writes.push(key)
    return this.#store.put(key, body)
  }

  putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    this.#use.writes.push(key)
    return this.#store.putIfAbsent(key, body)
  }

  list(prefix: string): Promise<StoredObject[]> {
    return this.#store.list(prefix)
  }

  delete(keys: readonly string[]): Promise<void> {
    this.#use.deletes.push(...keys)
    return this.#store.delete(keys)
  }
}

function nothing(): StoreUse {
  return { reads: [], readBytes: 0, writes: [], deletes: [] }
}
