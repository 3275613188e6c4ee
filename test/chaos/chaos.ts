/** `npm run chaos -- [--rounds N] [--seed S]`: exit code 1 when an invariant did not hold, with the seed and the folder. */
import { parseArgs } from 'node:util'
import { runChaos } from './rounds.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
  },
})
const rounds = Number(values.rounds)
const seed = Number(values.seed)
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
  console.error('--rounds is a whole number from 1 on, --seed one below 2^32')
  process.exit(2)
}

const middle = (samples: readonly number[]): string =>
  `${((samples.toSorted((a, b) => a - b)[samples.length >> 1] ?? 0) / 1000).toFixed(2)} s`
const longest = (samples: readonly number[]): string => `${(Math.max(...samples) / 1000).toFixed(2)} s`

console.log(`${rounds} rounds, seed ${seed}`)
try {
  const { kills, answeredMs, visibleMs, events, reads, readsBehind } = await runChaos({
    rounds,
    seed,
    say: console.log,
  })
  console.log(
    `\n${rounds} rounds, ${kills} processes killed; ${events} events acknowledged, none missing and none twice\n` +
      `SQL answered again after ${middle(answeredMs)} in the middle and ${longest(answeredMs)} at most, ` +
      `with everything after ${middle(visibleMs)} and ${longest(visibleMs)}\n` +
      `${reads} answers checked meanwhile, ${readsBehind} of which said that they were behind; none showed less than one before it`,
  )
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  console.error(`\nnpm run chaos -- --rounds ${rounds} --seed ${seed}`)
  process.exitCode = 1
}
