/**
 * A growing set of 64-bit hashes that remembers where each came from: open-addressing tables of 32-bit fingerprints with a 16-bit
 * source beside each, each several times as large as the one before. About 9 bytes an id; an id that is not in the set is
 * mistaken for one that is once in hundreds of millions of times, and a hit is only ever a reason to look (I5).
 *
 * A table of 2^n slots takes its slot from the low hash's n low bits and its fingerprint from the high hash, so tables are never
 * rebuilt, and looking an id up costs one probe in each.
 */
/** Small, since a chunk of late events can touch a great many partitions. */
const firstSlots = 1 << 8
const smallSlots = 1 << 16
const smallGrowth = 16
const growth = 4
const loadMax = 0.7

interface Table {
  mask: number
  used: number
  fingerprints: Uint32Array
  sources: Uint16Array
}

/** The largest source number; what has no number of its own is filed under this one. */
export const sourceMax = 0xffff

export class Fingerprints {
  readonly #tables: Table[] = []

  /** Memory held, bytes. */
  get bytes(): number {
    return this.#tables.reduce((sum, table) => sum + (table.mask + 1) * 6, 0)
  }

  /** True when an id with this hash may be in the set; false when none is. */
  has(low: number, high: number): boolean {
    const fingerprint = high === 0 ? 1 : high
    for (let index = this.#tables.length - 1; index >= 0; index--) {
      const { mask, fingerprints } = this.#tables[index]!
      for (let slot = low & mask; fingerprints[slot] !== 0; slot = (slot + 1) & mask) {
        if (fingerprints[slot] === fingerprint) return true
      }
    }
    return false
  }

  /** Every source that an id with this hash may have come from. */
  sources(low: number, high: number): Set<number> {
    const fingerprint = high === 0 ? 1 : high
    const found = new Set<number>()
    for (const { mask, fingerprints, sources } of this.#tables) {
      for (let slot = low & mask; fingerprints[slot] !== 0; slot = (slot + 1) & mask) {
        if (fingerprints[slot] === fingerprint) found.add(sources[slot]!)
      }
    }
    return found
  }

  add(low: number, high: number, source: number): void {
    const table = this.#withRoom()
    const { mask, fingerprints, sources } = table
    let slot = low & mask
    while (fingerprints[slot] !== 0) slot = (slot + 1) & mask
    fingerprints[slot] = high === 0 ? 1 : high
    sources[slot] = source
    table.used++
  }

  #withRoom(): Table {
    const last = this.#tables.at(-1)
    if (last && last.used < (last.mask + 1) * loadMax) return last
    const slots = last ? grown(last.mask + 1) : firstSlots
    const table = { mask: slots - 1, used: 0, fingerprints: new Uint32Array(slots), sources: new Uint16Array(slots) }
    this.#tables.push(table)
    return table
  }
}

function grown(slots: number): number {
  return slots * (slots < smallSlots ? smallGrowth : growth)
}
