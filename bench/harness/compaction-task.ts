/** Compaction as an engine does it, with the memory and the threads of its defaults, in a process of its own. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { checkConfig } from '../../packages/freshet/dist/config/check.js'
import type { StreamPlan } from '../../packages/freshet/dist/config/plan.js'
import { Database } from '../../packages/freshet/dist/engine/duckdb.js'
import { planCompactionJob } from '../../packages/freshet/dist/engine/upkeep/compaction.js'
import type { JobDeps, KeptTable, Task } from '../../packages/freshet/dist/engine/upkeep/job.js'
import { ownDatabaseLimits } from '../../packages/freshet/dist/engine/upkeep/own-database.js'
import type { LoadedTable } from '../../packages/freshet/dist/lake/catalog.js'
import { FileCatalog } from '../../packages/freshet/dist/lake/file-catalog/file-catalog.js'
import { planScan, type ScanPlan } from '../../packages/freshet/dist/lake/scan.js'
import { systemClock } from '../../packages/freshet/dist/runtime/clock.js'
import { nodeFileSystem } from '../../packages/freshet/dist/runtime/file-system.js'
import { silentLogger } from '../../packages/freshet/dist/runtime/logging.js'
import { systemRandom } from '../../packages/freshet/dist/runtime/random.js'
import { LocalObjectStore } from '../../packages/freshet/dist/storage/local/local-object-store.js'
import { trades } from '../config/trades.ts'
import { serveTasks } from './child-task.ts'
import { peakResidentBytes } from './process-tree.ts'
import { sum } from './statistics.ts'
import { makeTradeTable } from './trade-table.ts'

export type CompactionSpec =
  | { work: 'make'; dir: string; bytes: number }
  /** Opens the table and plans what is to be done. */
  | { work: 'open'; dir: string }
  /** Runs the next task of the plan. */
  | { work: 'next' }
  /** How the table is. */
  | { work: 'files' }

export interface CompactionResult {
  ms: number
  /** Absolute paths: of `next`, those that were written anew; of `open` and `files`, all of the table. */
  files: string[]
  bytes: number
  rows: number
  /** How many tasks are left. */
  tasks: number
  /** Of `next`: what came of it. */
  filesAfter: number
  bytesAfter: number
  /** The most that this process has had resident so far. */
  residentBytes: number
  /** What the settings let compaction have. */
  memoryBytesMax: number
  threads: number
}

const nothing: CompactionResult = {
  ms: 0,
  files: [],
  bytes: 0,
  rows: 0,
  tasks: 0,
  filesAfter: 0,
  bytesAfter: 0,
  residentBytes: 0,
  memoryBytesMax: 0,
  threads: 0,
}

/** A table that nobody else loads or reads. */
class Kept implements KeptTable {
  readonly stream: StreamPlan
  readonly hasLog = false
  readonly position = 0n
  table: LoadedTable
  readonly #store: JobDeps['store']
  #scan: ScanPlan

  constructor(stream: StreamPlan, store: JobDeps['store'], table: LoadedTable, scan: ScanPlan) {
    this.stream = stream
    this.table = table
    this.#store = store
    this.#scan = scan
  }

  get files(): ScanPlan['files'] {
    return this.#scan.files
  }

  async change(commit: (table: LoadedTable) => Promise<LoadedTable>): Promise<LoadedTable> {
    this.table = await commit(this.table)
    this.#scan = await planScan(this.#store, this.table, { previous: this.#scan })
    return this.table
  }

  refresh(): Promise<boolean> {
    return Promise.resolve(false)
  }

  readersGone(): Promise<void> {
    return Promise.resolve()
  }
}

interface Opened {
  deps: JobDeps
  kept: Kept
  tasks: Task[]
  memoryBytesMax: number
  threads: number
}

let opened: Opened | undefined

function at(dir: string) {
  const plan = checkConfig({ streams: { trades } }, { baseDir: dir, cwd: dir, mode: 'start', overrides: {} })
  const folders = { lakeDir: join(dir, 'lake'), tmpDir: join(dir, 'tmp') }
  for (const path of Object.values(folders)) mkdirSync(path, { recursive: true })
  const { lakeDir } = folders
  const store = new LocalObjectStore({ root: lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
  const catalog = new FileCatalog({ store, rootLocation: pathToFileURL(lakeDir).href, logger: silentLogger })
  return { plan, stream: plan.streams['trades']!, ...folders, store, catalog }
}

/** As `Upkeep` opens its database and asks for the job. */
async function open(dir: string): Promise<Opened> {
  const { plan, stream, lakeDir, tmpDir, store, catalog } = at(dir)
  const { memoryBytes: memoryBytesMax, targetFileBytes } = plan.upkeep
  const limits = ownDatabaseLimits(plan)
  const database = await Database.open({
    ...limits,
    tmpDir,
    lakeDir,
    logDir: join(tmpDir, 'no-log'),
  })
  const deps: JobDeps = {
    store,
    catalog,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    fileSystem: nodeFileSystem,
    lakeDir,
    tmpDir,
    database: () => Promise.resolve(database),
    targetFileBytes,
    snapshots: plan.lake.snapshots,
    orphanAgeMs: plan.upkeep.orphanAgeMs,
    diskFreeBytesMin: plan.limits.diskFreeBytesMin,
    keptSources: () => new Set(),
  }
  const table = await catalog.load(stream.name)
  if (table === undefined) throw new Error(`there is no table ${stream.name}`)
  const kept = new Kept(stream, store, table, await planScan(store, table))
  const { tasks } = await planCompactionJob(deps, kept)
  return { deps, kept, tasks, memoryBytesMax, threads: limits.threads }
}

function state({ deps, kept, tasks, memoryBytesMax, threads }: Opened): CompactionResult {
  return {
    ...nothing,
    files: kept.files.map(({ key }) => join(deps.lakeDir, key)),
    bytes: sum(kept.files.map(({ bytes }) => bytes)),
    rows: sum(kept.files.map(({ recordCount }) => recordCount)),
    tasks: tasks.length,
    residentBytes: peakResidentBytes(process.pid),
    memoryBytesMax,
    threads,
  }
}

async function next(one: Opened): Promise<CompactionResult> {
  const { kept, deps } = one
  const before = kept.files
  const task = one.tasks.shift()!
  const startedAt = performance.now()
  const outcome = await task.run(new AbortController().signal)
  const ms = performance.now() - startedAt
  const left = new Set(kept.files.map(({ path }) => path))
  const anew = before.filter(({ path }) => !left.has(path))
  if (anew.length === 0) throw new Error(`nothing was compacted: ${outcome.reason ?? 'no reason'}`)
  return {
    ...state(one),
    ms,
    files: anew.map(({ key }) => join(deps.lakeDir, key)),
    bytes: sum(anew.map(({ bytes }) => bytes)),
    rows: sum(anew.map(({ recordCount }) => recordCount)),
    filesAfter: outcome.filesAfter ?? 0,
    bytesAfter: outcome.bytesAfter ?? 0,
  }
}

async function work(spec: CompactionSpec): Promise<CompactionResult> {
  switch (spec.work) {
    case 'make': {
      const { stream, ...to } = at(spec.dir)
      return { ...nothing, ...(await makeTradeTable(stream, spec.bytes, to)) }
    }
    case 'open':
      opened = await open(spec.dir)
      return state(opened)
    case 'next':
      return next(opened!)
    case 'files':
      return state(opened!)
    default:
      throw new Error(`no such work: ${JSON.stringify(spec satisfies never)}`)
  }
}

serveTasks(work)
