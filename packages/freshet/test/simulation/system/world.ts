/**
 * The scheduler of a simulated world. Every effect (a file-system call, a timer, a message, a statement of the database) is a step
 * that becomes ready and waits. One ready step at a time is let go, picked by the seed, after everything that the last one set off
 * in JavaScript has run to its next effect; when none is ready, the clock moves on to the next timer. So the order of effects
 * depends on the seed alone, and a seed replays exactly.
 */
import { createHash } from 'node:crypto'
import { setImmediate as turnOfLoop } from 'node:timers/promises'
import { messageOf } from '../../../src/runtime/errors.ts'
import type { Random } from '../../../src/runtime/random.ts'
import { seededRandom } from '../seeded-random.ts'

/** Whose steps they are; those of one that has ended are never let go. */
export interface Owner {
  readonly name: string
  readonly ended: boolean
}

interface Step {
  owner: Owner
  label: string
  go: () => void
}

interface Timer extends Step {
  dueMs: number
  order: number
}

/** A broken invariant, found by a check. */
export class Violation extends Error {
  readonly invariant: string

  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`)
    this.invariant = invariant
  }
}

const traceKept = 80
const turnsOfServer = 4
/** The simulated time at which a world begins, milliseconds since 1970. */
export const epochMs = 1_763_670_000_000

export class World {
  /** Decides the order of steps, faults, and what actors do. */
  readonly random: Random
  /** Milliseconds that have passed, by a clock that never goes back. */
  elapsedMs = 0
  steps = 0
  /** Called before each step that belongs to a process. */
  beforeStep: (owner: Owner) => void = () => {}
  /** Requests that the HTTP server has: while there are any, it takes more turns of the event loop to come to rest. */
  requests = 0
  /** How long a step takes at most. */
  stepMsMax = 1
  /** Where its real files are: each process of the operating system has another place for them, which the trace does not say. */
  realDir: string | undefined
  readonly #ready: Step[] = []
  #timers: Timer[] = []
  #orders = 0
  #native: Promise<unknown> | undefined
  #failure: Error | undefined
  readonly #hash = createHash('sha256')
  readonly #trace: string[] = []

  constructor(seed: number) {
    this.random = seededRandom(Math.imul(seed + 1, 0x9e3779b1))
  }

  chance(perThousand: number): boolean {
    return this.random.integer(1000) < perThousand
  }

  pick<Value>(values: readonly Value[]): Value {
    return values[this.random.integer(values.length)]!
  }

  /** Resolves when the step is let go. */
  turn(owner: Owner, label: string): Promise<void> {
    return new Promise((resolve) => this.#ready.push({ owner, label, go: resolve }))
  }

  /** A step that does real work outside JavaScript: nothing else goes on meanwhile. */
  async native<Result>(owner: Owner, label: string, act: () => Promise<Result>): Promise<Result> {
    await this.turn(owner, label)
    const done = act()
    this.hold(done)
    return done
  }

  /** Nothing goes on before `work` is done. */
  hold(work: Promise<unknown>): void {
    const before = this.#native
    this.#native = work.then(
      () => before,
      () => before,
    )
  }

  /** Lets `act` go at `ms` from now, unless the function it returns is called before. */
  after(owner: Owner, label: string, ms: number, act: () => void): () => void {
    const timer: Timer = { owner, label, go: act, dueMs: this.elapsedMs + Math.max(0, ms), order: this.#orders++ }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
      const at = this.#ready.indexOf(timer)
      if (at >= 0) this.#ready.splice(at, 1)
    }
  }

  sleep(owner: Owner, label: string, ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(owner, label, ms, resolve))
  }

  /** Notes a line in the trace. */
  note(text: string): void {
    const said = this.realDir === undefined ? text : text.replaceAll(this.realDir, '')
    const line = `${this.elapsedMs.toFixed(1)} ${said}`
    this.#hash.update(line).update('\n')
    if (this.#trace.push(line) > traceKept * 2) this.#trace.splice(0, traceKept)
  }

  /** The last lines of the trace. */
  get trace(): readonly string[] {
    return this.#trace.slice(-traceKept)
  }

  /** A hash of the whole trace; ends it. */
  digest(): string {
    return this.#hash.digest('hex').slice(0, 16)
  }

  /** Ends the world with a failure, from a check outside the main actor. */
  fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(messageOf(error))
  }

  /** Runs the world until `main` has come to an end. @throws what `main` or a check throws */
  async run(main: Promise<void>, stepsMax: number): Promise<void> {
    let over = false
    main.then(
      () => (over = true),
      (error: unknown) => this.fail(error),
    )
    for (;;) {
      await this.#rest()
      if (this.#failure !== undefined) throw this.#failure
      if (over) return
      if (++this.steps > stepsMax)
        throw new Violation('I10', `the world has not come to its end after ${stepsMax} steps`)
      this.#letGo()
    }
  }

  /** Removes the steps of owners that have ended. */
  sweep(): void {
    for (let index = this.#ready.length - 1; index >= 0; index--)
      if (this.#ready[index]!.owner.ended) this.#ready.splice(index, 1)
    this.#timers = this.#timers.filter(({ owner }) => !owner.ended)
  }

  async #rest(): Promise<void> {
    await this.#turnLoop()
    while (this.#native !== undefined) {
      const native = this.#native
      await native
      if (this.#native === native) this.#native = undefined
      await this.#turnLoop()
    }
  }

  async #turnLoop(): Promise<void> {
    const turns = this.requests > 0 ? turnsOfServer : 1
    for (let turn = 0; turn < turns; turn++) await turnOfLoop()
  }

  #letGo(): void {
    this.#makeDueReady()
    const at = this.random.integer(this.#ready.length)
    const step = this.#ready[at]!
    this.beforeStep(step.owner)
    const index = this.#ready.indexOf(step)
    if (index >= 0) this.#ready.splice(index, 1)
    if (step.owner.ended) return
    this.elapsedMs += (this.random.integer(1000) / 1000) * this.stepMsMax
    this.note(`${step.owner.name} ${step.label}`)
    step.go()
  }

  #makeDueReady(): void {
    if (this.#ready.length === 0) {
      if (this.#timers.length === 0) throw new Violation('I10', 'nothing is left to happen, and the run is not over')
      const next = Math.min(...this.#timers.map(({ dueMs }) => dueMs))
      this.elapsedMs = Math.max(this.elapsedMs, next)
    }
    const due = this.#timers.filter(({ dueMs }) => dueMs <= this.elapsedMs)
    if (due.length === 0) return
    this.#timers = this.#timers.filter(({ dueMs }) => dueMs > this.elapsedMs)
    this.#ready.push(...due.toSorted((a, b) => a.dueMs - b.dueMs || a.order - b.order))
  }
}
