/**
 * The whole system in simulated worlds (I1, I2, I3, I4, I5, I7, I10): see world.ts, run-seed.ts and CONTRIBUTING.md. A seed that fails
 * here is seen again with `npm run simulate -- --from SEED --seeds 1 --verbose`.
 */
import { afterAll, describe, expect, test } from 'vitest'
import { runSeed } from './run-seed.ts'
import { removeScratch } from './scratch-root.ts'

const timeoutMs = 300_000
const seeds = 40

afterAll(removeScratch)

describe('a simulated life, from start over kills, power cuts and failing disks to the end', () => {
  test.each(Array.from({ length: seeds }, (_, seed) => seed))(
    'every invariant holds, seed %i',
    async (seed) => {
      const { failure } = await runSeed(seed)
      expect(failure).toBeUndefined()
    },
    timeoutMs,
  )

  test(
    'a seed replays exactly',
    async () => {
      for (const seed of [2, 6, 9]) {
        const [first, second] = [await runSeed(seed), await runSeed(seed)]
        expect(second).toEqual(first)
      }
    },
    timeoutMs,
  )
})
