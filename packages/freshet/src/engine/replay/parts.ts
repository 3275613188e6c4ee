/** Cuts a table into the parts that are compared and swapped one by one: its partitions, or all of it where files lie across them. */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema } from '../../lake/metadata.ts'
import { partitionText, partitionValueAt, type TimePartition } from '../../lake/partition.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { partitioning } from '../data-files.ts'
import { identifier } from '../sql-text.ts'
import { inRange, mayOverlap, rangeOfPartition, type TimeRange } from './time-range.ts'

export interface TablePart {
  /** In words: `2013-10-07`, or `all`. */
  name: string
  files: ScanFile[]
  /** A condition for its rows among new ones. */
  condition: string
  /** Event times that its rows can have. */
  times: TimeRange
}

/** How the table is cut, and whether all of the files are cut so. */
function cutOf(table: LoadedTable, files: readonly ScanFile[]): { time: TimePartition; isWhole: boolean } {
  const time = partitioning(table, currentSchema(table.metadata))
  const isWhole = files.every(
    ({ partition, partitionValue }) =>
      partition?.column === time.column && partition.unit === time.unit && partitionValue !== null,
  )
  return { time, isWhole }
}

/**
 * The parts that files and new rows lie in, in order of time.
 * @param files of the table's, those that are to be compared
 * @param rows a SELECT of the new rows; undefined for none
 */
export async function partsOf(
  connection: DuckDBConnection,
  table: LoadedTable,
  files: readonly ScanFile[],
  rows: string | undefined,
  range: TimeRange,
): Promise<TablePart[]> {
  const mine = files.filter(({ eventTime }) => mayOverlap(range, eventTime))
  const { time, isWhole } = cutOf(table, mine)
  if (!isWhole) return [{ name: 'all', files: mine, condition: 'true', times: range }]
  const byValue = new Map<number, ScanFile[]>()
  for (const file of mine) {
    const value = file.partitionValue!
    byValue.set(value, [...(byValue.get(value) ?? []), file])
  }
  for (const value of rows === undefined ? [] : await partitionsIn(connection, rows, time)) {
    if (!byValue.has(value)) byValue.set(value, [])
  }
  return [...byValue]
    .toSorted(([a], [b]) => a - b)
    .map(([value, own]) => {
      const within = rangeOfPartition(time.unit, value)
      const condition = inRange(time.column, within)
      const times = time.column === '_event_time' ? overlapOf(within, range) : range
      return { name: partitionText(time.unit, value), files: own, condition, times }
    })
}

/** The partitions that rows lie in. */
async function partitionsIn(connection: DuckDBConnection, rows: string, time: TimePartition): Promise<number[]> {
  const start = `date_trunc('${time.unit}', CAST(${identifier(time.column)} AS TIMESTAMP))`
  const result = await connection.runAndReadAll(`SELECT DISTINCT epoch_us(${start}) FROM (${rows})`)
  return result.getRows().map(([micros]) => partitionValueAt(time.unit, micros as bigint))
}

function overlapOf(a: TimeRange, b: TimeRange): TimeRange {
  const from = a.from === undefined || (b.from !== undefined && b.from > a.from) ? b.from : a.from
  const to = a.to === undefined || (b.to !== undefined && b.to < a.to) ? b.to : a.to
  return { from, to }
}
