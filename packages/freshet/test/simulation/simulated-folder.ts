import type { Random } from '../../src/runtime/random.ts'
import type { SimulatedFile } from './simulated-file.ts'

export type Entry = SimulatedFile | SimulatedFolder

/** Names that change together: one for a creation or removal, two for a rename. */
type Change = ReadonlyMap<string, Entry | undefined>

/** A folder's names as processes see them, as the disk has them, and the changes between the two. */
export class SimulatedFolder {
  readonly entries = new Map<string, Entry>()
  #disk = new Map<string, Entry>()
  #changes: Change[] = []

  /** The names that a power cut would leave at least. */
  get durable(): ReadonlyMap<string, Entry> {
    return this.#disk
  }

  /** Sets names (to nothing: removes them) in one step, which a power cut undoes whole or not at all until `sync`. */
  change(change: Change): void {
    apply(this.entries, change)
    this.#changes.push(change)
  }

  sync(): void {
    for (const change of this.#changes) apply(this.#disk, change)
    this.#changes = []
  }

  losePower(random: Random): void {
    for (const change of this.#changes) if (random.integer(2) === 0) apply(this.#disk, change)
    this.#changes = []
    this.entries.clear()
    for (const [name, entry] of this.#disk) {
      this.entries.set(name, entry)
      entry.losePower(random)
    }
  }
}

function apply(entries: Map<string, Entry>, change: Change): void {
  for (const [name, entry] of change) {
    if (entry === undefined) entries.delete(name)
    else entries.set(name, entry)
  }
}
