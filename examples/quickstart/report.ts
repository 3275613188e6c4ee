/** The parts of the story that are looked up by SQL, as text for a terminal. */
import { sql } from './http-client.ts'
import { venueNames } from './sample.ts'

/** One line of the table a venue. */
export interface VenueTotal {
  venue: string
  trades: number
  shares: number
}

/** Trades and shares of each venue, most trades first. */
export async function venueTotals(url: string): Promise<VenueTotal[]> {
  const rows = await sql(
    url,
    `select venue, count(*) as trades, sum(size) as shares from trades group by venue order by trades desc, venue`,
  )
  return rows.map((row) => ({
    venue: String(row['venue']),
    trades: Number(row['trades']),
    shares: Number(row['shares']),
  }))
}

export function venueTable(totals: readonly VenueTotal[]): string {
  return table(
    ['venue', 'exchange', 'trades', 'shares'],
    totals.map(({ venue, trades, shares }) => [venue, venueNames[venue] ?? '', grouped(trades), grouped(shares)]),
    { right: [2, 3] },
  )
}

/** The query behind the bars, which the quickstart also shows. */
export const barsSql = `select date_trunc('minute', _event_time) as minute, arg_min(price, _event_time) as open,
       max(price) as high, min(price) as low, arg_max(price, _event_time) as close, sum(size) as volume
from trades where _event_time >= '2013-10-07T13:30:00Z' group by minute order by minute`

/** The first one-minute bars after the opening bell. */
export async function barsTable(url: string, bars: number): Promise<string> {
  const rows = await sql(url, `${barsSql} limit ${bars}`)
  return table(
    ['minute (UTC)', 'open', 'high', 'low', 'close', 'volume'],
    rows.map((row) => [
      // ISO 8601, so the time of day starts at the twelfth character.
      String(row['minute']).slice(11, 16),
      ...['open', 'high', 'low', 'close'].map((column) => Number(row[column]).toFixed(2)),
      grouped(Number(row['volume'])),
    ]),
    { right: [1, 2, 3, 4, 5] },
  )
}

/** One data file of the table. */
export interface DataFile {
  path: string
  partition: string
  rows: number
  bytes: number
}

export async function dataFiles(url: string): Promise<DataFile[]> {
  const rows = await sql(
    url,
    `select path, partition, rows, bytes from freshet.files where stream = 'trades' order by partition, path`,
  )
  return rows.map((row) => ({
    path: String(row['path']),
    partition: String(row['partition']),
    rows: Number(row['rows']),
    bytes: Number(row['bytes']),
  }))
}

/** A line a partition: its files, their rows and their size. */
export function fileTable(files: readonly DataFile[]): string {
  const total = (own: readonly DataFile[], of: 'rows' | 'bytes'): number => own.reduce((sum, file) => sum + file[of], 0)
  return table(
    ['partition', 'files', 'rows', 'KiB'],
    [...Map.groupBy(files, (file) => file.partition)].map(([partition, own]) => [
      partition,
      String(own.length),
      grouped(total(own, 'rows')),
      grouped(Math.ceil(total(own, 'bytes') / 1024)),
    ]),
    { right: [1, 2, 3] },
  )
}

/** 50000 as 50,000. */
export function grouped(value: number): string {
  return value.toLocaleString('en-US')
}

/** Aligned columns under their names, indented. */
export function table(
  names: readonly string[],
  rows: readonly (readonly string[])[],
  options: { right?: readonly number[] } = {},
): string {
  const widths = names.map((name, index) => Math.max(name.length, ...rows.map((row) => row[index]?.length ?? 0)))
  const line = (cells: readonly string[]): string =>
    `    ${cells
      .map((cell, index) =>
        options.right?.includes(index) === true ? cell.padStart(widths[index] ?? 0) : cell.padEnd(widths[index] ?? 0),
      )
      .join('  ')
      .trimEnd()}`
  return [line(names), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}
