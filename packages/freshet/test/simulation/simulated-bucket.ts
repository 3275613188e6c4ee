import type { Random } from '../../src/runtime/random.ts'
import type { RemoteObjectStore, StoredObject } from '../../src/storage/object-store.ts'
import { MemoryBucket } from '../conformance/memory-object-store.ts'
import type { SimulatedProcess } from './simulated-file-system.ts'

/**
 * A bucket as one process reaches it: calls meet the fate that the process's `interfere` has for them. A put that fails may have been
 * done, its answer lost. What the bucket has is durable.
 */
export class SimulatedBucket implements RemoteObjectStore {
  readonly #bucket: MemoryBucket
  readonly #process: SimulatedProcess
  readonly #random: Random

  constructor(bucket: MemoryBucket, process: SimulatedProcess, random: Random) {
    this.#bucket = bucket
    this.#process = process
    this.#random = random
  }

  async get(key: string, range?: { start: number; end: number }): Promise<Buffer | undefined> {
    return await this.#process.step('read', key, () => this.#bucket.get(key, range))
  }

  put(key: string, body: Uint8Array): Promise<void> {
    return this.#change(key, () => this.#bucket.put(key, body))
  }

  putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    return this.#change(key, () => this.#bucket.putIfAbsent(key, body))
  }

  putOnce(key: string, body: Uint8Array, mark: string): Promise<boolean> {
    return this.#change(key, () => this.#bucket.putOnce(key, body, mark))
  }

  async list(prefix: string): Promise<StoredObject[]> {
    return await this.#process.step('list', prefix, () => this.#bucket.list(prefix))
  }

  async delete(keys: readonly string[]): Promise<void> {
    await this.#change(keys.join(), () => this.#bucket.delete(keys))
  }

  async check(): Promise<void> {
    await this.list('')
  }

  async close(): Promise<void> {
    await Promise.resolve()
  }

  async #change<Result>(key: string, act: () => Promise<Result>): Promise<Result> {
    return await this.#process.step('put', key, act, (fails) => {
      if (fails && this.#random.integer(2) === 0) void act()
    })
  }
}
