import { randomBytes, randomInt } from 'node:crypto'

/** Unpredictable values, injected so that a simulation can repeat them from a seed. */
export interface Random {
  /** `bytes` random bytes in lower-case hex. */
  hex(bytes: number): string
  /** An integer from 0 up to and without `below` (at most 2^48). */
  integer(below: number): number
}

export const systemRandom: Random = {
  hex: (bytes) => randomBytes(bytes).toString('hex'),
  integer: (below) => randomInt(below),
}
