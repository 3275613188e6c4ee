/**
 * A growing set of ids in memory, exact: an open-addressing table over the ids' own bytes. An id takes its length and some 20 bytes
 * beside it. Entry i is what `low`, `high` and `starts` say of it; entries stay in the order they came.
 */
const slotsMin = 16
const entriesMin = 8
const bytesMin = 256
/** An open-addressing table slows down from here on. */
const loadMax = 0.7
/** From here on arrays grow by an eighth and not by half, so that a large table does not take twice its size. */
const spareMin = 1 << 18

/** Ids with their hashes, one after another in `bytes`: id i lies from `starts[i]` to `starts[i + 1]`. */
export interface IdList {
  count: number
  low: Uint32Array
  high: Uint32Array
  starts: Uint32Array
  bytes: Uint8Array
}

export class IdTable implements IdList {
  count = 0
  low = new Uint32Array(entriesMin)
  high = new Uint32Array(entriesMin)
  starts = new Uint32Array(entriesMin + 1)
  bytes = new Uint8Array(bytesMin)
  /** 0 for a free slot, otherwise an entry's index plus 1; made when an id is first looked for. */
  #slots: Uint32Array | undefined

  /** Memory held, bytes. */
  get memoryBytes(): number {
    return (this.#slots?.byteLength ?? 0) + 3 * this.low.byteLength + this.bytes.byteLength
  }

  /** Whether the id that lies in `source` from `start` to `end`, and hashes to `low` and `high`, is in the set. */
  has(low: number, high: number, source: Uint8Array, start: number, end: number): boolean {
    const slots = (this.#slots ??= this.#slotsFor(this.low.length))
    const mask = slots.length - 1
    const { high: highs } = this
    for (let slot = low & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]! - 1
      if (entry < 0) return false
      if (highs[entry] === high && this.low[entry] === low && this.#same(entry, source, start, end)) return true
    }
  }

  /** Makes room for `count` more ids of together `bytes` bytes. */
  reserve(count: number, bytes: number): void {
    const entries = this.count + count
    if (entries > this.low.length) {
      const room = withSpare(entries, this.low.length)
      this.low = copied(this.low, room)
      this.high = copied(this.high, room)
      this.starts = copied(this.starts, room + 1)
    }
    const used = this.starts[this.count]! + bytes
    if (used > this.bytes.length) {
      const larger = new Uint8Array(withSpare(used, this.bytes.length))
      larger.set(this.bytes.subarray(0, this.starts[this.count]))
      this.bytes = larger
    }
    if (this.#slots !== undefined && entries > this.#slots.length * loadMax) this.#slots = this.#slotsFor(entries)
  }

  /** Adds an id that is not in the set; there has to be room for it. */
  add(low: number, high: number, source: Uint8Array, start: number, end: number): void {
    const entry = this.count++
    const { bytes } = this
    let to = this.starts[entry]!
    for (let at = start; at < end; at++) bytes[to++] = source[at]!
    this.low[entry] = low
    this.high[entry] = high
    this.starts[entry + 1] = to
    if (this.#slots !== undefined) place(this.#slots, low, entry)
  }

  /** Adds the ids of another set, none of which is in this one. */
  addAll(other: IdList): void {
    this.reserve(other.count, other.starts[other.count]!)
    for (let index = 0; index < other.count; index++) {
      this.add(other.low[index]!, other.high[index]!, other.bytes, other.starts[index]!, other.starts[index + 1]!)
    }
  }

  #same(entry: number, source: Uint8Array, start: number, end: number): boolean {
    const { bytes } = this
    const from = this.starts[entry]!
    const length = end - start
    if (this.starts[entry + 1]! - from !== length) return false
    for (let at = 0; at < length; at++) if (bytes[from + at] !== source[start + at]) return false
    return true
  }

  #slotsFor(entries: number): Uint32Array {
    let size = slotsMin
    while (entries > size * loadMax) size *= 2
    const slots = new Uint32Array(size)
    const { low, count } = this
    for (let entry = 0; entry < count; entry++) place(slots, low[entry]!, entry)
    return slots
  }
}

function place(slots: Uint32Array, low: number, entry: number): void {
  const mask = slots.length - 1
  let slot = low & mask
  while (slots[slot] !== 0) slot = (slot + 1) & mask
  slots[slot] = entry + 1
}

function withSpare(needed: number, had: number): number {
  return Math.max(needed, Math.min(2 * had, had + Math.max(spareMin, had >> 3)))
}

function copied(array: Uint32Array, length: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(length)
  larger.set(array.subarray(0, Math.min(array.length, length)))
  return larger
}
