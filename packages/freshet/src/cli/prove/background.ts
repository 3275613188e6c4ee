/** Things that go on beside one another; the first that fails ends all. */
export class Background {
  readonly #stop = new AbortController()
  readonly #running: Promise<void>[] = []
  readonly #onFailure: (error: unknown) => void

  constructor(onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure
  }

  start(task: (stop: AbortSignal) => Promise<void>): void {
    const { signal } = this.#stop
    this.#running.push(
      task(signal).catch((error: unknown) => {
        if (!signal.aborted) this.#onFailure(error)
      }),
    )
  }

  /** Tells all to end, and waits until they have. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#running)
  }
}
