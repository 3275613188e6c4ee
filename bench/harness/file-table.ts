/** Tables of many data files, as far as a commit and a plan look at them: in metadata and manifests, without the files themselves. */
import { join } from 'node:path'
import { systemColumns } from '../../packages/freshet/dist/config/plan.js'
import { encodeLong, encodeStringBound } from '../../packages/freshet/dist/lake/bounds.js'
import type { LoadedTable } from '../../packages/freshet/dist/lake/catalog.js'
import { appendFiles, type CommitDeps } from '../../packages/freshet/dist/lake/commit.js'
import type { DataFile } from '../../packages/freshet/dist/lake/data-file.js'
import { FileCatalog } from '../../packages/freshet/dist/lake/file-catalog/file-catalog.js'
import { currentSchema, newTableMetadata, tablePositions } from '../../packages/freshet/dist/lake/metadata.js'
import { pathOf } from '../../packages/freshet/dist/lake/table-paths.js'
import { systemClock } from '../../packages/freshet/dist/runtime/clock.js'
import { nodeFileSystem } from '../../packages/freshet/dist/runtime/file-system.js'
import { silentLogger } from '../../packages/freshet/dist/runtime/logging.js'
import { systemRandom } from '../../packages/freshet/dist/runtime/random.js'
import { LocalObjectStore } from '../../packages/freshet/dist/storage/local/local-object-store.js'
import { WatchedStore } from './watched-store.ts'

const rowsPerFile = 1000
/** 2013-01-01, in days since 1970. */
export const firstDay = 15_706
export const dayMicros = 86_400_000_000n

export type FileLake = CommitDeps & { store: WatchedStore }

/** A lake in a folder. */
export function openLake(folder: string): FileLake {
  const root = join(folder, 'lake')
  const local = new LocalObjectStore({ root, fileSystem: nodeFileSystem, random: systemRandom })
  const store = new WatchedStore(local)
  const catalog = new FileCatalog({ store, rootLocation: `file://${root}`, logger: silentLogger })
  return { store, catalog, clock: systemClock, random: systemRandom, logger: silentLogger }
}

/** Creates a table of `files` files, spread evenly over `days` days, committed a day at a time, as a loader would. */
export async function makeFileTable(
  lake: CommitDeps,
  name: string,
  { files, days }: { files: number; days: number },
): Promise<LoadedTable> {
  let table = await createTable(lake, name)
  for (let day = 0; day < days; day++) {
    const from = Math.round((files * day) / days)
    const to = Math.round((files * (day + 1)) / days)
    table = await appendDay(lake, table, firstDay + day, to - from)
  }
  return table
}

/** Creates a table whose every commit has one file of each day: the worst order for a query over one day. */
export async function makeScatteredTable(
  lake: CommitDeps,
  name: string,
  { filesPerDay, days }: { filesPerDay: number; days: number },
): Promise<LoadedTable> {
  let table = await createTable(lake, name)
  const everyDay = Array.from({ length: days }, (_, day) => firstDay + day)
  for (let commit = 0; commit < filesPerDay; commit++) table = await appendFilesOf(lake, table, everyDay)
  return table
}

/** Commits `count` files of one day. */
export function appendDay(lake: CommitDeps, table: LoadedTable, day: number, count: number): Promise<LoadedTable> {
  return appendFilesOf(lake, table, Array<number>(count).fill(day))
}

function createTable(lake: CommitDeps, name: string): Promise<LoadedTable> {
  const metadata = newTableMetadata({
    columns: [...systemColumns, { name: 'price', type: { kind: 'double' } }],
    partition: { by: 'event_time', unit: 'day' },
    clock: systemClock,
    random: systemRandom,
  })
  return lake.catalog.create(name, metadata)
}

/** Commits one file for each of these days. */
async function appendFilesOf(lake: CommitDeps, table: LoadedTable, days: readonly number[]): Promise<LoadedTable> {
  const from = tablePositions(table.metadata)
  const dataFiles = days.map((day) => dataFile(table, day))
  const to = new Map([[0, (from.get(0) ?? 0n) + BigInt(days.length)]])
  return (await appendFiles(lake, { table, dataFiles, from, to })).table
}

function dataFile(table: LoadedTable, day: number): DataFile {
  const ids = new Map(currentSchema(table.metadata).fields.map((field) => [field.name, field.id]))
  const name = systemRandom.hex(16)
  const start = BigInt(day) * dayMicros
  const bounds = (time: bigint, side: 'lower' | 'upper'): Map<number, Buffer> =>
    new Map([
      [ids.get('_event_id')!, encodeStringBound(name, side)!],
      [ids.get('_event_time')!, encodeLong(time)!],
      [ids.get('_received_at')!, encodeLong(time)!],
    ])
  const everyColumn = <Value>(value: Value): Map<number, Value> => new Map([...ids.values()].map((id) => [id, value]))
  return {
    path: pathOf(table, `data/_event_time_day=${day}/${name}.parquet`),
    partition: { _event_time_day: day },
    recordCount: rowsPerFile,
    bytes: rowsPerFile * 100,
    columnSizes: everyColumn(10_000),
    valueCounts: everyColumn(rowsPerFile),
    nullValueCounts: everyColumn(0),
    nanValueCounts: new Map(),
    lowerBounds: bounds(start, 'lower'),
    upperBounds: bounds(start + dayMicros - 1n, 'upper'),
  }
}
