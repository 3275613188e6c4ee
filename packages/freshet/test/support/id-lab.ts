/** A stream's table in memory and its book of ids, which take steps; each load checks that exactly the repeats are found. */
import { deepStrictEqual } from 'node:assert'
import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { IdBook } from '../../src/engine/dedup/id-book.ts'
import type { IdFile, IdSource } from '../../src/engine/dedup/id-files.ts'
import { IdMemory } from '../../src/engine/dedup/id-memory.ts'
import type { Scope } from '../../src/engine/dedup/scan.ts'
import { partitionValueAt } from '../../src/lake/partition.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'

export interface Stored {
  id: string
  /** Milliseconds since 1970. */
  at: number
}

export const hourMs = 3_600_000

export type Step =
  | { kind: 'load'; rows: Stored[]; fails: boolean; bulk: number }
  | { kind: 'rotate' | 'commit' | 'commitElsewhere' | 'replace' | 'foreign' | 'clear' | 'restart' | 'settle' }
  | { kind: 'compact' | 'erase'; which: number; count: number; isKnown: boolean }
  | { kind: 'damage'; which: number; byte: number }

function placeOf({ at }: Stored, scope: Scope): number {
  return scope === 'table' ? 0 : partitionValueAt(scope, BigInt(at) * 1000n)
}

function nameIn(scope: Scope): (row: Stored) => string {
  return (row) => `${placeOf(row, scope)} ${row.id}`
}

/** A stream's table in memory: hot rows, frozen ones, and files by partition. */
class FakeTable implements IdSource {
  scope: Scope
  hot: Stored[] = []
  frozen: Stored[] = []
  stored: { file: IdFile; rows: Stored[] }[] = []
  /** How many data files were read. */
  reads = 0
  #made = 0

  constructor(scope: Scope) {
    this.scope = scope
  }

  get rows(): Stored[] {
    return [...this.hot, ...this.frozen, ...this.stored.flatMap(({ rows }) => rows)]
  }

  files(): IdFile[] {
    return this.stored.map(({ file }) => file)
  }

  async readIds(file: IdFile | undefined, partition: number, onPiece: (ids: Buffer) => Promise<void>): Promise<void> {
    if (file !== undefined) this.reads++
    const all =
      file === undefined ? [...this.hot, ...this.frozen] : this.stored.find((one) => one.file.key === file.key)!.rows
    const rows = all.filter((row) => placeOf(row, this.scope) === partition)
    for (let at = 0; at < rows.length; at += 1000) {
      await onPiece(
        Buffer.from(
          rows
            .slice(at, at + 1000)
            .map(({ id }) => `${id}\n`)
            .join(''),
        ),
      )
    }
  }

  /** Adds rows as files, one a partition; `known` says whether the files tell their partition. */
  addFiles(rows: readonly Stored[], known: boolean): IdFile[] {
    const groups = Map.groupBy(rows, (row) => placeOf(row, this.scope))
    const added = [...groups].map(([place, group]) => {
      const partition = known && this.scope !== 'table' ? place : undefined
      return { file: { key: `f${++this.#made}`, partition, rows: group.length }, rows: group }
    })
    this.stored.push(...added)
    return added.map(({ file }) => file)
  }
}

function chunkOf(rows: readonly Stored[]): Buffer {
  const lines = rows.map(
    ({ id, at }) => `{"_event_id":${JSON.stringify(id)},"_event_time":"${new Date(at).toISOString()}"}\n`,
  )
  return Buffer.from(lines.join(''))
}

/** A table and its book, which takes steps and expects of each load that the repeats in it are found. */
export class Lab {
  readonly table: FakeTable
  readonly memory: IdMemory
  readonly #dir: string
  book: IdBook
  repeated = 0
  #frozenNumber: number | undefined
  #bulks = 0
  /** Names of all rows; made again when others than `load` have changed them. */
  #seen: Set<string> | undefined

  /** @param dir a folder that is removed afterwards */
  constructor(dir: string, scope: Scope, memoryBytes: number) {
    this.#dir = mkdtempSync(join(dir, 'run-'))
    this.table = new FakeTable(scope)
    this.memory = new IdMemory(memoryBytes)
    this.book = this.#open()
  }

  async load(rows: readonly Stored[], fails = false): Promise<number[]> {
    const { table, book } = this
    const bytes = chunkOf(rows)
    const events = book.scan(bytes, rows.length)
    const repeats = await book.repeats(bytes, events)
    const name = nameIn(table.scope)
    const seen = (this.#seen ??= new Set(table.rows.map(name)))
    const added = new Set<string>()
    const wanted = rows.flatMap((one, index) => {
      const known = seen.has(name(one)) || added.has(name(one))
      added.add(name(one))
      return known ? [index] : []
    })
    deepStrictEqual(repeats, wanted)
    this.repeated += repeats.length
    const note = book.prepare(bytes, events, repeats)
    // When the insert fails, the same rows come again later; some of them perhaps never.
    if (fails) return repeats
    const skipped = new Set(repeats)
    table.hot.push(...rows.filter((_, index) => !skipped.has(index)))
    note()
    for (const one of added) seen.add(one)
    return repeats
  }

  rotate(): void {
    if (this.#frozenNumber !== undefined) return
    this.table.frozen = this.table.hot
    this.table.hot = []
    this.#frozenNumber = this.book.rotate()
  }

  /** Commits the frozen rows, and perhaps rows of another writer with them. */
  commit(known = true, others: readonly Stored[] = []): void {
    if (this.#frozenNumber === undefined) return
    this.#seen = undefined
    const added = [...this.table.addFiles(this.table.frozen, known), ...this.table.addFiles(others, known)]
    this.table.frozen = []
    this.book.committed(this.#frozenNumber, added)
    this.#frozenNumber = undefined
  }

  /** Another writer makes one file of two and leaves out a row. */
  replace(): void {
    if (this.#frozenNumber === undefined) return
    this.#seen = undefined
    const { table } = this
    const gone = table.stored.splice(0, 2).flatMap(({ rows }) => rows)
    const added = table.addFiles(gone.slice(1), true)
    this.book.committed(this.#frozenNumber, [...table.addFiles(table.frozen, true), ...added])
    this.book.recheck()
    table.frozen = []
    this.#frozenNumber = undefined
  }

  /** Makes others of some files, with the same rows, by partition or not. */
  compact(which: number, count: number, isKnown: boolean): void {
    this.#seen = undefined
    const { table } = this
    const gone = table.stored.splice(which % (table.stored.length || 1), 1 + count)
    const rows = gone.flatMap((one) => one.rows)
    const half = Math.ceil(rows.length / 2)
    const parts = count % 2 === 0 ? [rows] : [rows.slice(0, half), rows.slice(half)]
    const added = parts.flatMap((part) => table.addFiles(part, isKnown))
    this.book.replaced(
      gone.map(({ file }) => file),
      added,
    )
  }

  /** Takes every other row out of some files. */
  erase(which: number, count: number, isKnown: boolean): void {
    this.#seen = undefined
    const { table } = this
    const gone = table.stored.splice(which % (table.stored.length || 1), 1 + count)
    const rows = gone.flatMap((one) => one.rows)
    table.addFiles(
      rows.filter((_, index) => index % 2 === 0),
      isKnown,
    )
    this.book.purge()
  }

  clear(): void {
    this.#seen = undefined
    this.table.hot = []
    this.table.frozen = []
    this.#frozenNumber = undefined
    this.book.clear()
  }

  restart(): void {
    this.book.close()
    if (this.memory.bytes !== 0) throw new Error(`${this.memory.bytes} bytes are still held`)
    this.clear()
    this.book = this.#open()
  }

  changeScope(scope: Scope): void {
    this.table.scope = scope
    this.restart()
  }

  damage(which: number, byte: number): void {
    const runs = this.runs()
    const path = runs[which % runs.length]
    if (path === undefined) return
    const text = Buffer.alloc(1, byte)
    writeFileSync(path, text, { flag: byte % 3 === 0 ? 'a' : 'w' })
  }

  runs(): string[] {
    return this.files('.ids')
  }

  /** What the book has on disk under names that end like this. */
  files(end: string): string[] {
    return readdirSync(this.#dir, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith(end))
      .map((name) => join(this.#dir, name))
  }

  async take(next: Step): Promise<void> {
    switch (next.kind) {
      case 'load': {
        const bulk = Array.from({ length: next.bulk }, (_, index) => ({ id: `bulk ${this.#bulks}-${index}`, at: 0 }))
        if (next.bulk > 0 && next.fails) this.#bulks++
        await this.load([...next.rows, ...bulk], next.fails)
        break
      }
      case 'rotate':
        return this.rotate()
      case 'commit':
        return this.commit()
      case 'commitElsewhere':
        return this.commit(false)
      case 'foreign':
        return this.commit(true, [
          { id: 'id 1', at: 0 },
          { id: 'id 2', at: 24 * hourMs },
        ])
      case 'replace':
        return this.replace()
      case 'compact':
        return this.compact(next.which, next.count, next.isKnown)
      case 'erase':
        return this.erase(next.which, next.count, next.isKnown)
      case 'clear':
        return this.clear()
      case 'restart':
        return this.restart()
      case 'settle':
        return this.book.settled()
      case 'damage':
        return this.damage(next.which, next.byte)
    }
  }

  #open(): IdBook {
    const { table, memory } = this
    return new IdBook({
      scope: table.scope,
      source: table,
      dir: this.#dir,
      memory,
      random: systemRandom,
      logger: silentLogger,
    })
  }
}
