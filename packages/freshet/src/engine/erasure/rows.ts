/**
 * Which rows an erasure means, in data files. The condition sees the columns that readers see; the rows are those of the files as they
 * are on disk, also those that another engine's delete files take out: their bytes are there all the same.
 */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { eventNaming } from '../../config/field-names.ts'
import type { Column, StreamPlan } from '../../config/plan.ts'
import { deadLettersOf } from '../../events/dead-letter.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { columnsOf, type IcebergSchema } from '../../lake/schema.ts'
import { castTo } from '../columns.ts'
import { FileLayouts } from '../file-layouts.ts'
import { identifier } from '../sql-text.ts'
import { selectStored, type StoredFile } from '../upkeep/stored-rows.ts'
import { letterCondition } from './letters.ts'
import { meantColumns } from './meant-columns.ts'
import type { ErasureRecord } from './record.ts'

/** The columns that a condition may speak of. @param schemaId see `meantColumns` */
export function columnsIn(table: LoadedTable | undefined, schemaId?: number): Column[] {
  return table === undefined ? [] : meantColumns(table.metadata, schemaId).columns
}

/**
 * Which rows are meant, as SQL over what `selectRows` gives; never null.
 * @param stream whose events are erased, with its columns
 */
export function rowCondition(
  table: string,
  record: ErasureRecord,
  stream: Pick<StreamPlan, 'renames'>,
  columns: readonly Column[],
): string {
  // Rows that another engine wrote may not say when they arrived.
  const until = `coalesce(epoch_ms(_received_at) <= ${record.untilMs}, true)`
  const means =
    table === deadLettersOf(record.stream)
      ? letterCondition(record, columns, eventNaming(stream.renames))
      : `(\n${record.where}\n)`
  return `coalesce(${until} AND ${means}, false)`
}

/** Prefix of the stored columns in `selectRows`; no event has such names. */
const stored = '_freshet_stored_'

export interface RowsRequest {
  /** With the delete files that are to be applied. */
  files: readonly StoredFile[]
  lakeDir: string
  /** See `meantColumns`. */
  schemaId?: number | undefined
}

/** A SELECT of rows that has the columns that a condition speaks of, by their names, and the stored ones under names of their own. */
export async function selectRows(
  connection: DuckDBConnection,
  table: LoadedTable,
  { files, lakeDir, schemaId }: RowsRequest,
): Promise<string> {
  const paths = files.map(({ key }) => join(lakeDir, key))
  const layouts = await FileLayouts.of(connection, table.metadata, paths)
  const { schema, columns } = meantColumns(table.metadata, schemaId)
  const fields = columnsOf(schema)
  const shown = columns.map(({ name, type, places }) => {
    const values = places.map((place) => castTo(identifier(fields[place]!.name), fields[place]!.type, type))
    return `${values.length === 1 ? values[0]! : `coalesce(${values.join(', ')})`} AS ${identifier(name)}`
  })
  const raw = fields.map(({ name }, index) => `${identifier(name)} AS ${identifier(stored + index)}`)
  return `SELECT ${[...raw, ...shown].join(', ')} FROM (${selectStored(schema, files, { lakeDir, layouts })})`
}

/** What `selectRows` gives, cut down to the stored columns of the table's present schema, under their own names. */
export function storedColumns(schema: IcebergSchema): string {
  return columnsOf(schema)
    .map(({ name }, index) => `${identifier(stored + index)} AS ${identifier(name)}`)
    .join(', ')
}

/** Files that one statement counts. */
const filesAtOnce = 50

/** How many rows of each file fulfil the condition, by key; files without any are left out. */
export async function countMatches(
  connection: DuckDBConnection,
  request: { table: LoadedTable; files: readonly ScanFile[]; condition: string } & Omit<RowsRequest, 'files'>,
): Promise<Map<string, number>> {
  const { table, files, condition, lakeDir, schemaId } = request
  const found = new Map<string, number>()
  for (let from = 0; from < files.length; from += filesAtOnce) {
    const chunk = files.slice(from, from + filesAtOnce)
    const counts: string[] = []
    for (const [index, file] of chunk.entries()) {
      const rows = await selectRows(connection, table, { files: [{ ...file, deletes: [] }], lakeDir, schemaId })
      counts.push(`SELECT ${index} AS n, count(*) AS c FROM (${rows}) WHERE ${condition}`)
    }
    const result = await connection.runAndReadAll(`SELECT n, c FROM (${counts.join(' UNION ALL ')}) WHERE c > 0`)
    for (const [index, count] of result.getRows()) found.set(chunk[Number(index)]!.key, Number(count))
  }
  return found
}
