/** What can be done to an engine through its store: every change of it can be seen, refused, lost, or be the last one. */
import type { Log } from '../../src/log/log.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import { until, type EngineOptions, type LabEngine } from './engine-harness.ts'

export const never = new Promise<never>(() => undefined)

export type Change = 'put' | 'putIfAbsent' | 'delete'

/** Calls `around` for each change of the store, with what it changes and the change itself. */
export function intercepted(
  store: ObjectStore,
  around: (change: Change, key: string, apply: () => Promise<unknown>) => Promise<unknown>,
): ObjectStore {
  return {
    get: (key, range) => store.get(key, range),
    list: (prefix) => store.list(prefix),
    put: async (key, body) => void (await around('put', key, () => store.put(key, body))),
    putIfAbsent: async (key, body) => (await around('putIfAbsent', key, () => store.putIfAbsent(key, body))) as boolean,
    delete: async (keys) => void (await around('delete', keys.join(), () => store.delete(keys))),
  }
}

/** Stops an engine dead before or after its n-th change of the store: nothing it does from then on gets anywhere. */
export class Freezer {
  changes = 0
  readonly #frozen = Promise.withResolvers<true>()
  #isFrozen = false
  readonly #at: number
  readonly #side: 'before' | 'after'

  constructor(at: number, side: 'before' | 'after') {
    this.#at = at
    this.#side = side
  }

  get frozen(): boolean {
    return this.#isFrozen
  }

  /** Waits until all of a stream's log is committed, or the engine frozen: from then on it may owe an answer for ever. */
  async committedOrFrozen(engine: LabEngine, stream: string): Promise<void> {
    const isCommitted = async (): Promise<boolean> => {
      const { checkpoint, logEnd } = await engine.status(stream)
      return checkpoint === logEnd
    }
    await until('a commit, or the freeze', () => Promise.race([this.#frozen.promise, isCommitted()]))
  }

  get options(): EngineOptions {
    return {
      wrapStore: (store) =>
        intercepted(store, async (_, __, apply) => {
          const mine = ++this.changes === this.#at
          if (this.frozen) return never
          if (mine && this.#side === 'before') return this.#freeze()
          const result = await apply()
          return mine ? this.#freeze() : result
        }),
      wrapLog: (log): Log => ({
        append: (stream, batch) => log.append(stream, batch),
        ends: (stream) => log.ends(stream),
        subscribe: (onGrowth) => log.subscribe(onGrowth),
        read: (...request) => (this.frozen ? never : log.read(...request)),
        trim: (...request) => (this.frozen ? never : log.trim(...request)),
      }),
    }
  }

  #freeze(): Promise<never> {
    this.#isFrozen = true
    this.#frozen.resolve(true)
    return never
  }
}
