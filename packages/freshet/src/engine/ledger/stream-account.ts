/**
 * A stream's account: what became of every event of the log that was loaded (I6), and how far each source has reported. The part
 * that is not committed yet is frozen, adopted and dropped exactly as the hot rows and the position are, so that account, rows
 * and position always speak of the same events; the part that is, is the table's ledger (lake/ledger.ts).
 *
 * It is taken from the headers of the log's frames, which say how many events a batch has, who sent it and when it arrived. Only
 * repeats and dead letters are looked at one by one.
 */
import type { LedgerDelta } from '../../lake/ledger.ts'
import { LedgerSum, type LedgerRow } from '../../lake/ledger-rows.ts'
import type { TableMetadata } from '../../lake/metadata.ts'
import {
  dropIdleSources,
  noteSource,
  sourcesMax,
  tableSources,
  type Sources,
  type SourceState,
} from '../../lake/sources.ts'
import type { LoggedBatch } from '../../log/log.ts'
import { reportAheadMsMax } from '../../sites/site-registry.ts'
import { tallyBatches, type ChunkFate, type SourceTally } from './batch-tally.ts'

/** Stands for the sources of an hour beyond the first `sourcesPerHourMax`, which are counted together. */
export const otherSources = '*'
export const sourcesPerHourMax = 1000
/** Hours whose sources are remembered. Batches arrive in order of time, but for clocks that are set. */
const hoursMax = 48

export class StreamAccount {
  #loaded = new Entries()
  #frozen: Entries | undefined
  /** Committed, frozen and loaded. */
  #sources = new Map<string, SourceState>()
  readonly #names = new SourceNames()
  readonly #keptSources: () => ReadonlySet<string>

  /** @param keptSources the sources whose reports are not forgotten, however long ago they were seen */
  constructor(keptSources: () => ReadonlySet<string> = () => new Set()) {
    this.#keptSources = keptSources
  }

  /**
   * How far each source has reported, by everything that SQL sees: committed and hot. Live: it changes as chunks are loaded.
   */
  get sources(): Sources {
    return this.#sources
  }

  /** Takes down the batches of a chunk that has been loaded. */
  note(batches: readonly LoggedBatch[], fate: ChunkFate): void {
    const kept = this.#keptSources()
    // An event with a mistyped year must not report a stream complete for ever.
    for (const tally of tallyBatches(batches, fate, reportAheadMsMax)) {
      for (const { hour, accepted, deduplicated, deadLettered } of tally.hours) {
        const source = this.#names.take(tally.source ?? null, hour)
        const committed = accepted - deduplicated - deadLettered
        this.#loaded.rows.add({ source, hour, accepted, committed, deduplicated, deadLettered })
      }
      this.#noteSource(tally, kept)
    }
  }

  /** From now on chunks are taken down anew: a flush has taken the hot rows so far. Returns what its commit adds to the ledger. */
  freeze(): LedgerDelta {
    this.#frozen = this.#loaded
    this.#loaded = new Entries()
    return { rows: this.#frozen.rows.rows(), sources: this.#frozen.sources, keptSources: this.#keptSources() }
  }

  /** The frozen part is in the table. */
  adopted(): void {
    this.#frozen = undefined
  }

  /** Goes back to what the table holds. */
  reset(metadata: TableMetadata | undefined): void {
    this.#loaded = new Entries()
    this.#frozen = undefined
    this.#sources = metadata ? tableSources(metadata) : new Map()
  }

  /** What is loaded and not in the table yet. In `committed` are the hot rows. */
  uncommitted(): LedgerRow[] {
    return new LedgerSum([...(this.#frozen?.rows.rows() ?? []), ...this.#loaded.rows.rows()]).rows()
  }

  /** Under which name the events of a source are counted that arrived in an hour (whole hours since 1970). */
  nameOf(source: string | null, hour: number): string | null {
    return this.#names.nameOf(source, hour)
  }

  #noteSource({ source, lastEventMs, reportedThroughMs, lastArrivalMs }: SourceTally, kept: ReadonlySet<string>): void {
    if (source === undefined) return
    for (const sources of [this.#sources, this.#loaded.sources]) {
      noteSource(sources, source, { lastEventMs, reportedThroughMs, lastArrivalMs })
      if (sources.size >= kept.size + 2 * sourcesMax) dropIdleSources(sources, kept)
    }
  }
}

class Entries {
  readonly rows = new LedgerSum()
  readonly sources = new Map<string, SourceState>()
}

/** Decides which sources have rows of their own. It holds for the life of the engine, whatever happens to the hot rows. */
class SourceNames {
  readonly #byHour = new Map<number, Set<string>>()

  /** The name that events of a source are counted under which arrived in an hour. */
  take(source: string | null, hour: number): string | null {
    if (source === null) return null
    let names = this.#byHour.get(hour)
    if (names === undefined) {
      names = new Set()
      this.#byHour.set(hour, names)
      const oldest = this.#byHour.size > hoursMax ? Math.min(...this.#byHour.keys()) : undefined
      if (oldest !== undefined) this.#byHour.delete(oldest)
    }
    if (names.size < sourcesPerHourMax) names.add(source)
    return this.nameOf(source, hour)
  }

  nameOf(source: string | null, hour: number): string | null {
    const names = this.#byHour.get(hour)
    if (source === null || names === undefined) return source
    return names.size < sourcesPerHourMax || names.has(source) ? source : otherSources
  }
}
