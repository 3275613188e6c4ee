/** Bounds the memory that requests in progress hold: bodies being read, batches waiting for the log. */
export class ByteBudget {
  readonly #bytesMax: number
  #held = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get heldBytes(): number {
    return this.#held
  }

  /** False, and nothing taken, when the budget is spent. One holder alone may always go on, however large it is. */
  take(bytes: number): boolean {
    if (this.#held > 0 && this.#held + bytes > this.#bytesMax) return false
    this.#held += bytes
    return true
  }

  give(bytes: number): void {
    this.#held -= bytes
  }
}
