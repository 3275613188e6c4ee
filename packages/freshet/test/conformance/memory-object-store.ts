import { readFile, rm } from 'node:fs/promises'
import type { ObjectBody, ObjectStore, RemoteObjectStore, StoredObject } from '../../src/storage/object-store.ts'

/** An object store in memory: tests of what is built on stores run on it, and the conformance suite keeps it honest. */
export class MemoryObjectStore implements ObjectStore {
  readonly objects = new Map<string, Buffer>()
  /** When each was stored; ms since 1970. */
  readonly times = new Map<string, number>()
  /** Keys in the order they were read. */
  readonly reads: string[] = []

  readonly #nowMs: () => number

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs
  }

  async get(key: string, range?: { start: number; end: number }): Promise<Buffer | undefined> {
    checkKey(key)
    this.reads.push(key)
    const object = this.objects.get(key)
    return object && Buffer.from(range === undefined ? object : object.subarray(range.start, range.end))
  }

  async put(key: string, body: ObjectBody): Promise<void> {
    checkKey(key)
    this.times.set(key, this.#nowMs())
    if ('file' in body) {
      this.objects.set(key, await readFile(body.file))
      await rm(body.file)
    } else {
      this.objects.set(key, Buffer.from(body))
    }
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    checkKey(key)
    if (this.objects.has(key)) return false
    this.times.set(key, this.#nowMs())
    this.objects.set(key, Buffer.from(body))
    return true
  }

  async list(prefix: string): Promise<StoredObject[]> {
    const found = [...this.objects].filter(([key]) => key.startsWith(prefix))
    return found
      .map(([key, object]) => ({ key, bytes: object.length, modifiedMs: this.times.get(key) ?? 0 }))
      .toSorted((a, b) => (a.key < b.key ? -1 : 1))
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) checkKey(key)
    for (const key of keys) this.objects.delete(key)
  }
}

/** The same as a bucket elsewhere would be. */
export class MemoryBucket extends MemoryObjectStore implements RemoteObjectStore {
  readonly #marks = new Map<string, { mark: string; object: Buffer }>()

  async putOnce(key: string, body: Uint8Array, mark: string): Promise<boolean> {
    const there = this.objects.get(key)
    if (there !== undefined) {
      const marked = this.#marks.get(key)
      return marked?.object === there && marked.mark === mark
    }
    void this.putIfAbsent(key, body)
    this.#marks.set(key, { mark, object: this.objects.get(key)! })
    return true
  }

  async check(): Promise<void> {
    await Promise.resolve()
  }

  async close(): Promise<void> {
    await Promise.resolve()
  }
}

function checkKey(key: string): void {
  if (key.split('/').some((part) => part === '' || part === '.' || part === '..')) throw new Error(`Bad key ${key}`)
}
