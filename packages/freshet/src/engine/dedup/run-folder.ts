/** The runs of one partition on disk. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Random } from '../../runtime/random.ts'
import type { IdMemory } from './id-memory.ts'
import { readRunFile } from './run-file.ts'
import { Run } from './run.ts'

const suffix = '.ids'

export class RunFolder {
  readonly #dir: string
  readonly #random: Random
  /** Files that are being written, or that only a set knows. */
  readonly #busy = new Set<string>()

  constructor(dir: string, random: Random) {
    this.#dir = dir
    this.#random = random
  }

  /** Has `work` write a run to a new file. One without data files stays what only the caller knows. */
  async write(work: (path: string) => Promise<Run>): Promise<Run> {
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 })
    const path = join(this.#dir, `${this.#random.hex(8)}${suffix}`)
    this.#busy.add(path)
    try {
      const run = await work(path)
      if (run.files.length > 0) this.#busy.delete(path)
      return run
    } catch (error) {
      this.#busy.delete(path)
      throw error
    }
  }

  /** Removes a run. */
  discard(run: Run): void {
    run.discard()
    this.#busy.delete(run.path)
  }

  /**
   * The runs in the folder that hold ids of present files only, of each file once. All others are removed: they are left over from a
   * crash or a merge, or speak of files that the table has no longer.
   */
  open(isPresent: (file: string) => boolean, seed: number, memory: IdMemory): Run[] {
    const found: Run[] = []
    for (const path of this.#paths()) {
      const run = Run.open(path, seed, memory)
      if (run === undefined) rmSync(path, { force: true })
      else found.push(run)
    }
    const covered = new Set<string>()
    return found
      .toSorted((a, b) => b.shape.count - a.shape.count)
      .filter((run) => {
        const wanted = run.files.every((file) => isPresent(file) && !covered.has(file))
        if (wanted) for (const file of run.files) covered.add(file)
        else run.discard()
        return wanted
      })
  }

  /** Removes the runs that hold ids of other than present files, of a folder that is not open. */
  purge(isPresent: (file: string) => boolean, seed: number): void {
    for (const path of this.#paths()) {
      const files = readRunFile(path, seed, () => false)?.footer.files
      if (files === undefined || !files.every(isPresent)) rmSync(path, { force: true })
    }
  }

  #paths(): string[] {
    let names: string[]
    try {
      names = readdirSync(this.#dir)
    } catch {
      return []
    }
    return names.map((name) => join(this.#dir, name)).filter((path) => !this.#busy.has(path))
  }
}
