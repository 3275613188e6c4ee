/** The table that a sink writes to: made, or checked against what will be written. */
import type pg from 'pg'
import { targetFault } from '../sql/fault.ts'
import { checkTable, type FoundTable } from '../sql/table-check.ts'
import type { SqlOptions } from '../sql/settings.ts'
import type { SqlTable, WantedColumn } from '../sql/sql-target.ts'
import { addColumn, checkpointTable, createCheckpoints, createTable, quoteTable, typeOf } from './statements.ts'
import { stateOf } from './faults.ts'
import { formFor, takes, typeFor } from './types.ts'

type Client = Pick<pg.Client, 'query'>

const columnsSql = `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
    a.attgenerated <> '' OR a.attidentity = 'a' AS computed,
    a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS needed,
    coalesce(c.collisdeterministic, true) AND t.typname NOT IN ('citext', 'bpchar') AS exact
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation c ON c.oid = a.attcollation
  WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

const keysSql = `SELECT array_agg(a.attname::text) AS columns
  FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
  WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  GROUP BY i.indexrelid`

async function find(client: Client, name: string): Promise<FoundTable | undefined> {
  const { rows } = await client.query<FoundTable['columns'][number]>(columnsSql, [name])
  if (rows.length === 0) return undefined
  const keys = await client.query<{ columns: string[] }>(keysSql, [name])
  return { columns: rows, uniqueKeys: keys.rows.map(({ columns }) => columns) }
}

/** Makes what is not there. Two workers may do so at once: what the other one made first is as good. */
async function make(client: Client, sql: string): Promise<void> {
  try {
    await client.query(sql)
  } catch (error) {
    if (!['23505', '42P07', '42701'].includes(stateOf(error) ?? '')) throw error
  }
}

export async function prepareTable(
  client: Client,
  options: SqlOptions,
  wanted: readonly WantedColumn[],
): Promise<SqlTable> {
  const name = quoteTable(options.table)
  let found = await find(client, name)
  if (found === undefined) {
    const untyped = wanted.find((column) => typeOf(column) === undefined)
    if (untyped !== undefined)
      throw targetFault(
        `The table ${name} is not there, and the type of its column "${untyped.name}" is not known.`,
        'Create the table, or say the type: `columns: { field: { column, type } }`.',
      )
    await make(client, createTable(options.table, wanted))
    found = await find(client, name)
  }
  const { rows } = await client.query('SELECT to_regclass($1) IS NOT NULL AS there', [checkpointTable(options.table)])
  if (!(rows[0] as { there: boolean }).there) await make(client, createCheckpoints(options.table))
  if (found === undefined) throw targetFault(`The table ${name} was made, and is not to be seen.`)
  const lacking = wanted.filter((column) => !found!.columns.some((other) => other.name === column.name))
  if (options.alter && lacking.length > 0) {
    for (const column of lacking) if (typeOf(column) !== undefined) await make(client, addColumn(options.table, column))
    found = (await find(client, name)) ?? found
  }
  return checkTable(found, { name, options, wanted, typeFor, takes, formFor })
}
