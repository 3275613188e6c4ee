/** The loading side of an engine, in a process of its own: tables of many ids, and what a batch costs them. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { checkConfig } from '../../packages/freshet/dist/config/check.js'
import { IdMemory } from '../../packages/freshet/dist/engine/dedup/id-memory.js'
import { Database } from '../../packages/freshet/dist/engine/duckdb.js'
import { StreamViews } from '../../packages/freshet/dist/engine/query/stream-views.js'
import { Readers } from '../../packages/freshet/dist/engine/readers.js'
import { StreamTable } from '../../packages/freshet/dist/engine/stream-table.js'
import { FileCatalog } from '../../packages/freshet/dist/lake/file-catalog/file-catalog.js'
import { systemClock } from '../../packages/freshet/dist/runtime/clock.js'
import { nodeFileSystem } from '../../packages/freshet/dist/runtime/file-system.js'
import { silentLogger } from '../../packages/freshet/dist/runtime/logging.js'
import { systemRandom } from '../../packages/freshet/dist/runtime/random.js'
import { LocalObjectStore } from '../../packages/freshet/dist/storage/local/local-object-store.js'
import { serveTasks } from './child-task.ts'
import { chunkOf, idStream, idText, makeTable, type IdRange } from './id-table.ts'
import { peakResidentBytes } from './process-tree.ts'

export type DedupeSpec =
  | { work: 'make'; dir: string; table: string; ranges: IdRange[]; fileRows: number }
  | { work: 'open'; dir: string; tables: string[]; idMemoryBytes?: number }
  | { work: 'load'; table: string; day: number; ids: number[] }
  | { work: 'flush'; table: string }
  /** Waits for what goes on in the background after commits. */
  | { work: 'settle'; table: string }
  /** How many rows the table has, and how many of them have one of these ids. */
  | { work: 'count'; table: string; ids: number[] }
  | { work: 'memory' }

export interface DedupeResult {
  ms: number
  /** Of `load`: events that were repeats. Of `count`: rows with one of the ids. */
  found: number
  rows: number
  /** Of `memory`: the most that ids have taken, what they may take, and the most of the whole process. */
  idBytes: number
  idBytesMax: number
  residentBytes: number
}

const nothing: DedupeResult = { ms: 0, found: 0, rows: 0, idBytes: 0, idBytesMax: 0, residentBytes: 0 }
const tables = new Map<string, StreamTable>()
let memory: IdMemory | undefined
let database: Database | undefined
let views: StreamViews | undefined

function foldersAt(dir: string) {
  const folders = { lakeDir: join(dir, 'lake'), tmpDir: join(dir, 'tmp'), idDir: join(dir, 'cache', 'ids') }
  for (const path of Object.values(folders)) mkdirSync(path, { recursive: true })
  const { lakeDir } = folders
  const store = new LocalObjectStore({ root: lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
  const catalog = new FileCatalog({ store, rootLocation: pathToFileURL(lakeDir).href, logger: silentLogger })
  return { ...folders, store, catalog }
}

async function open(dir: string, names: readonly string[], idMemoryBytes: number | undefined): Promise<void> {
  const plan = checkConfig({}, { baseDir: dir, cwd: dir, mode: 'start', overrides: {} })
  const at = foldersAt(dir)
  memory = new IdMemory(idMemoryBytes ?? plan.engine.idMemoryBytes)
  database = await Database.open({ ...plan.engine, ...at, logDir: join(dir, 'log') })
  const readers = new Readers()
  const { store, lakeDir } = at
  views = new StreamViews({
    store,
    lakeDir,
    readers,
    stateOf: (stream, generation) => tables.get(stream)?.stateAt(generation),
  })
  for (const name of names) {
    const table = await StreamTable.open(idStream(name), {
      ...at,
      plan,
      database,
      idMemory: memory,
      fileSystem: nodeFileSystem,
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      hasLog: false,
      readers,
      keptSources: () => new Set(),
      onDeadLetters: () => Promise.reject(new Error('there are no dead letters here')),
      onOvertaken: () => {},
    })
    tables.set(name, table)
  }
}

async function work(spec: DedupeSpec): Promise<DedupeResult> {
  switch (spec.work) {
    case 'make':
      await makeTable(spec.table, spec.ranges, spec.fileRows, foldersAt(spec.dir))
      return nothing
    case 'open': {
      const startedAt = performance.now()
      await open(spec.dir, spec.tables, spec.idMemoryBytes)
      return { ...nothing, ms: performance.now() - startedAt }
    }
    case 'load': {
      const table = tables.get(spec.table)!
      const chunk = chunkOf(spec.day, spec.ids, table.position)
      const startedAt = performance.now()
      const { repeats, loaded } = await table.load(chunk, table.position)
      return { ...nothing, ms: performance.now() - startedAt, found: repeats, rows: loaded }
    }
    case 'flush': {
      const startedAt = performance.now()
      await tables.get(spec.table)!.flush()
      return { ...nothing, ms: performance.now() - startedAt }
    }
    case 'settle': {
      const startedAt = performance.now()
      await tables.get(spec.table)!.settled()
      return { ...nothing, ms: performance.now() - startedAt }
    }
    case 'count':
      return count(spec.table, spec.ids)
    case 'memory':
      return {
        ...nothing,
        idBytes: memory!.peakBytes,
        idBytesMax: memory!.bytesMax,
        residentBytes: peakResidentBytes(process.pid),
      }
    default:
      throw new Error(`no such work: ${JSON.stringify(spec satisfies never)}`)
  }
}

async function count(table: string, ids: readonly number[]): Promise<DedupeResult> {
  return database!.with(async (connection) => {
    const numberOf = async (sql: string): Promise<number> =>
      Number((await connection.runAndReadAll(sql)).getRows()[0]?.[0])
    await connection.run('CREATE OR REPLACE TEMP TABLE wanted (id VARCHAR)')
    for (let at = 0; at < ids.length; at += 10_000) {
      const values = ids.slice(at, at + 10_000).map((id) => `('${idText(id)}')`)
      await connection.run(`INSERT INTO wanted VALUES ${values.join(', ')}`)
    }
    await connection.run('BEGIN TRANSACTION READ ONLY')
    await views!.openWhole(connection, table)
    const rows = await numberOf(`SELECT count(*)::DOUBLE FROM ${table}`)
    const found = await numberOf(`SELECT count(*)::DOUBLE FROM ${table} WHERE _event_id IN (SELECT id FROM wanted)`)
    return { ...nothing, rows, found }
  })
}

serveTasks(work)
