/**
 * Memory that a thread and the process share, used again and again: what is handed over in it is not copied, and no garbage is left by it. Large
 * buffers that come and go make V8 look through all of its memory every few of them, which costs more than the work on them.
 *
 * Whoever takes a room has it alone until it is given back. One that a thread may still be writing to, as it was ended, is never given back.
 */
export class Rooms {
  #free: SharedArrayBuffer[] = []

  /** @returns at least so many bytes, with anything in them */
  take(bytes: number): Uint8Array {
    const found = this.#free.findIndex(({ byteLength }) => byteLength >= bytes)
    const [room] = found < 0 ? [] : this.#free.splice(found, 1)
    return new Uint8Array(room ?? new SharedArrayBuffer(Math.ceil(bytes / roomBytes) * roomBytes))
  }

  /** A room that holds a copy. */
  copyOf(bytes: Uint8Array): Uint8Array {
    const room = this.take(bytes.byteLength).subarray(0, bytes.byteLength)
    room.set(bytes)
    return room
  }

  give({ buffer }: Uint8Array): void {
    if (!(buffer instanceof SharedArrayBuffer)) return
    this.#free.push(buffer)
    if (this.#free.length <= freeMax) return
    const smallest = Math.min(...this.#free.map(({ byteLength }) => byteLength))
    this.#free.splice(
      this.#free.findIndex(({ byteLength }) => byteLength === smallest),
      1,
    )
  }

  /** Lets go of what nobody has taken. */
  clear(): void {
    this.#free = []
  }
}

const roomBytes = 256 * 1024
/** Three batches are under way, each with what goes to the thread and what comes back. */
const freeMax = 6
