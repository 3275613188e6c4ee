/**
 * Which data files an erasure opens: those that may hold rows that are meant, by the time of arrival, and by what partitions and column
 * bounds say of the condition (lake/choose-files.ts), as a query with that condition would. Rows that delete files take out are
 * within the bounds of their file like the others.
 *
 * Bounds are what whoever wrote the file says. So nothing is left out when the check looks through the files, nor in what is done after a check
 * that has found something.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { chooseFiles, type Wanted } from '../../lake/choose-files.ts'
import { parseJson } from '../../lake/json.ts'
import { ManifestColumns } from '../../lake/manifest-columns.ts'
import { currentSchema } from '../../lake/metadata.ts'
import type { ScanFile, ScanPlan } from '../../lake/scan.ts'
import type { ObjectStore } from '../../storage/object-store.ts'
import type { Database } from '../duckdb.ts'
import { conditionsIn } from '../query/predicates.ts'
import type { Node } from '../query/syntax.ts'
import { plainFields, predicatesOf } from '../query/wanted.ts'
import { identifier } from '../sql-text.ts'

/** Chooses among the files of a snapshot. */
export type ChooseFiles = (table: LoadedTable, plan: ScanPlan) => Promise<readonly ScanFile[]>

/** All files of a snapshot. */
export const allFiles: ChooseFiles = async (_table, plan) => plan.files

export interface WantedRequest {
  stream: string
  /** The condition; undefined where it does not speak of the table's own columns. */
  where: string | undefined
  /** The columns that it may speak of. */
  columns: readonly Column[]
  untilMs: number
}

/** Chooses the files that may hold rows which fulfil the condition and arrived until then. */
export function mayBeMeant(deps: { store: ObjectStore; database: Database }, request: WantedRequest): ChooseFiles {
  const columns = new ManifestColumns(deps.store)
  const untilMicros = BigInt(request.untilMs) * 1000n + 999n
  const known = new Map<number, Wanted>()
  return async (table, plan) => {
    const schema = table.metadata['current-schema-id']
    const wanted =
      known.get(schema) ?? (await deps.database.with((connection) => wantedRows(connection, request, table)))
    known.set(schema, wanted)
    const { files } = await chooseFiles(columns, table, plan, wanted)
    return files.filter(({ receivedAt: { lower } }) => lower === undefined || lower <= untilMicros)
  }
}

/** What rows have to meet, as far as bounds can tell. */
async function wantedRows(
  connection: DuckDBConnection,
  { stream, where, columns }: WantedRequest,
  { metadata }: LoadedTable,
): Promise<Wanted> {
  if (where === undefined) return [[]]
  const sql = `SELECT 1 FROM ${identifier(stream)} WHERE\n${where}\n`
  const result = await connection.runAndReadAll('SELECT json_serialize_sql(CAST($1 AS VARCHAR))', [sql])
  const { statements } = parseJson(result.getRows()[0]![0] as string) as { statements: Node[] }
  const names = columns.map(({ name }) => name)
  const isStream = (node: Node): boolean => node['table_name'] === stream
  const conditions = conditionsIn(statements[0]!, (node) => (isStream(node) ? names : undefined), {})
  const fields = plainFields(columns, currentSchema(metadata), metadata)
  const demands = [...conditions.values()].map((own) => ({ conditions: own, fields }))
  const predicates = await predicatesOf(connection, demands, {})
  return predicates === undefined || predicates.length === 0 ? [[]] : predicates
}
