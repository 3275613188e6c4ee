import type { TableMetadata } from './metadata.ts'

/** A table as the catalog knows it: its metadata, and the version that a commit is compared with. */
export interface LoadedTable {
  name: string
  /** Grows by one with each commit. */
  version: number
  metadata: TableMetadata
}

/** The contract of a catalog: which tables there are, and the compare-and-swap that makes a commit atomic. */
export interface Catalog {
  /** Names of all tables, sorted. */
  tables(): Promise<string[]>
  /** The newest committed state; undefined when there is no such table. */
  load(name: string): Promise<LoadedTable | undefined>
  /** @throws FreshetError `commit_conflict` when the table exists. */
  create(name: string, metadata: TableMetadata): Promise<LoadedTable>
  /**
   * Makes `next` the table's state if `base` still is the newest.
   * @throws FreshetError `commit_conflict` otherwise; nothing changed then, and the newer state is durable.
   */
  commit(base: LoadedTable, next: TableMetadata): Promise<LoadedTable>
}
