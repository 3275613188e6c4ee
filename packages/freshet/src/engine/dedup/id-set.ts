/**
 * Ids that belong together: those of the rows that one flush takes, or of data files that are in no run yet. They are in a table in
 * memory, and what has no room there is in runs that only this process knows.
 */
import { Mutex } from '../../runtime/mutex.ts'
import { IdTable, type IdList } from './id-table.ts'
import type { IdMemory } from './id-memory.ts'
import type { RunFolder } from './run-folder.ts'
import type { Run } from './run.ts'
import { mergeRuns, writeRun } from './run-writer.ts'

export interface IdSetOptions {
  seed: number
  memory: IdMemory
  folder: RunFolder
}

export class IdSet {
  table: IdTable | undefined
  readonly #options: IdSetOptions
  readonly #writing = new Mutex()
  #pieces: Run[] = []
  #tableBytes = 0
  #released = false

  constructor(options: IdSetOptions) {
    this.#options = options
  }

  get count(): number {
    return this.#pieces.reduce((sum, run) => sum + run.shape.count, this.table?.count ?? 0)
  }

  /** Memory of the table, bytes. */
  get tableBytes(): number {
    return this.#tableBytes
  }

  /** What of it is on disk. */
  get pieces(): readonly Run[] {
    return this.#pieces
  }

  /** Makes room in memory for `count` more ids of together `bytes` bytes. */
  reserve(count: number, bytes: number): void {
    this.table ??= new IdTable()
    this.table.reserve(count, bytes)
    this.#account()
  }

  /** Adds ids that are not in the set. @param fill adds them to the table, which has room for `count` ids of `bytes` bytes */
  add(count: number, bytes: number, fill: (table: IdTable) => void): void {
    this.reserve(count, bytes)
    fill(this.table!)
  }

  /** Adds the ids of a set that is all in memory. */
  addAll(ids: IdList): void {
    this.add(ids.count, ids.starts[ids.count]!, (table) => table.addAll(ids))
  }

  /** Moves the table to disk. @throws Error when it cannot; the table stays then */
  spill(): Promise<void> {
    return this.#writing.run(async () => {
      const { table } = this
      if (table === undefined || this.#released) return
      const { seed, memory, folder } = this.#options
      const run = await folder.write((path) => writeRun(table, { path, seed, memory, files: undefined }))
      if (this.#released) return folder.discard(run)
      this.#pieces.push(run)
      this.table = undefined
      this.#account()
    })
  }

  /** One run of all its ids, which are those of `files`. The set itself stays as it is. @throws UnreadableRun, Error */
  async writeAs(files: readonly string[]): Promise<Run> {
    if (this.#pieces.length > 0) await this.spill()
    const { seed, memory, folder } = this.#options
    return this.#writing.run(() =>
      folder.write((path) => {
        const options = { path, seed, memory, files }
        const pieces = this.#pieces
        return pieces.length === 0 ? writeRun(this.table ?? new IdTable(), options) : mergeRuns(pieces, options)
      }),
    )
  }

  /** Frees memory and disk. Whoever is looking ids up in it may go on with the table. */
  release(): void {
    this.#released = true
    for (const run of this.#pieces) this.#options.folder.discard(run)
    this.#pieces = []
    this.#options.memory.grow(-this.#tableBytes)
    this.#tableBytes = 0
  }

  #account(): void {
    if (this.#released) return
    const bytes = this.table?.memoryBytes ?? 0
    this.#options.memory.grow(bytes - this.#tableBytes)
    this.#tableBytes = bytes
  }
}
