/**
 * The statements, as text, with the values as literals: numbers are checked digit by digit, everything else is quoted. The session keeps
 * backslashes an escape and the connection in UTF-8, which the quoting relies on.
 */
import { escape } from 'mysql2'
import type { TableName } from '../sql/settings.ts'
import type { SqlColumn, SqlRow, SqlTable, ValueForm, WantedColumn } from '../sql/sql-target.ts'
import { typeFor } from './types.ts'

export function quote(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

export function quoteTable({ schema, name }: TableName): string {
  return schema === undefined ? quote(name) : `${quote(schema)}.${quote(name)}`
}

/** Where checkpoints are: beside the table. */
export function checkpointTable({ schema }: TableName): string {
  return quoteTable({ ...(schema !== undefined && { schema }), name: 'freshet_checkpoints' })
}

const exactTexts = 'CHARACTER SET utf8mb4 COLLATE utf8mb4_bin'

export function createCheckpoints(table: TableName): string {
  return `CREATE TABLE IF NOT EXISTS ${checkpointTable(table)} (consumer varchar(255) PRIMARY KEY, checkpoint longtext NOT NULL, updated_at datetime(6) NOT NULL) ENGINE = InnoDB ${exactTexts}`
}

/** The type that a column is made with. */
export function typeOf({ type, declared, key }: WantedColumn): string | undefined {
  return type ?? (declared === undefined ? undefined : typeFor(declared, key))
}

export function createTable(table: TableName, columns: readonly WantedColumn[]): string {
  const lines = columns.map((column) => `${quote(column.name)} ${typeOf(column)!}${column.key ? ' NOT NULL' : ' NULL'}`)
  const key = columns.filter((column) => column.key).map(({ name }) => quote(name))
  if (key.length > 0) lines.push(`PRIMARY KEY (${key.join(', ')})`)
  return `CREATE TABLE IF NOT EXISTS ${quoteTable(table)} (\n  ${lines.join(',\n  ')}\n) ENGINE = InnoDB ${exactTexts}`
}

export function addColumn(table: TableName, column: WantedColumn): string {
  return `ALTER TABLE ${quoteTable(table)} ADD COLUMN ${quote(column.name)} ${typeOf(column)!} NULL`
}

const plainNumber = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/
const base64 = /^[A-Za-z0-9+/]*={0,2}$/

/** A value as a literal. */
export function literal(text: string | null, form: ValueForm): string {
  if (text === null) return 'NULL'
  if (form === 'number' && plainNumber.test(text)) return text
  if (form === 'boolean' && (text === 'true' || text === 'false')) return text === 'true' ? '1' : '0'
  if (form === 'binary' && base64.test(text)) return `X'${Buffer.from(text, 'base64').toString('hex')}'`
  // DATETIME has no place for an offset: a moment is in UTC already.
  if (form === 'timestamp' || form === 'timestamptz' || form === 'time')
    return escape(text.replace('T', ' ').replace(/Z$/, ''))
  return escape(text)
}

const keyColumns = ({ columns }: SqlTable): [number, SqlColumn][] => [...columns.entries()].filter(([, { key }]) => key)

const literalAt = (table: SqlTable, row: SqlRow, at: number): string =>
  literal(row.values[at]!, table.columns[at]!.form)

/** One row's values, for `insert`. */
export function tuple(table: SqlTable, row: SqlRow): string {
  return `(${table.columns.map((_, at) => literalAt(table, row, at)).join(',')})`
}

/** What stands before and behind the rows: adds them, or changes those that are there. */
export function insertAround(table: SqlTable): { before: string; after: string } {
  const names = table.columns.map(({ name }) => quote(name)).join(', ')
  const before = `INSERT INTO ${quoteTable(table.name)} (${names}) VALUES `
  if (table.mode === 'append') return { before, after: '' }
  const newest = table.newest === undefined ? undefined : quote(table.columns[table.newest]!.name)
  // Assignments see those before them: what they are judged by comes last.
  const changed = table.columns
    .filter((column) => column.changes)
    .map(({ name }) => quote(name))
    .toSorted((one, other) => Number(one === newest) - Number(other === newest))
  const sets = changed.map((name) => {
    if (newest === undefined) return `${name} = VALUES(${name})`
    return `${name} = IF(${newest} IS NULL OR VALUES(${newest}) >= ${newest}, VALUES(${name}), ${name})`
  })
  const [first] = keyColumns(table)
  if (sets.length === 0) sets.push(`${quote(first![1].name)} = ${quote(first![1].name)}`)
  return { before, after: ` ON DUPLICATE KEY UPDATE ${sets.join(', ')}` }
}

function whereKey(table: SqlTable, row: SqlRow): string {
  return keyColumns(table)
    .map(([at, { name }]) => `${quote(name)} = ${literalAt(table, row, at)}`)
    .join(' AND ')
}

/** What lets only events change a row that are not older than it. */
function notOlder(table: SqlTable, row: SqlRow): string {
  if (table.newest === undefined) return ''
  const name = quote(table.columns[table.newest]!.name)
  return ` AND (${name} IS NULL OR ${literalAt(table, row, table.newest)} >= ${name})`
}

/** Changes the row of one event's key. */
export function update(table: SqlTable, row: SqlRow): string {
  const sets = [...table.columns.entries()]
    .filter(([, column]) => column.changes)
    .map(([at, { name }]) => `${quote(name)} = ${literalAt(table, row, at)}`)
  return `UPDATE ${quoteTable(table.name)} SET ${sets.join(', ')} WHERE ${whereKey(table, row)}${notOlder(table, row)}`
}

/** Whether there is a row of an event's key. */
export function find(table: SqlTable, row: SqlRow): string {
  return `SELECT 1 FROM ${quoteTable(table.name)} WHERE ${whereKey(table, row)} LIMIT 1`
}

/** Removes the row of one event's key. */
export function removeOne(table: SqlTable, row: SqlRow): string {
  return `DELETE FROM ${quoteTable(table.name)} WHERE ${whereKey(table, row)}${notOlder(table, row)}`
}

/** One row's key, for `removeAround`. */
export function keyTuple(table: SqlTable, row: SqlRow): string {
  const values = keyColumns(table).map(([at]) => literalAt(table, row, at))
  return values.length === 1 ? values[0]! : `(${values.join(',')})`
}

/** What stands before and behind the keys of the rows to remove. */
export function removeAround(table: SqlTable): { before: string; after: string } {
  const names = keyColumns(table).map(([, { name }]) => quote(name))
  const key = names.length === 1 ? names[0]! : `(${names.join(', ')})`
  return { before: `DELETE FROM ${quoteTable(table.name)} WHERE ${key} IN (`, after: ')' }
}
