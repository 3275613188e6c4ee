/** Parquet files for other systems: what sinks of files write. */
import { createReadStream } from 'node:fs'
import { dirname } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import type { Column } from '../config/plan.ts'
import { readJson, storedSelect } from './columns.ts'
import { literal } from './sql-text.ts'

/** DuckDB takes buffers of twice the longest line that it is told of. */
const recordBytesMin = 2 ** 20

/**
 * Makes a Parquet file of an NDJSON file of events, in their order, by a DuckDB that sees only the two folders and ends with it.
 * @param ndjson absolute path of whole log lines
 * @param columns columns of the file; null: inferred from all lines
 * @param target absolute path of a file that is not there yet; not synced when it resolves
 * @param memoryBytes what DuckDB may take
 */
export async function writeParquet(
  ndjson: string,
  columns: readonly Column[] | null,
  target: string,
  memoryBytes = 512 * 2 ** 20,
): Promise<void> {
  const recordBytesMax = Math.max(recordBytesMin, await longestLineBytes(ndjson))
  const instance = await DuckDBInstance.create(':memory:', {
    threads: '1',
    memory_limit: `${Math.floor(memoryBytes / 1024)}KiB`,
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  })
  try {
    const connection = await instance.connect()
    try {
      const folders = [dirname(ndjson), dirname(target)].map((folder) => literal(`${folder}/`))
      await connection.run(`SET allowed_directories = [${folders.join(', ')}]`)
      await connection.run("SET GLOBAL TimeZone = 'UTC'")
      await connection.run('SET enable_external_access = false')
      await connection.run('SET lock_configuration = true')
      const select =
        columns === null
          ? inferred(ndjson, recordBytesMax)
          : `SELECT ${storedSelect(columns)} FROM ${readJson(ndjson, columns, recordBytesMax)}`
      await connection.run(`COPY (${select}) TO ${literal(target)} (FORMAT parquet, COMPRESSION zstd)`)
    } finally {
      connection.closeSync()
    }
  } finally {
    instance.closeSync()
  }
}

function inferred(file: string, recordBytesMax: number): string {
  const times = ['_event_time', '_received_at'].map((name) => `CAST(${name} AS TIMESTAMP WITH TIME ZONE) AS ${name}`)
  const options = `format = 'newline_delimited', sample_size = -1, maximum_object_size = ${recordBytesMax}`
  return `SELECT * REPLACE (${times.join(', ')}) FROM read_json(${literal(file)}, ${options})`
}

/** Bytes of the longest line, with its end. */
async function longestLineBytes(file: string): Promise<number> {
  let longest = 0
  let begun = 0
  for await (const piece of createReadStream(file) as AsyncIterable<Buffer>) {
    let from = 0
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, from)) {
      longest = Math.max(longest, begun + end + 1 - from)
      begun = 0
      from = end + 1
    }
    begun += piece.length - from
  }
  return Math.max(longest, begun)
}
