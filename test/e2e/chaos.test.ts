/** Ten rounds of what `npm run chaos` does a hundred of. */
import { expect, test } from 'vitest'
import { runChaos } from '../chaos/rounds.ts'

/** A round takes some five seconds; one on a slow machine may take ten times as long. */
const withinMs = 600_000

test(
  'I1 to I7, I10: whatever is killed or stopped under load, and whenever, nothing is lost, doubled or unseen',
  { timeout: withinMs },
  async () => {
    const seed = Math.floor(Math.random() * 2 ** 32)
    console.log(`seed ${seed}`)
    const { reads, kills } = await runChaos({ rounds: 10, seed, say: console.log })
    expect(reads).toBeGreaterThan(0)
    expect(kills).toBeGreaterThan(0)
  },
)
