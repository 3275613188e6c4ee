/** How a stream's ids are looked up in its hot tables and data files, for the book of ids (dedup/id-book.ts). */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { StreamPlan } from '../config/plan.ts'
import { partitionRange } from '../lake/partition.ts'
import type { ScanFile } from '../lake/scan.ts'
import { readJson } from './columns.ts'
import type { FoundId, IdFile, IdSource } from './dedup/id-book.ts'
import type { Scope } from './dedup/scan.ts'
import type { HotTail } from './hot-tail.ts'
import { literal } from './sql-text.ts'

export interface IdSourceOptions {
  /** Used by nobody else while the book is asked. */
  connection: DuckDBConnection
  scope: Scope
  hot: HotTail
  files: () => readonly IdFile[]
  lakeDir: string
  tmpDir: string
}

export function idSource({ connection, scope, hot, files, lakeDir, tmpDir }: IdSourceOptions): IdSource {
  const pathOf = (key: string): string => literal(join(lakeDir, key))

  async function find(relations: readonly string[], ids: readonly string[]): Promise<FoundId[]> {
    const wanted = join(tmpDir, `ids-${process.hrtime.bigint()}.ndjson`)
    await writeFile(wanted, ids.map((id) => `${JSON.stringify({ id })}\n`).join(''))
    try {
      const rows = relations.map((relation) => `SELECT _event_id, _event_time FROM ${relation}`).join(' UNION ALL ')
      const list = readJson(wanted, [{ name: 'id', type: { kind: 'string' } }], 65_536)
      const result = await connection.runAndReadAll(
        `SELECT _event_id, epoch_us(_event_time) FROM (${rows}) WHERE _event_id IN (SELECT id FROM ${list})`,
      )
      return result.getRows().map(([id, timeMicros]) => ({ id: id as string, timeMicros: timeMicros as bigint }))
    } finally {
      await rm(wanted, { force: true })
    }
  }

  return {
    files,
    findHot: (ids) =>
      find(
        hot.tables.map(({ relation }) => relation),
        ids,
      ),
    findInFiles: (keys, ids) => find([`read_parquet([${keys.map(pathOf).join(', ')}])`], ids),
    readIds: async (key, partition, onPiece) => {
      const relations =
        key === undefined ? hot.tables.map(({ relation }) => relation) : [`read_parquet(${pathOf(key)})`]
      for (const relation of relations) {
        const filter = key === undefined && scope !== 'table' ? ` WHERE ${inPartition(scope, partition)}` : ''
        const result = await connection.stream(`SELECT _event_id FROM ${relation}${filter}`)
        for (
          let chunk = await result.fetchChunk();
          chunk !== null && chunk.rowCount > 0;
          chunk = await result.fetchChunk()
        ) {
          onPiece(Buffer.from(`${chunk.getColumnValues(0).join('\n')}\n`))
        }
      }
    },
  }
}

function inPartition(scope: Exclude<Scope, 'table'>, partition: number): string {
  const { from, to } = partitionRange(scope, partition)
  return `epoch_us(_event_time) >= ${from} AND epoch_us(_event_time) < ${to}`
}

/** Where a repeat of an event must be: in the partition of its event time, if the client says that time; else anywhere. */
export function idScope({ partition: { by, unit }, time }: StreamPlan): Scope {
  return by === 'event_time' && time !== null ? unit : 'table'
}

/** A data file, as the book of ids needs it. */
export function idFile({ key, partition: time, partitionValue }: ScanFile, scope: Scope): IdFile {
  const known = time?.column === '_event_time' && time.unit === scope && partitionValue !== null
  return { key, partition: known ? partitionValue : undefined }
}
