/** What happens in a round: drawn from a seed, so that a run can be repeated as far as real processes repeat anything. */
import type { Random } from '../../packages/freshet/src/runtime/random.ts'

export type Role = 'gateway' | 'engine' | 'supervisor'

export interface RoundPlan {
  /**
   * `kill`: kill -9. `freeze`: SIGSTOP, and SIGCONT after a while. `orphan`: the engine is frozen, the supervisor killed and a new server
   * started, before the old engine goes on.
   */
  deed: 'kill' | 'freeze' | 'orphan'
  roles: readonly Role[]
  /** The load goes on this long before, milliseconds. */
  afterMs: number
  /** Then it is waited for this, if it comes soon: a scratch file of a flush, or new metadata of a table. */
  moment: 'any' | 'flush' | 'commit'
  /** How long what is frozen stays so, milliseconds: longer than any part waits for another without asking again. */
  frozenMs: number
}

/** A supervisor takes five deaths of a process within a minute for a crash loop and then waits: that is not what is tested here. */
const deathsMax = 3

const kills: readonly (readonly Role[])[] = [
  ['engine'],
  ['engine'],
  ['engine'],
  ['gateway'],
  ['gateway'],
  ['engine', 'gateway'],
  ['engine', 'gateway'],
  ['supervisor'],
  ['supervisor', 'engine'],
  ['supervisor', 'gateway'],
  ['supervisor', 'gateway', 'engine'],
  ['supervisor', 'gateway', 'engine'],
]
const freezes: readonly Role[] = ['engine', 'engine', 'gateway', 'supervisor']

export class RoundPlanner {
  readonly #random: Random
  #deaths = new Map<Role, number>()

  constructor(random: Random) {
    this.#random = random
  }

  next(): RoundPlan {
    const draw = this.#random.integer(20)
    const deed = draw < 15 ? 'kill' : draw < 18 ? 'freeze' : 'orphan'
    return {
      deed,
      roles: this.#roles(deed),
      afterMs: 300 + this.#random.integer(1500),
      moment: this.#pick(['any', 'flush', 'commit'] as const),
      frozenMs: 500 + this.#random.integer(2500),
    }
  }

  #roles(deed: RoundPlan['deed']): readonly Role[] {
    if (deed === 'freeze') return [this.#pick(freezes)]
    if (deed === 'orphan') return this.#counted(['engine', 'supervisor'])
    const drawn = this.#pick(kills)
    const isTooOften = drawn.some((role) => (this.#deaths.get(role) ?? 0) >= deathsMax)
    return this.#counted(isTooOften && !drawn.includes('supervisor') ? ['supervisor', ...drawn] : drawn)
  }

  #counted(roles: readonly Role[]): readonly Role[] {
    if (roles.includes('supervisor')) this.#deaths = new Map()
    else for (const role of roles) this.#deaths.set(role, (this.#deaths.get(role) ?? 0) + 1)
    return roles
  }

  #pick<Choice>(choices: readonly Choice[]): Choice {
    return choices[this.#random.integer(choices.length)]!
  }
}
