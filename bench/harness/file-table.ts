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

export const rowsPerFile = 1000
/** 2013-01-01, in days since 1970. */
export const firstDay = 15_706
const dayMicros = 86_400_000_000n

/** A lake in a folder. */
export function openLake(folder: string): CommitDeps {
  const root = join(folder, 'lake')
  const store = new LocalObjectStore({ root, fileSystem: nodeFileSystem, random: systemRandom })
  const catalog = new FileCatalog({ store, rootLocation: `file://${root}`, logger: silentLogger })
  return { store, catalog, clock: systemClock, random: systemRandom, logger: silentLogger }
}

/** Creates a table of `files` files, spread evenly over `days` days, committed a day at a time, as a loader would. */
export async function makeFileTable(
  lake: CommitDeps,
  name: string,
  { files, days }: { files: number; days: number },
): Promise<LoadedTable> {
  const metadata = newTableMetadata({
    columns: [...systemColumns, { name: 'price', type: { kind: 'double' } }],
    partition: { by: 'event_time', unit: 'day' },
    clock: systemClock,
    random: systemRandom,
  })
  let table = await lake.catalog.create(name, metadata)
  for (let day = 0; day < days; day++) {
    const from = Math.round((files * day) / days)
    const to = Math.round((files * (day + 1)) / days)
    table = await appendDay(lake, table, firstDay + day, to - from)
  }
  return table
}

/** Commits `count` files of one day. */
export async function appendDay(
  lake: CommitDeps,
  table: LoadedTable,
  day: number,
  count: number,
): Promise<LoadedTable> {
  const from = tablePositions(table.metadata)
  const dataFiles = Array.from({ length: count }, () => dataFile(table, day))
  const to = new Map([[0, (from.get(0) ?? 0n) + BigInt(count)]])
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
