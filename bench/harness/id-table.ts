/** Tables full of ids for `dedupe-growth`: data files that DuckDB writes and the lake commits, and batches for them. */
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { join } from 'node:path'
import { systemColumns, type Column, type StreamPlan } from '../../packages/freshet/dist/config/plan.js'
import { writeReadyFile } from '../../packages/freshet/dist/engine/data-files.js'
import type { Catalog } from '../../packages/freshet/dist/lake/catalog.js'
import { appendFiles } from '../../packages/freshet/dist/lake/commit.js'
import { dataFileFrom, type DataFile } from '../../packages/freshet/dist/lake/data-file.js'
import { currentSchema, newTableMetadata } from '../../packages/freshet/dist/lake/metadata.js'
import { pathOf } from '../../packages/freshet/dist/lake/table-paths.js'
import type { Chunk } from '../../packages/freshet/dist/log/log.js'
import { systemClock } from '../../packages/freshet/dist/runtime/clock.js'
import { silentLogger } from '../../packages/freshet/dist/runtime/logging.js'
import { systemRandom } from '../../packages/freshet/dist/runtime/random.js'
import type { ObjectStore } from '../../packages/freshet/dist/storage/object-store.js'

const ownColumns: Column[] = [
  { name: 'symbol', type: { kind: 'string' } },
  { name: 'price', type: { kind: 'double' } },
  { name: 'size', type: { kind: 'long' } },
  { name: 'note', type: { kind: 'string' } },
]
const columns: readonly Column[] = [...systemColumns, ...ownColumns]
const dayMs = 86_400_000
const firstDayMs = Date.UTC(2013, 9, 7)
/** Knuth's multiplicative hash: ids of neighbours have nothing in common at their beginnings. */
const scatter = 2_654_435_761

/** A stream that says its ids and times, partitioned by day. */
export function idStream(name: string): StreamPlan {
  return {
    name,
    schema: {},
    columns: ownColumns,
    open: false,
    id: 'id',
    time: { field: 'at', unit: 'iso' },
    partition: { by: 'event_time', unit: 'day' },
  }
}

/** Consecutive ids from `first` on, in the partition of a day. */
export interface IdRange {
  day: number
  first: number
  count: number
}

/** Id number `number`, below 2^31, as the files have it: 27 bytes. */
export function idText(number: number): string {
  const head = (Math.imul(number, scatter) >>> 0).toString(16).padStart(8, '0')
  return `${head}-trade-${String(number).padStart(12, '0')}`
}

/** Creates a table with these ids, in files of at most `fileRows`. */
export async function makeTable(
  name: string,
  ranges: readonly IdRange[],
  fileRows: number,
  to: { catalog: Catalog; store: ObjectStore; tmpDir: string },
): Promise<void> {
  const plan = idStream(name)
  const instance = await DuckDBInstance.create(':memory:', { memory_limit: '1GB' })
  const connection = await instance.connect()
  try {
    await connection.run(`set TimeZone = 'UTC'`)
    const metadata = newTableMetadata({ columns, partition: plan.partition, clock: systemClock, random: systemRandom })
    const table = await to.catalog.create(name, metadata)
    const dataFiles: DataFile[] = []
    for (const { day, first, count } of ranges) {
      for (let done = 0; done < count; done += fileRows) {
        const part = { day, first: first + done, count: Math.min(fileRows, count - done) }
        dataFiles.push(await writeFile(connection, table, part, to))
      }
    }
    await appendFiles(
      { ...to, clock: systemClock, random: systemRandom, logger: silentLogger },
      { table, dataFiles, from: new Map(), to: new Map([[0, 0n]]) },
    )
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

async function writeFile(
  connection: DuckDBConnection,
  table: Awaited<ReturnType<Catalog['create']>>,
  range: IdRange,
  { store, tmpDir }: { store: ObjectStore; tmpDir: string },
): Promise<DataFile> {
  const schema = currentSchema(table.metadata)
  const select = selectRows(range)
  const ready = await writeReadyFile(connection, { random: systemRandom, tmpDir }, { table, schema, columns, select })
  if (ready === undefined) throw new Error('the rows of a file are of one day')
  const where = `data/_event_time_day=${dayText(range.day)}/${systemRandom.hex(16)}.parquet`
  await store.put(join(table.name, where), { file: ready.file })
  return dataFileFrom(ready.statistics, {
    path: pathOf(table, where),
    schema,
    partition: { _event_time_day: ready.partition },
  })
}

function selectRows({ day, first, count }: IdRange): string {
  const startMs = firstDayMs + day * dayMs
  return `SELECT format('{:08x}', (n * ${scatter}) & 4294967295) || '-trade-' || lpad(n::VARCHAR, 12, '0') AS _event_id,
    make_timestamptz((${startMs} + (n * 7919) % ${dayMs}) * 1000) AS _event_time, make_timestamptz(${startMs} * 1000) AS _received_at,
    NULL::VARCHAR AS _source, NULL::VARCHAR AS _tenant,
    'S' || (n % 1000) AS symbol, (n % 100000) / 100 AS price, n % 5000 AS size, NULL::VARCHAR AS note
    FROM (SELECT range AS n FROM range(${first}, ${first + count}))`
}

function dayText(day: number): string {
  return new Date(firstDayMs + day * dayMs).toISOString().slice(0, 10)
}

/** The log lines of events with these ids, some 250 bytes each, as a chunk that was read from `from`. */
export function chunkOf(day: number, ids: readonly number[], from: bigint): Chunk {
  const receivedAt = new Date(firstDayMs).toISOString()
  const lines = ids.map((number) => {
    const time = new Date(firstDayMs + day * dayMs + ((number * 7919) % dayMs)).toISOString()
    return (
      `{"_event_id":"${idText(number)}","_event_time":"${time}","_received_at":"${receivedAt}","symbol":"S${number % 1000}",` +
      `"price":${(number % 100_000) / 100},"size":${number % 5000},"note":"${'.'.repeat(70)}"}\n`
    )
  })
  const bytes = Buffer.from(lines.join(''))
  return {
    bytes,
    next: from + BigInt(bytes.length),
    count: ids.length,
    batches: [{ count: ids.length, receivedAtMs: firstDayMs, source: undefined, eventTimeMaxMs: undefined }],
    receivedAtMs: firstDayMs,
  }
}
