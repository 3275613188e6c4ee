import { fractionOf, Seeded } from './seeded.ts'
import type { ProveEvent } from './workload.ts'

export interface RepeatOptions {
  seed: number
  site: number
  /** Part of the events that is sent twice, from 0 to 1. */
  duplicates: number
}

/** A site keeps no more than this many events to send them again. */
const keptMax = 50_000
/** Of the events that are sent twice: those that are so within one batch, and those that are kept as long as there is room. */
const atOnce = 0.1
const keptLong = 0.5

/** Chooses which events of a site are sent a second time, and when: at once, soon, or at the very end; never in order. */
export class Repeats {
  readonly #options: RepeatOptions
  readonly #random: Seeded
  readonly #soon: ProveEvent[] = []
  readonly #kept: ProveEvent[] = []

  constructor(options: RepeatOptions) {
    this.#options = options
    this.#random = new Seeded(options.seed, 6, options.site)
  }

  get waiting(): number {
    return this.#soon.length + this.#kept.length
  }

  /** The events of a first sending, with those repeated that come twice in one batch. The others are remembered. */
  choose(events: readonly ProveEvent[]): ProveEvent[] {
    const { seed, site, duplicates } = this.#options
    const twice: ProveEvent[] = []
    for (const event of events) {
      if (fractionOf(seed, 7, site, event.n) >= duplicates) continue
      const when = fractionOf(seed, 8, site, event.n)
      if (when < atOnce) twice.push(event)
      else if (when < 1 - keptLong || this.#kept.length >= keptMax) this.#soon.push(event)
      else this.#kept.push(event)
    }
    return twice.length === 0 ? [...events] : [...events, ...twice]
  }

  /** A few that are mixed into a batch of new events. */
  some(most: number): ProveEvent[] {
    return this.#take(this.#soon, Math.min(this.#soon.length, this.#random.integer(most + 1)))
  }

  /** A batch of nothing but repeats, now and then; empty otherwise. */
  batch(events: number): ProveEvent[] {
    return this.#soon.length >= events && this.#random.fraction() < 0.5 ? this.#take(this.#soon, events) : []
  }

  /** A batch of whatever is left, at the end. */
  rest(events: number): ProveEvent[] {
    const pool = this.#soon.length > 0 ? this.#soon : this.#kept
    return this.#take(pool, Math.min(events, pool.length))
  }

  #take(pool: ProveEvent[], count: number): ProveEvent[] {
    const taken: ProveEvent[] = []
    for (; taken.length < count;) {
      const at = this.#random.integer(pool.length)
      taken.push(pool[at]!)
      pool[at] = pool.at(-1)!
      pool.pop()
    }
    return taken
  }
}
