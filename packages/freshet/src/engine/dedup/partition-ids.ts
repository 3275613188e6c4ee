/**
 * The ids of one partition: of hot rows, by the flush that takes them, and of data files, in runs. A run says which data files' ids it
 * holds; files that no run speaks of are read, whenever the partition is opened, and what other writers removed is forgotten.
 */
import { Mutex } from '../../runtime/mutex.ts'
import type { IdBookOptions, IdFile } from './id-files.ts'
import { IdSet, type IdSetOptions } from './id-set.ts'
import type { IdTable } from './id-table.ts'
import type { KnownFiles } from './lineage.ts'
import { RunFolder } from './run-folder.ts'
import { UnreadableRun, type Run, type Wanted } from './run.ts'
import { mergeRuns } from './run-writer.ts'
import { IdHash } from './scan.ts'

/** Ids of data files that are in no run yet. */
interface Waiting {
  ids: IdSet
  files: readonly string[]
}

/** Fewer ids than this stay in memory until there are more: after a restart they are read from their data files. */
const runIdsMin = 4096
/** So many runs of about one size become one. */
const mergeRunsMin = 8
const runIdsMax = 2 ** 27
/** How often an unreadable run is replaced before the batch has to be tried again. */
const attemptsMax = 5
const newline = 10

/** What is looked for in a partition. */
export interface WantedIds extends Wanted {
  /** Whether the id of event `index` is in a table. */
  inTable(table: IdTable, index: number): boolean
}

interface PartitionOptions extends IdBookOptions {
  seed: number
  /** The number of the hot rows that new ones are added to. */
  current: () => number
  /** The same files under the names that they have now, where they were replaced. */
  renamed: (files: readonly string[]) => string[]
}

/** The data files that may hold ids of a partition. */
export interface PartitionFiles {
  files: readonly IdFile[]
  known: KnownFiles
}

export class PartitionIds {
  readonly partition: number
  readonly #options: PartitionOptions
  readonly #folder: RunFolder
  readonly #working = new Mutex()
  readonly #hot = new Map<number, IdSet>()
  #waiting: Waiting[] = []
  #runs: Run[] = []
  #opened = false
  /** Whether files may have come or gone since it was opened. */
  #stale = true
  #justOpened = false

  /** @param dir folder of its runs */
  constructor(partition: number, dir: string, options: PartitionOptions) {
    this.partition = partition
    this.#options = options
    this.#folder = new RunFolder(dir, options.random)
  }

  /** True when it holds ids of hot rows, which are in no data file. */
  get hasHot(): boolean {
    return this.#hot.size > 0
  }

  /** Makes room for `count` ids of hot rows, of `bytes` bytes. */
  reserve(count: number, bytes: number): void {
    this.#current.reserve(count, bytes)
  }

  /** Adds ids of hot rows; `fill` adds them to a table that has room for `count` ids of `bytes` bytes. */
  note(count: number, bytes: number, fill: (table: IdTable) => void): void {
    this.#current.add(count, bytes, fill)
  }

  /** The ids of the hot rows that new ones are added to. */
  get #current(): IdSet {
    const number = this.#options.current()
    let ids = this.#hot.get(number)
    if (ids === undefined) this.#hot.set(number, (ids = new IdSet(this.#setOptions)))
    return ids
  }

  /** The hot rows of `number` are in `files` now, unless their count says otherwise: then the files are read when next needed. */
  committed(number: number, files: readonly IdFile[]): void {
    const ids = this.#hot.get(number)
    if (ids === undefined && files.length === 0) return
    this.#hot.delete(number)
    if (ids !== undefined && ids.count === files.reduce((sum, file) => sum + file.rows, 0)) {
      this.#waiting.push({ ids, files: files.map(({ key }) => key) })
    } else {
      ids?.release()
      this.#stale = true
    }
  }

  /** Files may have come or gone otherwise. */
  recheck(): void {
    this.#stale = true
  }

  /** Makes sure that all ids are known of all data files that may hold ids of the partition. */
  async open(table: () => PartitionFiles): Promise<void> {
    if (!this.#stale) return
    const { files, known } = table()
    this.#forgetGone(known)
    if (!this.#opened) {
      const isPresent = (key: string): boolean => known.isPresent(key)
      this.#runs = this.#folder.open(isPresent, this.#options.seed, this.#options.memory)
    }
    this.#opened = true
    await this.#read(this.#uncovered(files, known))
    this.#stale = false
    this.#justOpened = true
  }

  /** Forgets at once, on disk too, what holds ids of files whose ids are not all in the table any more. */
  purge(known: KnownFiles): void {
    this.#forgetGone(known)
    if (!this.#opened) this.#folder.purge((key) => known.isPresent(key), this.#options.seed)
    this.#stale = true
  }

  /**
   * Those of the files whose ids have to be read. What holds a part of such a file's ids, under the name of one that it was made of, is
   * forgotten: so no two runs hold the same ids.
   */
  #uncovered(files: readonly IdFile[], known: KnownFiles): IdFile[] {
    for (;;) {
      const parts = [...this.#runs, ...this.#waiting]
      const named = new Set(parts.flatMap((part) => part.files))
      const uncovered = files.filter(({ key }) => !known.isCovered(key, this.partition, named))
      const alone = new Set([...uncovered.map(({ key }) => key), ...named])
      const overlapping = parts.filter((part) =>
        part.files.some((name) => known.endsOf(name)!.some((end) => end !== name && alone.has(end))),
      )
      if (overlapping.length === 0) return uncovered
      this.#forget(overlapping)
    }
  }

  #forgetGone(known: KnownFiles): void {
    const parts = [...this.#waiting, ...this.#runs]
    this.#forget(parts.filter((part) => part.files.some((file) => !known.isPresent(file))))
  }

  #forget(parts: readonly (Run | Waiting)[]): void {
    const gone = new Set(parts)
    for (const part of gone) {
      if ('ids' in part) part.ids.release()
      else part.discard()
    }
    this.#waiting = this.#waiting.filter((waiting) => !gone.has(waiting))
    this.#runs = this.#runs.filter((run) => !gone.has(run))
  }

  /** Whether it was opened since this was last asked. */
  takeOpened(): boolean {
    const opened = this.#justOpened
    this.#justOpened = false
    return opened
  }

  /** Calls `onFound` with those of the events at `indexes` whose ids are known, some perhaps twice. @param table see `open` */
  async find(
    wanted: WantedIds,
    indexes: readonly number[],
    table: () => PartitionFiles,
    onFound: (index: number) => void,
  ): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.open(table)
        return await this.#find(wanted, indexes, onFound)
      } catch (error) {
        if (!(error instanceof UnreadableRun) || attempt === attemptsMax) throw error
        await this.#replace(error.run)
      }
    }
  }

  /** Writes waiting ids to runs and merges runs, where there are enough of them. @throws Error when it cannot */
  work(): Promise<void> {
    return this.#working.run(async () => {
      try {
        this.#fold()
        for (let next = this.#due(); next !== undefined; next = this.#due()) await next()
      } catch (error) {
        if (error instanceof UnreadableRun) this.#drop(error.run)
        throw error
      }
    })
  }

  /** Frees all memory that it can do without: what is hot goes to disk. @throws Error when it cannot */
  async shrink(): Promise<void> {
    await this.work()
    for (const ids of this.#hot.values()) await ids.spill()
    this.#close()
  }

  /** Forgets all, hot rows included; the runs of data files stay on disk. */
  clear(): void {
    for (const ids of this.#hot.values()) ids.release()
    this.#hot.clear()
    this.#close()
  }

  #close(): void {
    for (const { ids } of this.#waiting) ids.release()
    for (const run of this.#runs) run.close()
    this.#waiting = []
    this.#runs = []
    this.#opened = false
    this.#stale = true
  }

  get #setOptions(): IdSetOptions {
    return { ...this.#options, folder: this.#folder }
  }

  async #find(wanted: WantedIds, indexes: readonly number[], onFound: (index: number) => void): Promise<void> {
    const sets = [...this.#hot.values(), ...this.#waiting.map(({ ids }) => ids)]
    const runs = [...this.#runs, ...sets.flatMap((ids) => ids.pieces)]
    let rest = indexes
    for (const { table } of sets) {
      if (table === undefined) continue
      rest = rest.filter((index) => {
        if (!wanted.inTable(table, index)) return true
        onFound(index)
        return false
      })
    }
    for (const run of runs.toReversed()) {
      const found = new Set<number>()
      await run.find(wanted, run.suspects(wanted, rest), (index) => found.add(index))
      for (const index of found) onFound(index)
      if (found.size > 0) rest = rest.filter((index) => !found.has(index))
    }
  }

  /** Reads the ids of data files. */
  async #read(files: readonly IdFile[]): Promise<void> {
    const { memory } = this.#options
    let ids = new IdSet(this.#setOptions)
    let keys: string[] = []
    try {
      for (const file of files) {
        await this.#readInto(ids, file)
        keys.push(file.key)
        if (ids.tableBytes < memory.tableBytesMax / 2 && ids.pieces.length === 0) continue
        this.#runs.push(await ids.writeAs(keys))
        ids.release()
        ids = new IdSet(this.#setOptions)
        keys = []
      }
    } catch (error) {
      ids.release()
      throw error
    }
    if (keys.length > 0) this.#waiting.push({ ids, files: keys })
  }

  /** @param file a data file, or the hot rows */
  async #readInto(ids: IdSet, file: IdFile | undefined): Promise<void> {
    const { source, memory, seed } = this.#options
    const hash = new IdHash(seed)
    await source.readIds(file, this.partition, async (piece) => {
      ids.add(countOf(piece), piece.length, (table) => {
        let start = 0
        for (let end = 0; end < piece.length; end++) {
          if (piece[end] !== newline) continue
          hash.ofBytes(piece, start, end)
          table.add(hash.low, hash.high, piece, start, end)
          start = end + 1
        }
      })
      if (ids.tableBytes > memory.tableBytesMax) await ids.spill()
    })
  }

  /** Forgets a run that cannot be read, and reads the ids anew, of its data files or of the hot rows. */
  async #replace(run: Run): Promise<void> {
    if (this.#drop(run) !== 'hot') return
    const ids = new IdSet(this.#setOptions)
    await this.#readInto(ids, undefined)
    // Ids of rows that are being committed are among them: when the counts differ, their files are read.
    for (const former of this.#hot.values()) former.release()
    this.#hot.clear()
    this.#hot.set(this.#options.current(), ids)
  }

  /** What held the run: nothing any longer, unless it was hot ids. */
  #drop(run: Run): 'hot' | 'files' | 'nothing' {
    if ([...this.#hot.values()].some((ids) => ids.pieces.includes(run))) return 'hot'
    const waiting = this.#waiting.find(({ ids }) => ids.pieces.includes(run))
    if (waiting === undefined && !this.#runs.includes(run)) return 'nothing'
    this.#options.logger.warn({ file: run.path }, 'remembered ids cannot be read; they are read from the table again')
    waiting?.ids.release()
    if (waiting === undefined) run.discard()
    this.#waiting = this.#waiting.filter((one) => one !== waiting)
    this.#runs = this.#runs.filter((one) => one !== run)
    this.#stale = true
    return 'files'
  }

  /** Makes one of the small sets that wait. */
  #fold(): void {
    const small = this.#waiting.filter(({ ids }) => ids.pieces.length === 0 && ids.count < runIdsMin)
    const [first, ...others] = small
    if (first === undefined || others.length === 0) return
    for (const { ids } of others) {
      if (ids.table !== undefined) first.ids.addAll(ids.table)
      ids.release()
    }
    const folded = { ids: first.ids, files: small.flatMap(({ files }) => files) }
    this.#waiting = [...this.#waiting.filter((waiting) => !small.includes(waiting)), folded]
  }

  #due(): (() => Promise<void>) | undefined {
    const waiting = this.#waiting.find(({ ids }) => ids.pieces.length > 0 || ids.count >= runIdsMin)
    if (waiting !== undefined) return () => this.#settle(waiting)
    const runs = mergeable(this.#runs)
    return runs && (() => this.#merge(runs))
  }

  async #settle(waiting: Waiting): Promise<void> {
    const run = await waiting.ids.writeAs(waiting.files)
    if (!this.#waiting.includes(waiting)) return this.#folder.discard(run)
    this.#waiting = this.#waiting.filter((one) => one !== waiting)
    if (this.#opened) this.#runs.push(run)
    else run.close()
    waiting.ids.release()
  }

  async #merge(runs: readonly Run[]): Promise<void> {
    const { seed, memory } = this.#options
    const files = this.#options.renamed(runs.flatMap((run) => run.files))
    const merged = await this.#folder.write((path) => mergeRuns(runs, { path, seed, memory, files }))
    if (!runs.every((run) => this.#runs.includes(run))) return this.#folder.discard(merged)
    this.#runs = [...this.#runs.filter((run) => !runs.includes(run)), merged]
    for (const run of runs) run.discard()
  }
}

/** Runs of about one size, enough of them to become one. */
function mergeable(runs: readonly Run[]): Run[] | undefined {
  const tiers = Map.groupBy(runs, (run) =>
    Math.floor(Math.log2(Math.max(1, run.shape.count / runIdsMin)) / Math.log2(mergeRunsMin)),
  )
  return [...tiers.values()].find(
    (tier) => tier.length >= mergeRunsMin && tier.reduce((sum, run) => sum + run.shape.count, 0) <= runIdsMax,
  )
}

function countOf(piece: Buffer): number {
  let count = 0
  for (let at = 0; at < piece.length; at++) if (piece[at] === newline) count++
  return count
}
