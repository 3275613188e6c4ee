/** The table that a sink writes to: made, or checked against what will be written. */
import { targetFault } from '../sql/fault.ts'
import type { SqlOptions } from '../sql/settings.ts'
import type { SqlTable, WantedColumn } from '../sql/sql-target.ts'
import { checkTable, sameNames, type FoundTable } from '../sql/table-check.ts'
import { escape } from 'mysql2'
import { numberOf } from './faults.ts'
import { addColumn, createCheckpoints, createTable, quoteTable, typeOf } from './statements.ts'
import { formFor, takes, typeFor } from './types.ts'

type Query = (sql: string) => Promise<Record<string, unknown>[]>

/** A value of information_schema as text. */
const words = (value: unknown): string => (typeof value === 'string' ? value : '')

async function find(query: Query, { schema, name }: SqlOptions['table']): Promise<FoundTable | undefined> {
  const where = `table_schema = ${schema === undefined ? 'DATABASE()' : escape(schema)} AND table_name = ${escape(name)}`
  const columns = await query(
    `SELECT column_name AS name, column_type AS type, is_nullable AS nullable, column_default AS preset, extra, collation_name AS collation FROM information_schema.columns WHERE ${where} ORDER BY ordinal_position`,
  )
  if (columns.length === 0) return undefined
  const keys = await query(
    `SELECT index_name AS name, column_name AS field, sub_part AS part FROM information_schema.statistics WHERE ${where} AND non_unique = 0 ORDER BY index_name, seq_in_index`,
  )
  const unique = new Map<string, string[]>()
  for (const { name: index, field, part } of keys) {
    // A key on the beginnings of values, or on what is computed, tells other rows apart than the columns do.
    const told = part === null && field !== null ? words(field) : ''
    unique.set(words(index), [...(unique.get(words(index)) ?? []), told])
  }
  return {
    columns: columns.map((column) => {
      const extra = words(column['extra']).toLowerCase()
      return {
        name: words(column['name']),
        type: words(column['type']),
        computed: /(virtual|stored|persistent) generated|^(virtual|stored|persistent)/.test(extra),
        needed: column['nullable'] === 'NO' && column['preset'] === null && !extra.includes('auto_increment'),
        exact: column['collation'] === null || words(column['collation']).endsWith('_bin'),
      }
    }),
    uniqueKeys: [...unique.values()],
  }
}

/** Makes what is not there. Two workers may do so at once: what the other one made first is as good. */
async function make(query: Query, sql: string): Promise<void> {
  try {
    await query(sql)
  } catch (error) {
    if (![1050, 1060].includes(numberOf(error) ?? 0)) throw error
  }
}

async function thereIs(query: Query, { schema }: SqlOptions['table'], name: string): Promise<boolean> {
  return (await find(query, { ...(schema !== undefined && { schema }), name })) !== undefined
}

export async function prepareTable(
  query: Query,
  options: SqlOptions,
  wanted: readonly WantedColumn[],
): Promise<SqlTable> {
  const name = quoteTable(options.table)
  let found = await find(query, options.table)
  if (found === undefined) {
    const untyped = wanted.find((column) => typeOf(column) === undefined)
    if (untyped !== undefined)
      throw targetFault(
        `The table ${name} is not there, and the type of its column "${untyped.name}" is not known.`,
        'Create the table, or say the type: `columns: { field: { column, type } }`.',
      )
    await make(query, createTable(options.table, wanted))
    found = await find(query, options.table)
  }
  if (!(await thereIs(query, options.table, 'freshet_checkpoints'))) await make(query, createCheckpoints(options.table))
  if (found === undefined) throw targetFault(`The table ${name} was made, and is not to be seen.`)
  const lacking = wanted.filter((column) => !found!.columns.some((other) => other.name === column.name))
  if (options.alter && lacking.length > 0) {
    for (const column of lacking) if (typeOf(column) !== undefined) await make(query, addColumn(options.table, column))
    found = (await find(query, options.table)) ?? found
  }
  const table = checkTable(found, { name, options, wanted, typeFor, takes, formFor })
  const key = wanted.filter((column) => column.key).map((column) => column.name)
  const other = found.uniqueKeys.find((names) => !sameNames(names, key))
  // ON DUPLICATE KEY UPDATE would change the row that another unique key finds.
  if (table.mode === 'upsert' && other !== undefined)
    throw targetFault(
      `The table ${name} has a unique key besides that of the sink: an event could change the row of another key.`,
      'Drop that unique key, or make it an ordinary index.',
    )
  return table
}
