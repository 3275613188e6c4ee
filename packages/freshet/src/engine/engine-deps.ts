/** What an engine works with, and what it can be told. */
import type { Plan } from '../config/plan.ts'
import type { Catalog } from '../lake/catalog.ts'
import type { CommitLimits } from '../lake/commit.ts'
import type { Log, Positions } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import type { Timers } from '../runtime/timers.ts'
import type { SiteReader } from '../sites/site-registry.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { Database } from './duckdb.ts'
import type { SearchLog } from './erasure/search.ts'
import type { serve } from './http.ts'
import type { ReplayAtConsumer } from './letters/replay.ts'
import type { TransformRunner } from './replay/transform-runner.ts'
import type { LoaderDeps } from './stream-loader.ts'

export interface EngineDeps extends Pick<CommitLimits, 'merge'> {
  plan: Plan
  /** Its `append` takes dead letters. */
  log: Log
  /** Begins a new segment of a stream's log; gives the positions behind all that was appended. */
  rollLog: (stream: string) => Promise<Positions>
  catalog: Catalog
  store: ObjectStore
  /** The sites whose reports count. */
  sites: SiteReader
  /** Streams that have a log already, declared or not. */
  existingStreams?: readonly string[]
  /** Folder of the log, where it is one of files. */
  logDir: string
  /** Folder of the tables: what the store's keys are relative to. */
  lakeDir: string
  /** Scratch; emptied at the start. */
  tmpDir: string
  /** What is kept to save work and can be made again; here, which ids the tables hold. */
  cacheDir: string
  /** Where erasures are taken down, and how the log is searched after one; left out, nothing can be erased. */
  erasures?: { dir: string; searchLog: SearchLog }
  /** Where replays of dead letters are taken down, and who is asked about those of consumers; left out, nothing is done with letters. */
  letterReplays?: { dir: string; atConsumer?: ReplayAtConsumer }
  /** Where replays of streams are taken down, and who runs their transforms; left out, no stream is replayed. */
  replays?: { dir: string; transforms: TransformRunner }
  /** The log position below which no consumer of a stream needs anything (I7); left out, nobody but the engine reads the log. */
  heldBy?: LoaderDeps['heldBy']
  /** Path of the unix socket to listen on. */
  socket: string
  fileSystem: FileSystem
  clock: Clock
  timers: Timers
  random: Random
  logger: Logger
  version: string
  /** A simulation has a database of its own, and no socket. */
  openDatabase?: typeof Database.open
  serve?: typeof serve
}

export interface Engine {
  /** Begins to load and to answer. */
  start(): Promise<void>
  /** Stops answering, commits what is hot, and closes. */
  stop(): Promise<void>
}
