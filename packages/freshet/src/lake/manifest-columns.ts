import type { ObjectStore } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import { entryStatus, readManifest, type ManifestEntry, type ManifestFile } from './manifest.ts'
import { columnRange, type ColumnRange, type Predicate } from './prune.ts'
import { keyOf } from './table-paths.ts'

/** A data file, as far as conditions on some columns go. */
export interface FileColumns {
  path: string
  /** Partition values by the name of the partition field. */
  partition: Readonly<Record<string, unknown>>
  /** By `columnKey`. */
  ranges: ReadonlyMap<string, ColumnRange>
}

interface Known {
  columns: ReadonlyMap<string, Predicate>
  files: readonly FileColumns[]
}

/** Ranges that are kept: some 150 bytes each. */
const rangesMax = 200_000

export function columnKey({ fieldId, type }: Pick<Predicate, 'fieldId' | 'type'>): string {
  return `${fieldId} ${type}`
}

/**
 * What manifests say of columns that conditions were on lately: a manifest never changes, so it is read once for a column. Those used
 * last are kept, as far as there is room.
 */
export class ManifestColumns {
  readonly #store: ObjectStore
  readonly #rangesMax: number
  readonly #known = new Map<string, Known>()
  #ranges = 0

  constructor(store: ObjectStore, options: { rangesMax?: number } = {}) {
    this.#store = store
    this.#rangesMax = options.rangesMax ?? rangesMax
  }

  /** The live files of a manifest, with the columns of `predicates`. @throws FreshetError `corrupt_table` */
  async filesOf(
    table: LoadedTable,
    manifest: ManifestFile,
    predicates: readonly Predicate[],
  ): Promise<readonly FileColumns[]> {
    const { path } = manifest
    const known = this.#known.get(path)
    if (known && predicates.every((predicate) => known.columns.has(columnKey(predicate)))) {
      this.#known.delete(path)
      this.#known.set(path, known)
      return known.files
    }
    return this.learn(manifest, await readManifest(this.#store, keyOf(table, path), manifest), predicates)
  }

  /** Takes from a manifest that was just read what `filesOf` would read it for. */
  learn(
    { path }: ManifestFile,
    entries: readonly ManifestEntry[],
    predicates: readonly Predicate[],
  ): readonly FileColumns[] {
    const columns = new Map(this.#known.get(path)?.columns)
    for (const predicate of predicates) columns.set(columnKey(predicate), predicate)
    const files = entries
      .filter(({ status }) => status !== entryStatus.deleted)
      .map((entry) => ({
        path: entry.file.path,
        partition: entry.file.partition,
        ranges: new Map([...columns].map(([key, { fieldId, type }]) => [key, columnRange(entry, fieldId, type)])),
      }))
    this.#keep(path, { columns, files })
    return files
  }

  #keep(path: string, known: Known): void {
    this.#forget(path)
    this.#known.set(path, known)
    this.#ranges += sizeOf(known)
    for (const oldest of this.#known.keys()) {
      if (this.#ranges <= this.#rangesMax || oldest === path) break
      this.#forget(oldest)
    }
  }

  #forget(path: string): void {
    const known = this.#known.get(path)
    if (known === undefined) return
    this.#known.delete(path)
    this.#ranges -= sizeOf(known)
  }
}

function sizeOf({ columns, files }: Known): number {
  return files.length * (columns.size + 1)
}
