/**
 * What a replay would change in its stream: the rows of the table with times in its range, part by part, against what the code makes now.
 *
 * Rows whose time moves into another part are swapped in one commit with it: no query sees them twice, or not at all.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { join } from 'node:path'
import type { Column } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema, formerFields } from '../../lake/metadata.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { FileLayouts } from '../file-layouts.ts'
import { identifier } from '../sql-text.ts'
import { selectStream } from '../stream-view.ts'
import { differs, findDifference, sampleOf, type SampleRow } from './difference.ts'
import { partsOf } from './parts.ts'
import type { Findings } from './record.ts'
import type { SwapPart } from './swap.ts'
import { inRange, type TimeRange } from './time-range.ts'

export interface ComparedTable {
  table: LoadedTable
  files: readonly ScanFile[]
  lakeDir: string
  range: TimeRange
  columns: readonly Column[]
  /** A SELECT of what is made now, with times in a range; undefined where there can be none. */
  made: (columns: readonly Column[], range: TimeRange) => string | undefined
  signal: AbortSignal
}

export interface NamedPart extends SwapPart {
  name: string
}

export interface Changes {
  /** Parts that are to be swapped together, in order of time; those without a difference are left out. */
  groups: NamedPart[][]
  findings: Omit<Findings, 'events' | 'letters'>
  sample: SampleRow[]
}

const sampleMax = 20
export const partitionsShownMax = 1000

/** Compares; the ids that differ stay in temporary tables of the connection, see `forget`. */
export async function findChanges(connection: DuckDBConnection, compared: ComparedTable): Promise<Changes> {
  const { table, files, range, columns, made, signal } = compared
  const none = `SELECT ${columns.map(({ name }) => identifier(name)).join(', ')} FROM (${selectStream(columns, undefined, [])})`
  const all = made(columns, range)
  const parts = await partsOf(connection, table, files, all, range)
  const changed: NamedPart[] = []
  const findings = { appear: 0, change: 0, vanish: 0, same: 0, partitionsSame: 0 }
  const sample: SampleRow[] = []
  for (const [index, part] of parts.entries()) {
    signal.throwIfAborted()
    const shown = await shownRows(connection, compared, part.files)
    const rows = made(columns, part.times)
    const difference = await findDifference(connection, `replay_${index}`, {
      before: `SELECT * FROM (${shown}) WHERE ${inRange('_event_time', range)}`,
      after: rows === undefined ? none : `SELECT * FROM (${rows}) WHERE ${part.condition}`,
      columns,
    })
    for (const kind of ['appear', 'change', 'vanish', 'same'] as const) findings[kind] += difference[kind]
    if (!differs(difference)) {
      findings.partitionsSame++
      await connection.run(`DROP TABLE ${identifier(difference.table)}`)
      continue
    }
    if (sample.length < sampleMax) sample.push(...(await sampleOf(connection, difference, sampleMax - sample.length)))
    changed.push({ name: part.name, difference, files: part.files })
  }
  const partitions = changed.slice(0, partitionsShownMax).map(({ name, difference }) => {
    const { appear, change, vanish, same } = difference
    return { partition: name, appear, change, vanish, same }
  })
  return {
    groups: await linked(connection, changed),
    findings: { ...findings, partitions, partitionsChanged: changed.length },
    sample,
  }
}

/** Drops the temporary tables. */
export async function forget(connection: DuckDBConnection, { groups }: Changes): Promise<void> {
  for (const { difference } of groups.flat())
    await connection.run(`DROP TABLE IF EXISTS ${identifier(difference.table)}`)
}

/** The rows of files as readers see them. */
export async function shownRows(
  connection: DuckDBConnection,
  { table, lakeDir, columns }: Pick<ComparedTable, 'table' | 'lakeDir' | 'columns'>,
  files: readonly ScanFile[],
): Promise<string> {
  const { metadata } = table
  const paths = files.map(({ key }) => join(lakeDir, key))
  const layouts = await FileLayouts.of(connection, metadata, paths)
  const committed = { schema: currentSchema(metadata), formerFields: formerFields(metadata), files, lakeDir, layouts }
  return selectStream(columns, committed, [])
}

/** Parts between which ids have moved belong together. */
async function linked(connection: DuckDBConnection, parts: readonly NamedPart[]): Promise<NamedPart[][]> {
  if (parts.length < 2) return parts.length === 0 ? [] : [[...parts]]
  const ids = parts.map(
    ({ difference }, index) =>
      `SELECT id, ${index} AS part, kind FROM ${identifier(difference.table)} WHERE kind <> 'change'`,
  )
  const moves = await connection.runAndReadAll(
    `WITH d AS (${ids.join(' UNION ALL ')}) SELECT DISTINCT a.part, v.part FROM d a JOIN d v ON a.id = v.id ` +
      `WHERE a.kind = 'appear' AND v.kind = 'vanish' AND a.part <> v.part`,
  )
  const leader = parts.map((_, index) => index)
  const find = (index: number): number => (leader[index] === index ? index : find(leader[index]!))
  for (const [to, from] of moves.getRows()) {
    const [a, b] = [find(Number(to)), find(Number(from))]
    leader[Math.max(a, b)] = Math.min(a, b)
  }
  return [...Map.groupBy(parts.keys(), find).values()].map((group) => group.map((index) => parts[index]!))
}
