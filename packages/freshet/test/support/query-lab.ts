/** A query runner over a database of its own, for one test file. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll } from 'vitest'
import { Database } from '../../src/engine/duckdb.ts'
import { QueryRunner, type ResultFormat, type RunnerOptions } from '../../src/engine/query/run.ts'
import { systemRandom } from '../../src/runtime/random.ts'

/** Scratch folder and database of the test file that imports this. */
export let dir: string
export let database: Database

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'freshet-run-'))
  for (const folder of ['tmp', 'lake']) await mkdir(join(dir, folder))
  const options = { memoryBytes: 256 << 20, spillBytesMax: 1 << 30, threads: 2 }
  database = await Database.open({
    ...options,
    tmpDir: join(dir, 'tmp'),
    lakeDir: join(dir, 'lake'),
    logDir: join(dir, 'log'),
  })
  await database.with(async (connection) => {
    await connection.run('CREATE VIEW main.numbers AS SELECT range AS n FROM range(1000000)')
  })
})

afterAll(async () => {
  database.close()
  await rm(dir, { recursive: true })
})

/** The streams are views that are there already. */
const views: RunnerOptions['views'] = {
  enter: () => () => undefined,
  open: async (connection) => {
    await connection.run('BEGIN TRANSACTION READ ONLY')
    return []
  },
  openWhole: async () => undefined,
}

export function runnerWith(options: Partial<RunnerOptions> = {}): QueryRunner {
  return new QueryRunner({
    database,
    views,
    random: systemRandom,
    tmpDir: join(dir, 'tmp'),
    timeoutMs: 60_000,
    rowsMax: 2_000_000,
    concurrency: 4,
    context: () => ({ streams: new Set(['numbers']), systemTables: new Set() }),
    refreshTables: async () => false,
    refreshSystemTables: async () => undefined,
    ready: async () => undefined,
    headers: () => ({}),
    completeThrough: async () => new Map(),
    ...options,
  })
}

export interface Asked {
  format?: ResultFormat
  parameters?: Record<string, unknown>
  signal?: AbortSignal
  runner?: QueryRunner
}

export async function bytesOf(
  sql: string,
  { format = 'json', parameters = {}, signal, runner }: Asked = {},
): Promise<Buffer> {
  const out = new PassThrough({ highWaterMark: 1 << 26 })
  const request = { sql, parameters, format, signal: signal ?? new AbortController().signal }
  await (runner ?? runnerWith()).run(request, { begin: () => out })
  return Buffer.concat(await out.toArray())
}

export const textOf = async (sql: string, asked?: Asked): Promise<string> => (await bytesOf(sql, asked)).toString()

export async function rowsOf(sql: string, asked?: Asked): Promise<Record<string, unknown>[]> {
  return (JSON.parse(await textOf(sql, asked)) as { rows: Record<string, unknown>[] }).rows
}

/** The text of the only value of a result, as JSON writes it. */
export async function jsonOf(expression: string): Promise<string> {
  const text = await textOf(`select ${expression} as v`)
  return /"rows":\[\{"v":(.*)\}\],"rowCount":1\}\n$/s.exec(text)![1]!
}
