/**
 * What the SQL of a rollup may be. A bucket that is computed again has to come out the same from the same rows (I9), so its SELECT
 * reads nothing but its source as it is, and nothing that differs from one run to the next.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column, RollupPlan } from '../../config/plan.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { columnTypeOf } from '../column-type.ts'
import { admit } from '../query/gate.ts'
import { eachNode, folded } from '../query/syntax.ts'

/** Of time, of chance, and of the connection. */
const unsteady = new Set(
  (
    'now get_current_timestamp current_timestamp transaction_timestamp localtimestamp current_localtimestamp current_date today ' +
    'get_current_time current_time localtime current_localtime random setseed uuid gen_random_uuid uuidv4 uuidv7 nextval currval ' +
    'txid_current connection_id getvariable'
  ).split(' '),
)

/**
 * Checks a rollup's SQL.
 * @returns the statement to run, over a view that has the name of the source
 * @throws FreshetError `invalid_sql`, `forbidden_sql`
 */
export async function admitDefinition(
  connection: DuckDBConnection,
  { name, from, sql }: Pick<RollupPlan, 'name' | 'from' | 'sql'>,
): Promise<string> {
  const admitted = await admit(connection, sql, { streams: new Set([from]), systemTables: new Set() })
  const refuse = (reason: string): FreshetError =>
    new FreshetError('forbidden_sql', `The SQL of the rollup ${name} ${reason}.`, {
      hint: 'Each bucket is computed again when its events change, and must come out the same.',
    })
  if (admitted.kind !== 'select') throw refuse('is not a SELECT')
  if (admitted.references.some(({ at }) => at !== undefined)) throw refuse(`reads ${from} as it was at another time`)
  if (admitted.callsCompleteThrough) throw refuse('calls complete_through')
  if (admitted.streams.size === 0) throw refuse(`does not read ${from}`)
  eachNode(admitted.tree, (node) => {
    const names = node['class'] === 'FUNCTION' ? [node['function_name']] : []
    const columns = node['class'] === 'COLUMN_REF' ? node['column_names'] : undefined
    if (Array.isArray(columns) && columns.length === 1) names.push(columns[0])
    const found = names.map(folded).find((one) => unsteady.has(one))
    if (found !== undefined) throw refuse(`uses ${found}, which differs from one run to the next`)
    if (node['sample'] !== undefined && node['sample'] !== null) throw refuse('takes a sample')
  })
  return admitted.sql
}

/**
 * The columns of a rollup's table: `bucket`, a time with time zone, then those of the SELECT in its order. Whole numbers of any width
 * are 64 bits; a sum beyond that is an error when it is computed.
 * @param sql an admitted statement, on a connection that has a view with the name of the source
 * @throws FreshetError `invalid_sql` when columns are missing
 */
export async function rollupColumns(
  connection: DuckDBConnection,
  { name, by }: Pick<RollupPlan, 'name' | 'by'>,
  sql: string,
): Promise<Column[]> {
  const result = await connection.run(`SELECT * FROM (${sql}) LIMIT 0`)
  const types = result.columnTypes()
  const columns = result.columnNames().map((column, index) => ({ name: column, type: columnTypeOf(types[index]!) }))
  const missing = ['bucket', ...by].filter((wanted) => !columns.some((column) => column.name === wanted))
  if (missing.length > 0) {
    throw new FreshetError(
      'invalid_sql',
      `The SQL of the rollup ${name} does not give the column ${missing.join(', ')}.`,
      {
        hint: 'It has to give `bucket`, the start of the bucket, and each column of `by`, under these names.',
      },
    )
  }
  const others = columns.filter((column) => column.name !== 'bucket')
  return [{ name: 'bucket', type: { kind: 'timestamptz' } }, ...others]
}
