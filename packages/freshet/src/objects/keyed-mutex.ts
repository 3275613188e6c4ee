import { Mutex } from '../runtime/mutex.ts'

/** Lets one piece of work a key run at a time, in the order they asked. */
export class KeyedMutex {
  readonly #mutexes = new Map<string, { mutex: Mutex; users: number }>()

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    let entry = this.#mutexes.get(key)
    if (entry === undefined) this.#mutexes.set(key, (entry = { mutex: new Mutex(), users: 0 }))
    entry.users++
    try {
      return await entry.mutex.run(work)
    } finally {
      if (--entry.users === 0) this.#mutexes.delete(key)
    }
  }
}
