import { join } from 'node:path'
import type { BatchShape } from './corpus.ts'
import type { Lab } from './lab.ts'

/** The name of this limit in results. */
export const copyLimitName = 'DuckDB COPY of the same NDJSON to Parquet'

/** A file of what the client sends, and what DuckDB alone makes of it. */
export class CopyLimit {
  readonly #lab: Lab
  readonly #folder: string
  readonly #events: number

  private constructor(lab: Lab, folder: string, events: number) {
    this.#lab = lab
    this.#folder = folder
    this.#events = events
  }

  static async prepare(lab: Lab, batches: number, shape: BatchShape): Promise<CopyLimit> {
    const folder = lab.folder('copy')
    await lab.corpus.writeFile(join(folder, 'events.ndjson'), 0, batches, shape)
    return new CopyLimit(lab, folder, batches * shape.events)
  }

  /** Runs the COPY once, in a fresh process. @returns events a second @throws Error when rows are missing */
  async measure(): Promise<number> {
    const duckDb = this.#lab.startDuckDb()
    try {
      const { ms, rows } = await duckDb.run({
        work: 'copy',
        from: join(this.#folder, 'events.ndjson'),
        to: join(this.#folder, 'events.parquet'),
      })
      if (rows !== this.#events) throw new Error(`wrong rows: the COPY of ${this.#events} events wrote ${rows}`)
      return rows / (ms / 1000)
    } finally {
      await duckDb.stop()
    }
  }

  remove(): void {
    this.#lab.removeFolder(this.#folder)
  }
}
