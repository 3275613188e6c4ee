/** A search for values in Parquet files of which nothing is known but where they are. */
import type { DuckDBConnection } from '@duckdb/node-api'
import { literal } from '../sql-text.ts'

/**
 * Whether a file has rows with one of the texts, but for those of events that arrived later. One that cannot be read counts as such: it is
 * being written, or has gone, which the next search knows.
 * @param texts as JSON writes them, without quotes
 */
export async function textsIn(
  connection: DuckDBConnection,
  path: string,
  { texts, untilMs }: { texts: readonly string[]; untilMs: number },
): Promise<boolean> {
  if (texts.length === 0) return false
  const contained = texts.map((text) => `contains(j, ${literal(text)})`)
  const rows = `SELECT CAST(to_json(r) AS VARCHAR) AS j FROM read_parquet(${literal(path)}) AS r`
  const until = `coalesce(epoch_ms(TRY_CAST(json_extract_string(j, '$._received_at') AS TIMESTAMPTZ)) <= ${untilMs}, true)`
  try {
    const result = await connection.runAndReadAll(
      `SELECT 1 FROM (${rows}) WHERE ${until} AND (${contained.join(' OR ')}) LIMIT 1`,
    )
    return result.currentRowCount > 0
  } catch {
    return true
  }
}
