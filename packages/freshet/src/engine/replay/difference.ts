/**
 * Compares rows by their ids: which appear, change, vanish and stay. When they arrived does not count, so a row that is made again keeps the row that
 * is there. The ids that differ are kept in a temporary table of the connection: `id`, `kind`, and `received`, when the former row
 * arrived. Where an id is there several times among the new rows, one that is as before counts, and else the first that arrived.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column } from '../../config/plan.ts'
import { jsonObject } from '../json-lines.ts'
import { identifier } from '../sql-text.ts'
import type { RowCounts } from './record.ts'

export interface Sides {
  /** SELECTs of rows with `columns`. */
  before: string
  after: string
  columns: readonly Column[]
}

/** A difference whose ids are in a table. */
export interface Difference extends Sides, RowCounts {
  table: string
}

/** One row that differs. */
export interface SampleRow {
  id: string
  kind: 'appear' | 'change' | 'vanish'
  /** The columns that differ: what they have, and what they would have; left out where there is no such row. */
  columns: Record<string, { before?: unknown; after?: unknown }>
}

const arrival = '_received_at'

export async function findDifference(
  connection: DuckDBConnection,
  table: string,
  { before, after, columns }: Sides,
): Promise<Difference> {
  const unlike = columns
    .filter(({ name }) => name !== arrival && name !== '_event_id')
    .map(({ name }) => `n.${identifier(name)} IS DISTINCT FROM o.${identifier(name)}`)
  const id = 'coalesce(n._event_id, o._event_id)'
  const kind =
    `CASE WHEN o._event_id IS NULL THEN 'appear' WHEN n._event_id IS NULL THEN 'vanish' ` +
    `WHEN ${unlike.join(' OR ') || 'false'} THEN 'change' ELSE 'same' END`
  await connection.run(
    `CREATE TEMP TABLE ${identifier(table)} AS ` +
      `SELECT ${id} AS id, ${kind} AS kind, o.${arrival} AS received ` +
      `FROM (${before}) o FULL JOIN (${after}) n ON o._event_id = n._event_id ` +
      `QUALIFY row_number() OVER (PARTITION BY ${id} ORDER BY (${kind} = 'same') DESC, n.${arrival}) = 1`,
  )
  const result = await connection.runAndReadAll(`SELECT kind, count(*) FROM ${identifier(table)} GROUP BY kind`)
  const counts = { appear: 0, change: 0, vanish: 0, same: 0 }
  for (const [found, count] of result.getRows()) counts[found as keyof RowCounts] = Number(count)
  await connection.run(`DELETE FROM ${identifier(table)} WHERE kind = 'same'`)
  return { table, before, after, columns, ...counts }
}

export function differs({ appear, change, vanish }: RowCounts): boolean {
  return appear + change + vanish > 0
}

/** A SELECT of the rows that come, with the columns of the difference. Those that were there keep their time of arrival. */
export function comingRows({ table, after, columns }: Difference): string {
  const list = columns.map(({ name }) => {
    const own = `n.${identifier(name)}`
    return name === arrival ? `coalesce(d.received, ${own}) AS ${arrival}` : own
  })
  return (
    `SELECT ${list.join(', ')} FROM (${after}) n JOIN ${identifier(table)} d ON d.id = n._event_id ` +
    `WHERE d.kind <> 'vanish' QUALIFY row_number() OVER (PARTITION BY n._event_id ORDER BY n.${arrival}) = 1`
  )
}

/** A condition for the rows that go, by `_event_id`. */
export function goingRows({ table }: Pick<Difference, 'table'>): string {
  return `_event_id IN (SELECT id FROM ${identifier(table)})`
}

/** The first rows that differ, by id. */
export async function sampleOf(
  connection: DuckDBConnection,
  { table, before, after, columns }: Difference,
  limit: number,
): Promise<SampleRow[]> {
  const text = (side: string): string =>
    `SELECT _event_id AS id, ${jsonObject(columns, 'number')} AS text FROM (${side}) WHERE _event_id IN (SELECT id FROM chosen)`
  const result = await connection.runAndReadAll(
    `WITH chosen AS (SELECT id, kind FROM ${identifier(table)} ORDER BY id LIMIT ${limit}) ` +
      `SELECT c.id, c.kind, o.text, n.text FROM chosen c ` +
      `LEFT JOIN (${text(before)}) o ON o.id = c.id LEFT JOIN (${text(after)}) n ON n.id = c.id ` +
      `QUALIFY row_number() OVER (PARTITION BY c.id) = 1 ORDER BY c.id`,
  )
  return result.getRows().map(([id, kind, old, made]) => ({
    id: String(id),
    kind: kind as SampleRow['kind'],
    columns: changedColumns(rowIn(old), rowIn(made)),
  }))
}

type JsonRow = Record<string, unknown>

function rowIn(text: unknown): JsonRow | undefined {
  return typeof text === 'string' ? (JSON.parse(text) as JsonRow) : undefined
}

function changedColumns(before: JsonRow | undefined, after: JsonRow | undefined): SampleRow['columns'] {
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])
  names.delete(arrival)
  if (before !== undefined && after !== undefined) {
    for (const name of names) if (JSON.stringify(before[name]) === JSON.stringify(after[name])) names.delete(name)
  }
  return Object.fromEntries(
    [...names].map((name) => [
      name,
      {
        ...(before && { before: before[name] ?? null }),
        ...(after && { after: after[name] ?? null }),
      },
    ]),
  )
}
