/**
 * A map of bounded size that forgets what was set longest ago. Entries are young or old: when the young ones together weigh
 * `keptWeight` they become the old ones, and what was old before and never set since is forgotten. So the newest entries that
 * weigh `keptWeight` are always there, never more than twice as much is, and each `set` costs the same. (Evicting a Map's first
 * key one at a time does not: finding it takes time in proportion to the keys deleted before it.)
 */
export class RecentMap<Value> {
  readonly #keptWeight: number
  #young = new Map<string, { value: Value; weight: number }>()
  #old = new Map<string, { value: Value; weight: number }>()
  #weight = 0

  constructor(keptWeight: number) {
    this.#keptWeight = keptWeight
  }

  get(key: string): Value | undefined {
    return (this.#young.get(key) ?? this.#old.get(key))?.value
  }

  /** Sets a value, or notes that one was used again or changed its weight. */
  set(key: string, value: Value, weight: number): void {
    const entry = this.#young.get(key)
    this.#weight += weight - (entry?.weight ?? 0)
    if (entry) {
      entry.value = value
      entry.weight = weight
    } else this.#young.set(key, { value, weight })
    if (this.#weight < this.#keptWeight) return
    this.#old = this.#young
    this.#young = new Map()
    this.#weight = 0
  }

  /** Everything remembered, the old before the young. */
  *entries(): Generator<[key: string, value: Value]> {
    for (const [key, { value }] of this.#old) if (!this.#young.has(key)) yield [key, value]
    for (const [key, { value }] of this.#young) yield [key, value]
  }
}
