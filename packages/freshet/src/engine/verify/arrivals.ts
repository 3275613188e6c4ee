/** The newest event of each object, from the data files of a bucket's stream and what its log has behind them. */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { literal } from '../sql-text.ts'

/** What the newest event of an object says. */
export interface Arrival {
  bucket: string
  key: string
  version: number
  sha256: string
  deleted: boolean
}

const columns = ['bucket', 'key', 'version', 'sha256', 'deleted'] as const

/**
 * Calls `onArrival` once for each object that an event tells of.
 * @param files data files of the stream
 * @param logged events of its log, some perhaps in the files too
 * @returns false when the files lack columns that it takes: then nothing was told
 */
export async function eachArrival(
  connection: DuckDBConnection,
  { files, logged, lakeDir }: { files: readonly string[]; logged: readonly Arrival[]; lakeDir: string },
  onArrival: (arrival: Arrival) => void,
): Promise<boolean> {
  const behind = new Map<string, Arrival>()
  for (const arrival of logged) {
    const known = behind.get(nameOf(arrival))
    if (known === undefined || known.version < arrival.version) behind.set(nameOf(arrival), arrival)
  }
  if (files.length > 0) {
    const paths = files.map((key) => literal(join(lakeDir, key))).join(', ')
    const source = `read_parquet([${paths}], union_by_name = true)`
    const described = await connection.runAndReadAll(`DESCRIBE SELECT * FROM ${source}`)
    const names = new Set(described.getRows().map(([name]) => String(name)))
    if (!columns.every((name) => names.has(name))) return false
    const result = await connection.stream(
      `SELECT bucket, key, max(version), arg_max(sha256, version), arg_max(deleted, version)
       FROM (SELECT bucket, key, TRY_CAST(version AS BIGINT) AS version, sha256, TRY_CAST(deleted AS BOOLEAN) AS deleted
             FROM ${source} WHERE starts_with(_event_id, concat(bucket, '/')))
       WHERE version IS NOT NULL AND deleted IS NOT NULL GROUP BY ALL`,
    )
    for (
      let chunk = await result.fetchChunk();
      chunk !== null && chunk.rowCount > 0;
      chunk = await result.fetchChunk()
    ) {
      for (const [bucket, key, version, sha256, deleted] of chunk.getRows()) {
        const stored: Arrival = {
          bucket: String(bucket),
          key: String(key),
          version: Number(version),
          sha256: String(sha256),
          deleted: deleted === true,
        }
        const later = behind.get(nameOf(stored))
        if (later === undefined || later.version <= stored.version) onArrival(stored)
        else onArrival(later)
        behind.delete(nameOf(stored))
      }
    }
  }
  for (const arrival of behind.values()) onArrival(arrival)
  return true
}

/** What a stored event says of an object; undefined when it is another event. */
export function arrivalOf(event: Readonly<Record<string, unknown>>): Arrival | undefined {
  const { bucket, key, version, sha256, deleted } = event
  if (typeof bucket !== 'string' || typeof key !== 'string' || typeof sha256 !== 'string') return undefined
  if (typeof version !== 'number' || typeof deleted !== 'boolean') return undefined
  return String(event['_event_id']).startsWith(`${bucket}/`) ? { bucket, key, version, sha256, deleted } : undefined
}

function nameOf({ bucket, key }: Arrival): string {
  return `${bucket}/${key}`
}
