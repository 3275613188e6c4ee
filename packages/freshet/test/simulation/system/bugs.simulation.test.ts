/** The simulation finds every classic bug that is planted: `npm run simulate -- --bug NAME` shows how. */
import { afterAll, describe, expect, test } from 'vitest'
import { bugs } from './bugs.ts'
import { runSeed } from './run-seed.ts'
import { removeScratch } from './scratch-root.ts'

const timeoutMs = 300_000

afterAll(removeScratch)

/** Every bug is found within this many seeds. */
const seedsPerBug = 80

describe('planted bugs are found', () => {
  test.each(Object.entries(bugs))(
    '%s',
    async (_, { breaks, plant }) => {
      let found: string | undefined
      for (let seed = 0; seed < seedsPerBug && found === undefined; seed++) {
        found = (await runSeed(seed, plant())).failure?.invariant
      }
      expect(breaks).toContain(found)
    },
    timeoutMs,
  )
})
