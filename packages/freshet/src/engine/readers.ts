/**
 * Who reads the tables at the moment. What a reader may still open, data files above all, is removed only when all have ended that began
 * before it was taken out of sight; those that begin later cannot come upon it.
 */
export class Readers {
  readonly #running = new Set<Promise<void>>()

  /** A reader begins: to be called before it looks at what there is to read. Returns what it calls when it has ended. */
  enter(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#running.add(promise)
    return () => {
      this.#running.delete(promise)
      resolve()
    }
  }

  /** Resolves when all that read now have ended. */
  async gone(): Promise<void> {
    await Promise.all(this.#running)
  }
}
