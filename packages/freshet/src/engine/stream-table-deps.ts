/** What a stream's table works with. */
import type { Column, Plan } from '../config/plan.ts'
import type { DeadLetter } from '../events/dead-letter.ts'
import type { Catalog } from '../lake/catalog.ts'
import type { CommitLimits } from '../lake/commit.ts'
import type { Clock } from '../runtime/clock.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { IdMemory } from './dedup/id-memory.ts'
import type { Database } from './duckdb.ts'
import type { Readers } from './readers.ts'

export interface StreamTableDeps extends CommitLimits {
  plan: Plan
  database: Database
  /** Whoever reads streams' tables. */
  readers: Readers
  catalog: Catalog
  store: ObjectStore
  /** Root folder of the tables, where DuckDB reads data files. */
  lakeDir: string
  tmpDir: string
  /** Where is remembered which ids the tables hold, and the memory for it, which all streams share. */
  idDir: string
  idMemory: IdMemory
  fileSystem: FileSystem
  clock: Clock
  random: Random
  logger: Logger
  /** Takes events that cannot be loaded; resolves once they are durable in their own log. */
  onDeadLetters: (letters: DeadLetter[]) => Promise<void>
  /** Whether the stream has a log, and so a ledger. */
  hasLog: boolean
  /** Of a table whose rows do not come one by one, the columns that it has in any case; left out, the system columns are those. */
  leading?: readonly Column[]
  /** What the table shows has changed: another commit, or other columns. */
  onShown?: () => void
  /** The sources whose reports are not forgotten, however long ago they were seen. */
  keptSources: () => ReadonlySet<string>
  /** The hot rows of a stream were dropped without having been committed, as another engine was first. */
  onOvertaken: () => void
}
