/**
 * `npm run simulate -- --seeds N --from S [--bug NAME] [--verbose]`: runs seeds in worker processes and says what came of them.
 * Exit code 0: every invariant held in every seed; 1: one did not; 2: wrong arguments.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bugs } from './bugs.ts'
import { runSeed, type Counts, type SeedResult } from './run-seed.ts'

interface Settings {
  seeds: number
  from: number
  bug: string | undefined
  verbose: boolean
}

const progressMs = 10_000
/** A worker is replaced after so many seeds: DuckDB keeps some memory of each. */
const seedsPerWorker = 100
/** After so many failures the rest is not worth the wait. */
const failuresMax = 5
const traceShown = 30

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function settingsOf(args: string[]): Settings {
  const { values } = parseArgs({
    args,
    options: {
      seeds: { type: 'string', default: '100' },
      from: { type: 'string', default: '0' },
      bug: { type: 'string' },
      verbose: { type: 'boolean', default: false },
    },
  })
  const seeds = Number(values.seeds)
  const from = Number(values.from)
  if (!Number.isSafeInteger(seeds) || seeds < 1) throw new Error('--seeds must be a whole number from 1')
  if (!Number.isSafeInteger(from) || from < 0) throw new Error('--from must be a whole number from 0')
  if (values.bug !== undefined && !Object.hasOwn(bugs, values.bug)) {
    const known = Object.entries(bugs).map(([name, { summary }]) => `  ${name.padEnd(28)}${summary}`)
    throw new Error(`there is no bug "${values.bug}"; those that can be planted:\n${known.join('\n')}`)
  }
  return { seeds, from, bug: values.bug, verbose: values.verbose }
}

/** Runs one seed for each message, and answers with its result. */
function work(bug: string): void {
  process.on('message', (seed: number) => {
    const plant = bug === '' ? undefined : bugs[bug]!.plant()
    void runSeed(seed, plant).then((result) => process.send!(result))
  })
  process.on('disconnect', () => process.exit(0))
}

class Summary {
  readonly #settings: Settings
  readonly #begunMs = performance.now()
  readonly #counts: Counts = {}
  #done = 0
  #steps = 0
  failures = 0

  constructor(settings: Settings) {
    this.#settings = settings
  }

  note(result: SeedResult): void {
    this.#done++
    this.#steps += result.steps
    for (const [what, count] of Object.entries(result.counts)) this.#counts[what] = (this.#counts[what] ?? 0) + count
    if (this.#settings.verbose) say(`seed ${result.seed}: ${result.steps} steps, trace ${result.digest}`)
    if (result.failure === undefined) return
    this.failures++
    const { invariant, message, trace } = result.failure
    const shown = this.#settings.verbose ? trace : trace.slice(-traceShown)
    say(`\nseed ${result.seed} breaks ${invariant}\n  ${message}\n  the last steps:`)
    for (const line of shown) say(`    ${line}`)
    const { bug } = this.#settings
    const planted = bug === undefined ? '' : ` --bug ${bug}`
    say(`  to see it again: npm run simulate -- --from ${result.seed} --seeds 1 --verbose${planted}\n`)
  }

  progress(): void {
    const seconds = (performance.now() - this.#begunMs) / 1000
    say(`${this.#done} of ${this.#settings.seeds} seeds, ${(this.#done / seconds).toFixed(1)} a second`)
  }

  end(): void {
    const counts = Object.entries(this.#counts).toSorted(([a], [b]) => (a < b ? -1 : 1))
    for (const [what, count] of counts) say(`  ${what.padEnd(20)}${String(count).padStart(9)}`)
    say(`  ${'steps'.padEnd(20)}${String(this.#steps).padStart(9)}`)
    this.progress()
    say(this.failures === 0 ? 'every invariant held' : `${this.failures} seeds broke an invariant`)
  }
}

/** Hands out seeds to the workers until all are done, or enough have failed. */
async function runAll(settings: Settings): Promise<number> {
  const summary = new Summary(settings)
  const enough = settings.bug === undefined ? failuresMax : 1
  let next = settings.from
  const end = settings.from + settings.seeds
  const timer = setInterval(() => summary.progress(), progressMs)
  const workers = Math.min(settings.seeds, Math.max(1, Math.min(4, availableParallelism())))
  await Promise.all(
    Array.from({ length: workers }, async () => {
      let child: ChildProcess | undefined
      let runs = 0
      while (next < end && summary.failures < enough) {
        child ??= fork(fileURLToPath(import.meta.url), ['--worker', settings.bug ?? ''])
        const seed = next++
        const result = await resultOf(child, seed)
        if (result.failure?.invariant === 'crash') child = undefined
        summary.note(result)
        if (++runs % seedsPerWorker !== 0) continue
        child?.disconnect()
        child = undefined
      }
      child?.disconnect()
    }),
  )
  clearInterval(timer)
  summary.end()
  return summary.failures === 0 ? 0 : 1
}

function resultOf(child: ChildProcess, seed: number): Promise<SeedResult> {
  return new Promise((resolve) => {
    const crashed = (code: number | null, signal: string | null): void => {
      child.off('message', answered)
      const message = `the worker process ended (code ${code}, signal ${signal})`
      resolve({ seed, counts: {}, steps: 0, digest: '', failure: { invariant: 'crash', message, trace: [] } })
    }
    const answered = (result: unknown): void => {
      child.off('exit', crashed)
      resolve(result as SeedResult)
    }
    child.once('exit', crashed)
    child.once('message', answered)
    child.send(seed)
  })
}

const [first, ...rest] = process.argv.slice(2)
if (first === '--worker') work(rest[0] ?? '')
else {
  try {
    process.exitCode = await runAll(settingsOf(process.argv.slice(2)))
  } catch (error) {
    process.stderr.write(`simulate: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 2
  }
}
