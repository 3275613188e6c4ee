import type { Column } from '../../src/config/plan.ts'
import { encodeLong, encodeStringBound } from '../../src/lake/bounds.ts'
import type { Catalog, LoadedTable } from '../../src/lake/catalog.ts'
import { appendFiles, type AppendResult, type CommitDeps } from '../../src/lake/commit.ts'
import type { DataFile } from '../../src/lake/data-file.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { currentSchema, newTableMetadata, tablePositions, type TableMetadata } from '../../src/lake/metadata.ts'
import { tableColumns } from '../../src/lake/schema.ts'
import type { Positions } from '../../src/log/log.ts'
import type { Clock } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import { MemoryObjectStore } from './memory-object-store.ts'

/** 2013-10-07T00:00:00Z: the day that the fixture's files are in. */
export const dayValue = 15_985
export const dayStartMs = dayValue * 86_400_000

class ManualClock implements Clock {
  ms = dayStartMs

  nowMs(): number {
    return this.ms
  }
}

export function at(position: number): Positions {
  return new Map([[0, BigInt(position)]])
}

export function emptyTable(columns: readonly Column[] = [{ name: 'price', type: { kind: 'double' } }]): TableMetadata {
  return newTableMetadata({
    columns: tableColumns(columns),
    partition: { by: 'event_time', unit: 'day' },
    clock: { nowMs: () => dayStartMs },
    random: systemRandom,
  })
}

export interface Lake extends CommitDeps {
  store: MemoryObjectStore
  clock: ManualClock
  catalog: Catalog
}

/** A lake in memory. `wrap` may put faults between the store and those that use it. */
export function memoryLake(wrap: (store: MemoryObjectStore) => ObjectStore = (store) => store): Lake {
  const clock = new ManualClock()
  const store = new MemoryObjectStore(() => clock.ms)
  const catalog = new FileCatalog({ store: wrap(store), rootLocation: 'file:///lake', logger: silentLogger })
  return { store, catalog, clock, random: systemRandom, logger: silentLogger }
}

/** A data file's entry, as if a file with `rows` events named after `name` were there. */
export function dataFile(table: LoadedTable, name: string, rows = 10, day = dayValue): DataFile {
  const ids = new Map(currentSchema(table.metadata).fields.map((field) => [field.name, field.id]))
  const from = BigInt(day) * 86_400_000_000n
  const bounds = (time: bigint, side: 'lower' | 'upper'): Map<number, Buffer> =>
    new Map([
      [ids.get('_event_id')!, encodeStringBound(name, side)!],
      [ids.get('_event_time')!, encodeLong(time)!],
      // A minute on the way.
      [ids.get('_received_at')!, encodeLong(time + 60_000_000n)!],
    ])
  return {
    path: `${table.metadata.location}/data/_event_time_day=2013-10-07/${name}.parquet`,
    partition: { _event_time_day: day },
    recordCount: rows,
    bytes: rows * 100,
    columnSizes: new Map([[1, 10]]),
    valueCounts: new Map([[1, rows]]),
    nullValueCounts: new Map([[1, 0]]),
    nanValueCounts: new Map(),
    lowerBounds: bounds(from, 'lower'),
    upperBounds: bounds(from + 1_000_000n, 'upper'),
  }
}

/** Appends one file of 10 rows and moves partition 0 of the log to `to`. */
export function append(deps: CommitDeps, table: LoadedTable, name: string, to: number): Promise<AppendResult> {
  return appendFiles(deps, {
    table,
    dataFiles: [dataFile(table, name)],
    from: tablePositions(table.metadata),
    to: at(to),
  })
}
