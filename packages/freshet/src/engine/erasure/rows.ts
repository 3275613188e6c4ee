/**
 * Which rows an erasure means, in data files. The condition sees the columns that readers see; the rows are those of the files as they
 * are on disk, also those that another engine's delete files take out: their bytes are there all the same.
 */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema, formerFields } from '../../lake/metadata.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { columnsOf, type IcebergSchema } from '../../lake/schema.ts'
import { castTo } from '../columns.ts'
import { FileLayouts } from '../file-layouts.ts'
import { identifier } from '../sql-text.ts'
import { knownColumns } from '../stream-view.ts'
import { selectStored, type StoredFile } from '../upkeep/stored-rows.ts'
import { deadLetterStream } from '../dead-letters.ts'
import { letterCondition } from './letters.ts'
import type { ErasureRecord } from './record.ts'

/** The columns of a table as readers see them. */
export function columnsIn(table: LoadedTable | undefined): Column[] {
  return table === undefined ? [] : knownColumns(table)
}

/** Which rows are meant, as SQL over what `selectRows` gives; never null. */
export function rowCondition(table: string, record: ErasureRecord, columns: readonly Column[]): string {
  const until = `epoch_ms(_received_at) <= ${record.untilMs}`
  const means =
    table === deadLetterStream.name && record.stream !== table
      ? letterCondition(record, columns)
      : `(\n${record.where}\n)`
  return `coalesce(${until} AND ${means}, false)`
}

/** Prefix of the stored columns in `selectRows`; no event has such names. */
const stored = '_freshet_stored_'

/**
 * A SELECT of rows that has the columns that readers see, by their names, and the stored ones under names of their own.
 * @param files with the delete files that are to be applied
 */
export async function selectRows(
  connection: DuckDBConnection,
  table: LoadedTable,
  files: readonly StoredFile[],
  lakeDir: string,
): Promise<string> {
  const paths = files.map(({ key }) => join(lakeDir, key))
  const layouts = await FileLayouts.of(connection, table.metadata, paths)
  const schema = currentSchema(table.metadata)
  const former = formerFields(table.metadata)
  const hidden = new Set([...former.values()].flat())
  const columns = columnsOf(schema)
  const byId = new Map(schema.fields.map(({ id }, index) => [id, columns[index]!]))
  const shown = schema.fields.flatMap(({ id }, index) => {
    if (hidden.has(id)) return []
    const column = columns[index]!
    const generations = [column, ...(former.get(id) ?? []).flatMap((older) => byId.get(older) ?? [])]
    const values = generations.map(({ name, type }) => castTo(identifier(name), type, column.type))
    return `${values.length === 1 ? values[0]! : `coalesce(${values.join(', ')})`} AS ${identifier(column.name)}`
  })
  const raw = columns.map(({ name }, index) => `${identifier(name)} AS ${identifier(stored + index)}`)
  return `SELECT ${[...raw, ...shown].join(', ')} FROM (${selectStored(schema, files, { lakeDir, layouts })})`
}

/** What `selectRows` gives, cut down to the stored columns, under their own names. */
export function storedColumns(schema: IcebergSchema): string {
  return columnsOf(schema)
    .map(({ name }, index) => `${identifier(stored + index)} AS ${identifier(name)}`)
    .join(', ')
}

/** Files that one statement counts. */
const filesAtOnce = 50

/**
 * How many rows of each file fulfil the condition, by key; files without any are left out. Files whose rows all arrived later are not
 * opened.
 */
export async function countMatches(
  connection: DuckDBConnection,
  request: { table: LoadedTable; files: readonly ScanFile[]; condition: string; untilMs: number; lakeDir: string },
): Promise<Map<string, number>> {
  const { table, condition, untilMs, lakeDir } = request
  const untilMicros = BigInt(untilMs) * 1000n + 999n
  const files = request.files.filter(({ receivedAt: { lower } }) => lower === undefined || lower <= untilMicros)
  const found = new Map<string, number>()
  for (let from = 0; from < files.length; from += filesAtOnce) {
    const chunk = files.slice(from, from + filesAtOnce)
    const counts: string[] = []
    for (const [index, file] of chunk.entries()) {
      const rows = await selectRows(connection, table, [{ ...file, deletes: [] }], lakeDir)
      counts.push(`SELECT ${index} AS n, count(*) AS c FROM (${rows}) WHERE ${condition}`)
    }
    const result = await connection.runAndReadAll(`SELECT n, c FROM (${counts.join(' UNION ALL ')}) WHERE c > 0`)
    for (const [index, count] of result.getRows()) found.set(chunk[Number(index)]!.key, Number(count))
  }
  return found
}
