/**
 * Which data files came from which. When files are compacted, the ids in the old ones are those in the new ones, so runs that name the
 * old ones go on holding the ids of the table: nothing is read again. Each record is a line of its own, with a checksum.
 *
 *     <CRC-32 of the rest, 8 hex digits> {"from":[["<file>",<partition or null>], ...],"to":["<file>", ...]}
 *
 * It is a cache, as the runs are: a record is made after its commit, and one that is missing, torn or dropped for want of room means
 * that the new files are read. A record says what is so of files that never change, so none can become false.
 */
import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { crc32 } from 'node:zlib'

/** A file that was replaced. */
export interface FormerFile {
  key: string
  /** The partition that all its ids belong to; undefined when they may belong to any. */
  partition: number | undefined
}

interface Replacement {
  from: readonly FormerFile[]
  to: readonly string[]
}

/** Replaced files that are remembered. */
const filesMax = 200_000

export class Lineage {
  readonly #path: string
  readonly #filesMax: number
  #replacements: Replacement[] | undefined
  #byFrom = new Map<string, Replacement[]>()
  #byTo = new Map<string, Replacement>()
  #files = 0
  #filesKept = 0

  constructor(path: string, options: { filesMax?: number } = {}) {
    this.#path = path
    this.#filesMax = options.filesMax ?? filesMax
  }

  /** Notes that the ids in `from` are those in `to`. @param table keys of the files that the table has now */
  add(from: readonly FormerFile[], to: readonly string[], table: ReadonlySet<string>): void {
    if (from.length === 0 || to.length === 0) return
    this.#load()
    const replacement = { from, to }
    this.#note(replacement)
    try {
      appendFileSync(this.#path, `\n${lineOf(replacement)}`, { mode: 0o600 })
      if (this.#files > this.#filesMax || this.#files > 2 * this.#filesKept + 1000) this.#tidy(table)
    } catch {
      // With a full disk, say, the files are read again after the next start.
    }
  }

  /** What is known of the files of a table. */
  of(table: ReadonlySet<string>): KnownFiles {
    this.#load()
    return new KnownFiles(table, this.#byFrom, this.#byTo)
  }

  #load(): void {
    if (this.#replacements !== undefined) return
    this.#replacements = []
    for (const replacement of readReplacements(this.#path)) this.#note(replacement)
    this.#filesKept = this.#files
  }

  #note(replacement: Replacement): void {
    this.#replacements!.push(replacement)
    this.#files += replacement.from.length
    for (const { key } of replacement.from) this.#byFrom.set(key, [...(this.#byFrom.get(key) ?? []), replacement])
    for (const key of replacement.to) this.#byTo.set(key, replacement)
  }

  /** Forgets what leads to no file of the table, and the oldest of the rest where there is too much. */
  #tidy(table: ReadonlySet<string>): void {
    const known = this.of(table)
    const kept: Replacement[] = []
    let files = 0
    for (const replacement of this.#replacements!.toReversed()) {
      files += replacement.from.length
      if (files > this.#filesMax) break
      if (replacement.to.every((key) => known.isPresent(key))) kept.unshift(replacement)
      else files -= replacement.from.length
    }
    this.#replacements = []
    this.#byFrom = new Map()
    this.#byTo = new Map()
    this.#files = 0
    for (const replacement of kept) this.#note(replacement)
    this.#filesKept = this.#files
    const temporary = `${this.#path}.new`
    writeFileSync(temporary, kept.map((replacement) => `\n${lineOf(replacement)}`).join(''), { mode: 0o600 })
    renameSync(temporary, this.#path)
  }
}

/** The files of a table, and the ones that these came from. */
export class KnownFiles {
  readonly #table: ReadonlySet<string>
  readonly #byFrom: ReadonlyMap<string, readonly Replacement[]>
  readonly #byTo: ReadonlyMap<string, Replacement>
  readonly #ends = new Map<string, readonly string[] | undefined>()

  constructor(
    table: ReadonlySet<string>,
    byFrom: ReadonlyMap<string, readonly Replacement[]>,
    byTo: ReadonlyMap<string, Replacement>,
  ) {
    this.#table = table
    this.#byFrom = byFrom
    this.#byTo = byTo
  }

  /** Whether all ids of a file are in the table: it is there itself, or all is that came of it. */
  isPresent(key: string): boolean {
    return this.endsOf(key) !== undefined
  }

  /** The files of the table that a file's ids are in; undefined when some may be in none. */
  endsOf(key: string): readonly string[] | undefined {
    if (!this.#ends.has(key)) this.#ends.set(key, this.#findEnds(key))
    return this.#ends.get(key)
  }

  #findEnds(key: string): string[] | undefined {
    if (this.#table.has(key)) return [key]
    for (const { to } of this.#byFrom.get(key) ?? []) {
      const ends = to.map((next) => this.endsOf(next))
      if (ends.every((end) => end !== undefined)) return [...new Set(ends.flat())]
    }
    return undefined
  }

  /** Whether the ids of a file in `partition` are all in those that are `named`. */
  isCovered(key: string, partition: number, named: ReadonlySet<string>, known = new Map<string, boolean>()): boolean {
    let isCovered = named.has(key) ? true : known.get(key)
    const from = this.#byTo.get(key)?.from
    isCovered ??=
      from?.every(
        (former) =>
          (former.partition !== undefined && former.partition !== partition) ||
          this.isCovered(former.key, partition, named, known),
      ) === true
    known.set(key, isCovered)
    return isCovered
  }

  /** The same files under as few names as there are: all that others were made of are called by these. */
  renamed(keys: readonly string[]): string[] {
    const names = new Set(keys)
    for (let next = this.#replaced(names); next !== undefined; next = this.#replaced(names)) {
      for (const { key } of next.from) names.delete(key)
      for (const key of next.to) names.add(key)
    }
    return [...names]
  }

  #replaced(names: ReadonlySet<string>): Replacement | undefined {
    for (const key of names) {
      const found = this.#byFrom.get(key)?.find(({ from }) => from.every((former) => names.has(former.key)))
      if (found !== undefined && !this.#table.has(key)) return found
    }
    return undefined
  }
}

function lineOf({ from, to }: Replacement): string {
  const text = JSON.stringify({ from: from.map(({ key, partition }) => [key, partition ?? null]), to })
  return `${checksum(text)} ${text}`
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0')
}

function readReplacements(path: string): Replacement[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return []
  }
  return text.split('\n').flatMap((line) => {
    const json = line.slice(9)
    if (line.length < 10 || line.slice(0, 8) !== checksum(json)) return []
    const { from, to } = JSON.parse(json) as { from: [string, number | null][]; to: string[] }
    return [{ from: from.map(([key, partition]) => ({ key, partition: partition ?? undefined })), to }]
  })
}
