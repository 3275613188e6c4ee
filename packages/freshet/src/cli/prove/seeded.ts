/** Decisions that depend on a seed alone, so that a run can be repeated. All numbers are 32 bits wide. */

/** A number from 0 to 2^32 - 1 that depends on all of `parts`, whatever order they are asked in (MurmurHash3, 32 bits). */
export function mix(seed: number, ...parts: number[]): number {
  let hash = seed | 0
  for (const part of parts) {
    let word = Math.imul(part, 0xcc9e2d51)
    word = (word << 15) | (word >>> 17)
    hash ^= Math.imul(word, 0x1b873593)
    hash = (hash << 13) | (hash >>> 19)
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0
  }
  hash ^= hash >>> 16
  hash = Math.imul(hash, 0x85ebca6b)
  hash ^= hash >>> 13
  hash = Math.imul(hash, 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** The same as a fraction: at least 0, less than 1. */
export function fractionOf(seed: number, ...parts: number[]): number {
  return mix(seed, ...parts) / 2 ** 32
}

/** A row of numbers that a seed decides. */
export class Seeded {
  readonly #seed: number
  #drawn = 0

  /** `purpose` keeps the rows of one seed apart. */
  constructor(seed: number, ...purpose: number[]) {
    this.#seed = mix(seed, ...purpose)
  }

  /** At least 0, less than 1. */
  fraction(): number {
    return fractionOf(this.#seed, this.#drawn++)
  }

  /** A whole number from 0 up to `below`, which it does not reach. */
  integer(below: number): number {
    return Math.floor(this.fraction() * below)
  }

  /** A number between two others. */
  between(least: number, most: number): number {
    return least + this.fraction() * (most - least)
  }
}
