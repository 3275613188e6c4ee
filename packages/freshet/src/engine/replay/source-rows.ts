/**
 * The events of a source that a replay gives to the code: taken from one state of the source, files and hot rows, into a Parquet file in scratch,
 * so that nothing is held while the code works. Events that come later are taken by another file, which leaves out those of the first.
 */
import { appendFile, writeFile } from 'node:fs/promises'
import type { DuckDBConnection } from '@duckdb/node-api'
import { systemColumns, type Column } from '../../config/plan.ts'
import type { Log } from '../../log/log.ts'
import { readJson } from '../columns.ts'
import type { Database } from '../duckdb.ts'
import { logLine } from '../json-lines.ts'
import type { StreamViews } from '../query/stream-views.ts'
import { identifier, literal } from '../sql-text.ts'
import { inRange, type TimeRange } from './time-range.ts'
import type { TransformPlace } from './transform-runner.ts'

export interface SourceDeps {
  database: Database
  views: Pick<StreamViews, 'enter' | 'openWhole'>
}

/** About so many bytes of lines are given to the code at once. */
const batchBytesMax = 2 * 1024 * 1024
const lineBytesMax = 64 * 1024 * 1024
const lineFeed = 10
/** The lines of frames begin with it, in a log of files. */
const frameStart = '{"_f'
const partition = 0

export interface SourceRequest {
  /** The stream's columns. */
  columns: readonly Column[]
  range: TimeRange
  /** Where the events go. */
  file: string
  /** Files of this kind: what they have is left out. */
  known: readonly string[]
  /** Makes a file of `takeBehind`: likewise. Asked once it is settled what the stream shows, so that it has all of that. */
  takeBehind: () => Promise<string>
}

/**
 * Writes the events of a stream with these times to a file, one row each: `line`, `id` and `time` in microseconds.
 * @returns how many there are, and how many of those in `known` the stream has no longer
 */
export async function takeSource(
  { database, views }: SourceDeps,
  stream: string,
  { columns, range, file, known, takeBehind: behind }: SourceRequest,
): Promise<{ count: number; gone: number }> {
  const leave = views.enter()
  try {
    return await database.with(async (connection) => {
      // On one snapshot, as every query (query/run.ts).
      await connection.run('BEGIN TRANSACTION READ ONLY')
      try {
        await views.openWhole(connection, stream)
        const rows = `SELECT * FROM ${identifier(stream)} WHERE ${inRange('_event_time', range)}`
        const list = `${logLine(columns)} AS line, _event_id AS id, epoch_us(_event_time) AS time`
        const had = known.length === 0 ? '' : ` ANTI JOIN ${readSource(known)} k ON k.id = s.id AND k.time = s.time`
        const taken = `SELECT ${list}, epoch_ms(_received_at) AS arrived FROM (${rows})`
        const later = ` ANTI JOIN ${readBehind(await behind())} b ON b._event_id = s.id AND epoch_ms(b._received_at) = s.arrived`
        const select = `SELECT s.line, s.id, s.time FROM (${taken}) s${had}${later} ORDER BY s.time, s.id`
        const copied = await connection.runAndReadAll(`COPY (${select}) TO ${literal(file)} (FORMAT parquet)`)
        const count = Number(copied.getRows()[0]![0])
        if (known.length === 0) return { count, gone: 0 }
        const gone = await connection.runAndReadAll(
          `SELECT count(*) FROM ${readSource(known)} k ANTI JOIN (SELECT _event_id AS id, epoch_us(_event_time) AS time FROM (${rows})) s ON k.id = s.id AND k.time = s.time`,
        )
        return { count, gone: Number(gone.getRows()[0]![0]) }
      } finally {
        await connection.run('ROLLBACK').catch(() => undefined)
      }
    })
  } finally {
    leave()
  }
}

/**
 * Writes the lines of events that the transform has not taken yet to a file: it will, and what comes of them is not the replay's to say. An event
 * that is sent again is told from its first by when it arrived.
 */
export async function takeBehind(
  log: Pick<Log, 'read'>,
  stream: string,
  place: TransformPlace,
  file: string,
): Promise<void> {
  await writeFile(file, '')
  let seen = 0
  for (let from = place.log; ;) {
    const { bytes, next } = await log.read(stream, partition, from, batchBytesMax)
    if (bytes.length === 0) return
    const kept: Buffer[] = []
    for (
      let start = 0, end = bytes.indexOf(lineFeed);
      end >= 0;
      start = end + 1, end = bytes.indexOf(lineFeed, start)
    ) {
      const line = bytes.subarray(start, end + 1)
      if (line.toString('latin1', 0, frameStart.length) === frameStart || line.length <= 1) continue
      if (seen++ >= place.skip) kept.push(line)
    }
    await appendFile(file, Buffer.concat(kept))
    from = next
  }
}

function readBehind(file: string): string {
  const columns: Column[] = systemColumns.filter(({ name }) => name === '_event_id' || name === '_received_at')
  return readJson(file, columns, lineBytesMax)
}

/** What stands in FROM for the files of `takeSource`. */
export function readSource(files: readonly string[]): string {
  return `read_parquet([${files.map(literal).join(', ')}])`
}

/** The lines of such a file in batches. */
export async function* sourceBatches(
  connection: DuckDBConnection,
  file: string,
): AsyncGenerator<{ lines: Buffer; count: number }> {
  const result = await connection.stream(`SELECT line FROM ${readSource([file])}`)
  let lines: string[] = []
  let length = 0
  for (let rows = await result.fetchChunk(); rows !== null && rows.rowCount > 0; rows = await result.fetchChunk()) {
    for (const line of rows.getColumnValues(0)) {
      lines.push(line as string)
      length += (line as string).length + 1
      if (length < batchBytesMax) continue
      yield { lines: Buffer.from(`${lines.join('\n')}\n`), count: lines.length }
      lines = []
      length = 0
    }
  }
  if (lines.length > 0) yield { lines: Buffer.from(`${lines.join('\n')}\n`), count: lines.length }
}
