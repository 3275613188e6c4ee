/** A data folder that an engine made, and copies of it to be damaged: what the tests of `freshet verify` run on. */
import { createHash } from 'node:crypto'
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import type { VerifyReport } from '../../src/app/verify/report.ts'
import { verifyDataFolder } from '../../src/app/verify/verify.ts'
import type { BucketPlan } from '../../src/config/plan.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { readManifestList } from '../../src/lake/manifest.ts'
import { currentSnapshot } from '../../src/lake/metadata.ts'
import { keyOf } from '../../src/lake/table-paths.ts'
import { openDataFolder } from '../../src/runtime/data-folder.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import type { Finding } from '../../src/runtime/finding.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { Lab, trade, tradeEvents, type LabEvent } from './engine-harness.ts'

/**
 * Makes the folder: 411 rows on two days from two sites and from nobody, 30 repeats, one dead letter, a heartbeat; behind the table's
 * position four batches of 80 events each, in segments of their own.
 */
export async function verifyLab(): Promise<Lab> {
  const lab = await Lab.open({ segmentBytes: 20_000, plan: { lake: { flushRows: 100 } } })
  await openDataFolder({ dataDir: lab.dir, version: '0.0.0', fileSystem: nodeFileSystem })
  const engine = await lab.start()
  for (const [index, source] of ['site-1', 'site-2', 'site-1', undefined].entries()) {
    // Every batch repeats ten events of the one before it.
    await lab.post('trades', fromSource(tradeEvents(110, { from: index * 100 }), source), source ? { source } : {})
    await engine.caughtUp('trades')
  }
  await lab.post('trades', [
    trade('other day', '2013-10-08T00:00:00.000Z'),
    trade('bad', '2013-10-07T00:00:00.000Z', { size: 'x' }),
  ])
  await lab.post('trades', [], { source: 'site-2', eventTimeMaxMs: Date.parse('2013-10-09') })
  await engine.caughtUp('trades')
  await engine.letters('trades')
  await engine.stop()
  for (let index = 0; index < 4; index++) await lab.post('trades', tradeEvents(80, { from: 1000 + index * 80 }))
  await lab.closeLog()
  return lab
}

function fromSource(events: LabEvent[], source: string | undefined): LabEvent[] {
  return source === undefined
    ? events
    : events.map((event) => ({ ...event, fields: { _source: source, ...event.fields } }))
}

/** A copy of the lab's folder. */
export class FolderCopy {
  readonly dir: string
  readonly #lab: Lab
  readonly #buckets: Record<string, BucketPlan>

  static async of(lab: Lab, buckets: Record<string, BucketPlan> = {}): Promise<FolderCopy> {
    const dir = await mkdtemp(join(tmpdir(), 'freshet-verify-test-'))
    await cp(lab.dir, dir, { recursive: true, filter: (path) => !path.endsWith('.sock') })
    return new FolderCopy(dir, lab, buckets)
  }

  private constructor(dir: string, lab: Lab, buckets: Record<string, BucketPlan>) {
    this.dir = dir
    this.#lab = lab
    this.#buckets = buckets
  }

  verify(options: { deep?: boolean; streams?: string[] } = {}): Promise<VerifyReport> {
    const { deep = false, streams = [] } = options
    const plan = { ...this.#lab.plan(), dataDir: this.dir, buckets: this.#buckets }
    return verifyDataFolder({ plan, streams, deep, onProgress: () => undefined })
  }

  async problems(options: { deep?: boolean } = {}): Promise<Finding[]> {
    const { ok, problems } = await this.verify(options)
    if (ok !== (problems.length === 0)) throw new Error(`ok is ${ok} with ${problems.length} problems`)
    return problems
  }

  async filesIn(folder: string, ending: string): Promise<string[]> {
    const names = await readdir(join(this.dir, folder), { recursive: true })
    return names
      .filter((name) => name.endsWith(ending))
      .toSorted()
      .map((name) => join(this.dir, folder, name))
  }

  lake(): { store: LocalObjectStore; catalog: FileCatalog } {
    const root = join(this.dir, 'lake')
    const store = new LocalObjectStore({ root, fileSystem: nodeFileSystem, random: systemRandom })
    const rootLocation = `file://${this.#lab.lakeDir}`
    return { store, catalog: new FileCatalog({ store, rootLocation, logger: silentLogger }) }
  }

  async newestMetadata(): Promise<string> {
    const table = (await this.lake().catalog.load('trades'))!
    return join(this.dir, `lake/trades/metadata/v${table.version}.metadata.json`)
  }

  async manifestsOfCurrent(): Promise<string[]> {
    const { store, catalog } = this.lake()
    const table = (await catalog.load('trades'))!
    const list = await readManifestList(store, keyOf(table, currentSnapshot(table.metadata)!['manifest-list']))
    return list.map(({ path }) => join(this.dir, 'lake', keyOf(table, path)))
  }

  remove(): Promise<void> {
    return rm(this.dir, { recursive: true, force: true })
  }
}

/** Of all names, times and sizes in a folder. */
export async function digest(dir: string): Promise<string> {
  const names = (await readdir(dir, { recursive: true })).toSorted()
  const hash = createHash('sha256')
  for (const name of names) {
    const found = await stat(join(dir, name))
    hash.update(`${name} ${found.mtimeMs} ${found.size}\n`)
  }
  return hash.digest('hex')
}

/** Changes one bit of a file. */
export async function flip(path: string, offset: number): Promise<void> {
  const bytes = await readFile(path)
  bytes[offset]! ^= 4
  await writeFile(path, bytes)
}

/** Replaces a data file by the rows of `select`, `{file}` being the old one, and makes the new one as long as the old one was. */
export async function replaceRows(path: string, select: string): Promise<void> {
  const before = (await stat(path)).size
  const aside = `${path}.new`
  const rows = select.replaceAll('{file}', `read_parquet('${path}')`)
  await withDuckDB((connection) => connection.run(`COPY (${rows}) TO '${aside}' (FORMAT parquet, COMPRESSION zstd)`))
  const bytes = await readFile(aside)
  await rm(aside)
  // A reader finds the footer from the end of the file, and everything else by its place from the start.
  const footer = bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8)
  const padding = Buffer.alloc(before - bytes.length)
  await writeFile(path, Buffer.concat([bytes.subarray(0, footer), padding, bytes.subarray(footer)]))
}

/** Where the values of a column begin in a data file. */
export async function columnStart(path: string, column: string): Promise<number> {
  const [offset] = await withDuckDB(async (connection) => {
    const result = await connection.runAndReadAll(
      `SELECT coalesce(dictionary_page_offset, data_page_offset) FROM parquet_metadata('${path}') WHERE path_in_schema = '${column}'`,
    )
    return result.getColumns()[0]!
  })
  return Number(offset)
}

async function withDuckDB<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    return await work(connection)
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}
