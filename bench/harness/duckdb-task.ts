/**
 * What bare DuckDB could do at best, in a process of its own with as many threads as the server may use. The time is taken inside
 * the process, around the statement, so starting DuckDB is not counted.
 */
import { availableParallelism } from 'node:os'
import { DuckDBInstance } from '@duckdb/node-api'
import { serveTasks } from './child-task.ts'

export type DuckDbSpec =
  /** NDJSON to one Parquet file. */
  | { work: 'copy'; from: string; to: string }
  /** Parquet files to one, in the order of a column. */
  | { work: 'sort'; files: readonly string[]; by: string; to: string }
  /** What there is in Parquet files of the corpus' events, as one row. */
  | { work: 'digest'; files: readonly string[] }
  /** A view `trades` over Parquet files, for `query`. */
  | { work: 'open'; files: readonly string[] }
  /** Runs a query and fetches its whole answer. */
  | { work: 'query'; sql: string }

export interface DuckDbResult {
  ms: number
  rows: number
  /** Of `digest`: differs where the events or their values do. */
  digest?: string
}

/** What the client sends, column by column: a COPY that has to guess them would be slower. */
const columns = `{id: 'VARCHAR', "at": 'TIMESTAMPTZ', symbol: 'VARCHAR', venue: 'VARCHAR', exchange: 'VARCHAR', currency: 'VARCHAR',
  price: 'DOUBLE', size: 'BIGINT', notional: 'DOUBLE', condition: 'VARCHAR', suspicious: 'BOOLEAN', file: 'VARCHAR', line: 'BIGINT'}`

const instance = await DuckDBInstance.create(':memory:', { threads: String(availableParallelism()) })
const connection = await instance.connect()
await connection.run(`set TimeZone = 'UTC'`)

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

function read(files: readonly string[]): string {
  return `read_parquet([${files.map(quoted).join(', ')}])`
}

async function timed(sql: string): Promise<DuckDbResult> {
  const startedAt = performance.now()
  const reader = await connection.runAndReadAll(sql)
  const rows = reader.getRowObjectsJson()
  return { ms: performance.now() - startedAt, rows: rows.length }
}

async function rowsOf(file: string): Promise<number> {
  const counted = await connection.runAndReadAll(`select count(*)::double from ${read([file])}`)
  return Number(counted.getRows()[0]?.[0])
}

async function digest(files: readonly string[]): Promise<DuckDbResult> {
  const startedAt = performance.now()
  const reader = await connection.runAndReadAll(
    `select count(*)::double, sum(hash(t)::hugeint)::varchar from ${read(files)} as t`,
  )
  const [rows, hashes] = reader.getRows()[0]!
  return { ms: performance.now() - startedAt, rows: Number(rows), digest: String(hashes) }
}

async function work(spec: DuckDbSpec): Promise<DuckDbResult> {
  switch (spec.work) {
    case 'copy': {
      const source = `read_json(${quoted(spec.from)}, format = 'newline_delimited', columns = ${columns})`
      const { ms } = await timed(
        `copy (select * from ${source}) to ${quoted(spec.to)} (format parquet, compression zstd)`,
      )
      return { ms, rows: await rowsOf(spec.to) }
    }
    case 'sort': {
      const { ms } = await timed(
        `copy (select * from ${read(spec.files)} order by ${spec.by}) to ${quoted(spec.to)} (format parquet, compression zstd)`,
      )
      return { ms, rows: await rowsOf(spec.to) }
    }
    case 'digest':
      return digest(spec.files)
    case 'open':
      return timed(`create or replace view trades as select * from ${read(spec.files)}`)
    case 'query':
      return timed(spec.sql)
    default:
      throw new Error(`no such work: ${JSON.stringify(spec satisfies never)}`)
  }
}

serveTasks(work)
