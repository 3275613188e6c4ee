/**
 * The statements, as text. Names are quoted, and values are never in them: each column's values are one parameter, a list of texts, which
 * `unnest` makes rows of and the casts give their types.
 */
import type { TableName } from '../sql/settings.ts'
import type { SqlColumn, SqlRow, SqlTable, WantedColumn, WriteOrder } from '../sql/sql-target.ts'
import { castFor, elementFor, typeFor } from './types.ts'

export interface Statement {
  text: string
  values: unknown[]
}

export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

export function quoteTable({ schema, name }: TableName): string {
  return schema === undefined ? quote(name) : `${quote(schema)}.${quote(name)}`
}

/** Where checkpoints are: beside the table. */
export function checkpointTable({ schema }: TableName): string {
  return quoteTable({ ...(schema !== undefined && { schema }), name: 'freshet_checkpoints' })
}

export function createCheckpoints(table: TableName): string {
  return `CREATE TABLE IF NOT EXISTS ${checkpointTable(table)} (consumer text PRIMARY KEY, checkpoint text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now())`
}

/** The type that a column is made with. */
export function typeOf({ type, declared }: WantedColumn): string | undefined {
  return type ?? (declared === undefined ? undefined : typeFor(declared))
}

export function createTable(table: TableName, columns: readonly WantedColumn[]): string {
  const lines = columns.map((column) => `${quote(column.name)} ${typeOf(column)!}${column.key ? ' NOT NULL' : ''}`)
  const key = columns.filter((column) => column.key).map(({ name }) => quote(name))
  if (key.length > 0) lines.push(`PRIMARY KEY (${key.join(', ')})`)
  return `CREATE TABLE IF NOT EXISTS ${quoteTable(table)} (\n  ${lines.join(',\n  ')}\n)`
}

export function addColumn(table: TableName, column: WantedColumn): string {
  return `ALTER TABLE ${quoteTable(table)} ADD COLUMN IF NOT EXISTS ${quote(column.name)} ${typeOf(column)!}`
}

/** A list of texts as PostgreSQL reads it. */
export function textArray(texts: readonly (string | null)[]): string {
  let list = '{'
  for (let at = 0; at < texts.length; at++) {
    const text = texts[at]!
    if (at > 0) list += ','
    if (text === null) list += 'NULL'
    else if (text.includes('"') || text.includes('\\')) list += `"${text.replace(/["\\]/g, '\\$&')}"`
    else list += `"${text}"`
  }
  return `${list}}`
}

interface Source {
  /** A SELECT of the rows, with the columns' own names, typed. */
  sql: string
  values: string[]
}

/** The rows as a SELECT. Of those with one key the newest stays, or the last one, where keys may repeat. */
function source(
  table: SqlTable,
  used: readonly number[],
  rows: readonly SqlRow[],
  { repeats = false, numbered = false }: { repeats?: boolean; numbered?: boolean } = {},
): Source {
  const values = used.map((at) => textArray(rows.map((row) => row.values[at]!)))
  const types = used.map((at) => elementFor(table.columns[at]!))
  const lists = types.map((type, place) => `$${place + 1}::${type}[]`).join(', ')
  const names = used.map((_, place) => `v${place}`).join(', ')
  const typed = used.map((at, place) => {
    const { form, type, name } = table.columns[at]!
    const value = form === 'binary' ? `decode(v${place}, 'base64')` : `v${place}`
    const cast = form === 'binary' || types[place] !== 'text' || type === 'text' ? '' : `::${castFor(type)}`
    return `${value}${cast} AS ${quote(name)}`
  })
  if (!numbered && !repeats) return { sql: `SELECT ${typed.join(', ')} FROM unnest(${lists}) AS d(${names})`, values }
  const n = quote(ordinal(table))
  const rowsSql = `SELECT ${typed.join(', ')}, n AS ${n} FROM unnest(${lists}) WITH ORDINALITY AS d(${names}, n)`
  if (!repeats) return { sql: rowsSql, values }
  const key = keyColumns(table)
    .map(({ name }) => quote(name))
    .join(', ')
  const newest = table.newest === undefined ? '' : `${quote(table.columns[table.newest]!.name)} DESC NULLS LAST, `
  return { sql: `SELECT DISTINCT ON (${key}) * FROM (${rowsSql}) r ORDER BY ${key}, ${newest}${n} DESC`, values }
}

/** A name that no column has, for the place of a row. */
function ordinal({ columns }: SqlTable): string {
  let name = 'n'
  while (columns.some((column) => column.name === name)) name += '_'
  return name
}

const keyColumns = ({ columns }: SqlTable): SqlColumn[] => columns.filter(({ key }) => key)

const sameKey = (table: SqlTable): string =>
  keyColumns(table)
    .map(({ name }) => `t.${quote(name)} = d.${quote(name)}`)
    .join(' AND ')

/** What lets only events change a row that are not older than it. @param row what the event's row is called */
function notOlder({ newest, columns }: SqlTable, row: string): string | undefined {
  if (newest === undefined) return undefined
  const name = quote(columns[newest]!.name)
  return `(t.${name} IS NULL OR ${row}.${name} >= t.${name})`
}

const and = (...conditions: readonly (string | undefined)[]): string => conditions.filter(Boolean).join(' AND ')

const every = ({ columns }: SqlTable): number[] => [...columns.keys()]

/** Adds rows, or changes those that are there. */
export function insert(table: SqlTable, rows: readonly SqlRow[], { repeats }: Pick<WriteOrder, 'repeats'>): Statement {
  const names = table.columns.map(({ name }) => quote(name)).join(', ')
  const { sql, values } = source(table, every(table), rows, { repeats: repeats && table.mode !== 'append' })
  const start = `INSERT INTO ${quoteTable(table.name)} AS t (${names}) SELECT ${names} FROM (${sql}) d`
  if (table.mode === 'append') return { text: start, values }
  const changed = table.columns.filter((column) => column.changes).map(({ name }) => quote(name))
  const key = keyColumns(table)
    .map(({ name }) => quote(name))
    .join(', ')
  if (changed.length === 0) return { text: `${start} ON CONFLICT (${key}) DO NOTHING`, values }
  const sets = changed.map((name) => `${name} = excluded.${name}`).join(', ')
  const guard = notOlder(table, 'excluded')
  return {
    text: `${start} ON CONFLICT (${key}) DO UPDATE SET ${sets}${guard === undefined ? '' : ` WHERE ${guard}`}`,
    values,
  }
}

/** Changes rows that are there. */
export function update(table: SqlTable, rows: readonly SqlRow[], { repeats }: Pick<WriteOrder, 'repeats'>): Statement {
  const used = every(table).filter((at) => table.columns[at]!.key || table.columns[at]!.changes)
  const { sql, values } = source(table, used, rows, { repeats })
  const sets = table.columns
    .filter((column) => column.changes)
    .map(({ name }) => `${quote(name)} = d.${quote(name)}`)
    .join(', ')
  const where = and(sameKey(table), notOlder(table, 'd'))
  return { text: `UPDATE ${quoteTable(table.name)} t SET ${sets} FROM (${sql}) d WHERE ${where}`, values }
}

/** Which of the rows, counted from 1, have no row of their key. */
export function missing(table: SqlTable, rows: readonly SqlRow[]): Statement {
  const used = every(table).filter((at) => table.columns[at]!.key)
  const { sql, values } = source(table, used, rows, { numbered: true })
  const there = `SELECT 1 FROM ${quoteTable(table.name)} t WHERE ${sameKey(table)}`
  return {
    text: `SELECT d.${quote(ordinal(table))}::int AS n FROM (${sql}) d WHERE NOT EXISTS (${there}) ORDER BY 1`,
    values,
  }
}

export function remove(table: SqlTable, rows: readonly SqlRow[]): Statement {
  const used = every(table).filter((at) => table.columns[at]!.key || at === table.newest)
  const { sql, values } = source(table, used, rows)
  const where = and(sameKey(table), notOlder(table, 'd'))
  return { text: `DELETE FROM ${quoteTable(table.name)} t USING (${sql}) d WHERE ${where}`, values }
}
