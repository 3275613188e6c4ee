import { FreshetError } from '../runtime/errors.ts'
import { encodeBounds } from './bounds.ts'
import { leavesOf, type IcebergSchema, type Leaf } from './schema.ts'

/** A data file as a manifest describes it. Maps go by field id. */
export interface DataFile {
  /** Absolute path or URI: the table's location, `/data/` and the rest. */
  path: string
  /** Partition values by the name of the partition field. */
  partition: Record<string, unknown>
  recordCount: number
  bytes: number
  /** Bytes a column takes in the file, compressed. */
  columnSizes: ReadonlyMap<number, number>
  /** Values of a column, nulls included. */
  valueCounts: ReadonlyMap<number, number>
  nullValueCounts: ReadonlyMap<number, number>
  nanValueCounts: ReadonlyMap<number, number>
  /** No value is below or above these; strings may be cut. */
  lowerBounds: ReadonlyMap<number, Buffer>
  upperBounds: ReadonlyMap<number, Buffer>
}

/**
 * One row of DuckDB's `COPY ... (RETURN_STATS)`, as `getRowObjectsJson` gives it: counts as text, maps as lists of pairs. Column
 * names are quoted and dotted, `"o"."x"`; list and map leaves end in `"element"`, `"key"`, `"value"`.
 */
export interface CopyStatistics {
  count: string | number | bigint
  file_size_bytes: string | number | bigint
  column_statistics: readonly { key: string; value: readonly { key: string; value: string }[] }[]
}

/**
 * A data file from the statistics of the COPY that wrote it.
 * @param path The file's path in the table: its absolute path once it is in place.
 * @throws FreshetError `internal` when the statistics name a column that the schema lacks: the file was written by another one.
 */
export function dataFileFrom(
  statistics: CopyStatistics,
  options: { path: string; schema: IcebergSchema; partition: Record<string, unknown> },
): DataFile {
  const leaves = new Map(leavesOf(options.schema).map((leaf): [string, Leaf] => [quotedPath(leaf.path), leaf]))
  const columnSizes = new Map<number, number>()
  const valueCounts = new Map<number, number>()
  const nullValueCounts = new Map<number, number>()
  const nanValueCounts = new Map<number, number>()
  const lowerBounds = new Map<number, Buffer>()
  const upperBounds = new Map<number, Buffer>()
  for (const { key: column, value } of statistics.column_statistics) {
    const leaf = leaves.get(column)
    if (leaf === undefined) {
      throw new FreshetError(
        'internal',
        `The file ${options.path} has a column ${column} that the table's schema lacks.`,
      )
    }
    const fields = new Map(value.map((pair) => [pair.key, pair.value]))
    setCount(columnSizes, leaf.id, fields.get('column_size_bytes'))
    // Inside lists and maps, counts and bounds would speak of elements, while readers filter rows by them.
    if (leaf.repeated) continue
    setCount(valueCounts, leaf.id, fields.get('num_values'))
    setCount(nullValueCounts, leaf.id, fields.get('null_count'))
    const hasNan = fields.get('has_nan')
    if (hasNan === 'false') nanValueCounts.set(leaf.id, 0)
    if (hasNan === 'true') continue
    const { lower, upper } = encodeBounds(leaf.type, fields.get('min'), fields.get('max'))
    if (lower !== undefined) lowerBounds.set(leaf.id, lower)
    if (upper !== undefined) upperBounds.set(leaf.id, upper)
  }
  return {
    path: options.path,
    partition: options.partition,
    recordCount: Number(statistics.count),
    bytes: Number(statistics.file_size_bytes),
    columnSizes,
    valueCounts,
    nullValueCounts,
    nanValueCounts,
    lowerBounds,
    upperBounds,
  }
}

function setCount(counts: Map<number, number>, id: number, text: string | undefined): void {
  if (text !== undefined && /^\d+$/.test(text)) counts.set(id, Number(text))
}

function quotedPath(path: readonly string[]): string {
  return path.map((name) => `"${name.replaceAll('"', '""')}"`).join('.')
}
