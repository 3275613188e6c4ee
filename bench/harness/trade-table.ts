/** Tables of the corpus' events for `compaction`: data files that DuckDB writes and the lake commits. */
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { systemColumns, type Column, type StreamPlan } from '../../packages/freshet/dist/config/plan.js'
import { partitioning, writeReadyFile } from '../../packages/freshet/dist/engine/data-files.js'
import type { Catalog, LoadedTable } from '../../packages/freshet/dist/lake/catalog.js'
import { appendFiles } from '../../packages/freshet/dist/lake/commit.js'
import { dataFileFrom, type DataFile } from '../../packages/freshet/dist/lake/data-file.js'
import { currentSchema, newTableMetadata } from '../../packages/freshet/dist/lake/metadata.js'
import { partitionFolder } from '../../packages/freshet/dist/lake/partition.js'
import { pathOf } from '../../packages/freshet/dist/lake/table-paths.js'
import { systemClock } from '../../packages/freshet/dist/runtime/clock.js'
import { silentLogger } from '../../packages/freshet/dist/runtime/logging.js'
import { systemRandom } from '../../packages/freshet/dist/runtime/random.js'
import type { ObjectStore } from '../../packages/freshet/dist/storage/object-store.js'
import { readSample } from '../../examples/quickstart/sample.ts'
import { Corpus } from './corpus.ts'

/** Rows of a file as a busy stream writes it. A prime number, so that the multiples of another one below it are all different. */
const fileRows = 250_007
const lines = readSample().length
const scatter = 7919
const filesAtOnce = 3
/** One event every this many microseconds: a billion and a half of them are less than a day. */
const stepMicros = 50
const dayMicros = BigInt(Date.UTC(2013, 9, 7)) * 1000n
const eventTypes = `{id: 'VARCHAR', "at": 'TIMESTAMPTZ', symbol: 'VARCHAR', venue: 'VARCHAR', exchange: 'VARCHAR', currency: 'VARCHAR',
  price: 'DOUBLE', size: 'BIGINT', notional: 'DOUBLE', condition: 'VARCHAR', suspicious: 'BOOLEAN', file: 'VARCHAR', line: 'BIGINT'}`

interface MadeTable {
  rows: number
  bytes: number
}

/**
 * Creates the table of `stream` with files of the corpus' events until they have `bytes` together. All are of one day; each file has its
 * own few seconds of it, in no order, as events of many producers come in. Their ids are as random as UUIDs.
 */
export async function makeTradeTable(
  stream: StreamPlan,
  bytes: number,
  to: { catalog: Catalog; store: ObjectStore; tmpDir: string },
): Promise<MadeTable> {
  const columns = [...systemColumns, ...stream.columns!]
  const instance = await DuckDBInstance.create(':memory:', { memory_limit: '2GB' })
  const connections = await Promise.all(Array.from({ length: filesAtOnce }, () => instance.connect()))
  try {
    await readCorpus(connections[0]!, to.tmpDir)
    const { partition } = stream
    const metadata = newTableMetadata({ columns, partition, clock: systemClock, random: systemRandom })
    const table = await to.catalog.create(stream.name, metadata)
    const dataFiles: DataFile[] = []
    let total = 0
    let begun = 0
    const write = async (connection: DuckDBConnection): Promise<void> => {
      await connection.run(`set TimeZone = 'UTC'`)
      while (total < bytes) {
        const file = await writeFile(connection, table, columns, begun++ * fileRows, to)
        dataFiles.push(file)
        total += file.bytes
      }
    }
    await Promise.all(connections.map(write))
    const deps = { ...to, clock: systemClock, random: systemRandom, logger: silentLogger }
    await appendFiles(deps, { table, dataFiles, from: new Map(), to: new Map([[0, 0n]]) })
    return { rows: dataFiles.length * fileRows, bytes: total }
  } finally {
    for (const connection of connections) connection.closeSync()
    instance.closeSync()
  }
}

/** Every line of the corpus once, as the table `corpus`, numbered from 0. */
async function readCorpus(connection: DuckDBConnection, tmpDir: string): Promise<void> {
  const path = join(tmpDir, 'corpus.ndjson')
  const batch = 500
  await new Corpus().writeFile(path, 0, Math.ceil(lines / batch), { events: batch, overlap: 0 })
  await connection.run(
    `CREATE TABLE corpus AS SELECT row_number() OVER () - 1 AS place, * EXCLUDE (id, "at")
     FROM read_json('${path}', format = 'newline_delimited', columns = ${eventTypes}) LIMIT ${lines}`,
  )
}

async function writeFile(
  connection: DuckDBConnection,
  table: LoadedTable,
  columns: readonly Column[],
  first: number,
  { store, tmpDir }: { store: ObjectStore; tmpDir: string },
): Promise<DataFile> {
  const schema = currentSchema(table.metadata)
  const time = partitioning(table, schema)
  const names = columns.map(({ name }) => `"${name}"`).join(', ')
  const select = `SELECT ${names} FROM (${selectRows(first)}) ORDER BY turn`
  const ready = await writeReadyFile(connection, { random: systemRandom, tmpDir }, { table, schema, columns, select })
  if (ready === undefined) throw new Error('the rows of a file are of one day')
  const where = `data/${partitionFolder(time, ready.partition)}/${systemRandom.hex(16)}.parquet`
  await store.put(join(table.name, where), { file: ready.file })
  return dataFileFrom(ready.statistics, {
    path: pathOf(table, where),
    schema,
    partition: { [time.name]: ready.partition },
  })
}

/** The rows of one file, `turn` being their order in it. */
function selectRows(first: number): string {
  const numbers = `SELECT range AS turn, ${first} + (range * ${scatter}) % ${fileRows} AS n FROM range(${fileRows})`
  const time = `make_timestamptz(${dayMicros} + n * ${stepMicros})`
  const id = `md5(n::VARCHAR)`
  return `SELECT turn, ${id} AS _event_id, ${time} AS _event_time, make_timestamptz(${dayMicros} + turn) AS _received_at,
    'bench' AS _source, NULL::VARCHAR AS _tenant, ${id} AS id, ${time} AS "at", corpus.* EXCLUDE (place)
    FROM (${numbers}) JOIN corpus ON place = n % ${lines}`
}
