/**
 * Which data files may hold rows that meet a condition: judged by partition values, by the partition bounds of manifests, and by column
 * bounds, before any file is opened. A file is left out only if it certainly has no such row. What is unknown, missing, cut or of
 * another width than expected speaks for the file:
 *
 * - nulls meet no comparison; NaN is above all numbers, and bounds say nothing of it, so what looks for large floats needs a file
 *   that is known to have none;
 * - bounds of texts may be cut, the upper one rounded up then; both still enclose all values (bounds.ts);
 * - a file keeps the partition spec and the column types it was written with: partition values are read by its own spec, and bounds of
 *   both widths of a promoted number are read (bound-values.ts), those of a date that became a timestamp are not;
 * - a column that a file lacks has no bounds there;
 * - before 1970, old versions of other engines rounded time partitions up: a partition is taken to begin one unit earlier there.
 */
import { compareValues, decodeBound, type BoundValue } from './bound-values.ts'
import type { ManifestEntry, ManifestFile } from './manifest.ts'
import { daysFromCivil, partitionRange, type PartitionSpec, type PartitionUnit } from './partition.ts'

/** A condition on one top-level column, which rows have to meet. */
export interface Predicate {
  fieldId: number
  /** The column's Iceberg type, a primitive one, in the schema that rows are read with. */
  type: string
  test: '=' | '<' | '<=' | '>' | '>=' | 'in' | 'starts with' | 'is null' | 'is not null'
  /** One for comparisons, any number for `in`, none for nulls; in the column's type, no NaN. */
  values: readonly BoundValue[]
}

/** What is known of a column's values in a file, or in the files of a manifest. */
export interface ColumnRange {
  /** No value is below or above these. */
  lower: BoundValue | undefined
  upper: BoundValue | undefined
  /** Whether there may be NaN. */
  mayBeNan: boolean
  /** Whether there may be nulls, and other values than null. */
  mayBeNull: boolean
  mayBeValue: boolean
}

/** What is known of a column in a file. */
export function columnRange({ file }: Pick<ManifestEntry, 'file'>, fieldId: number, type: string): ColumnRange {
  const nulls = file.nullValueCounts.get(fieldId)
  const values = file.valueCounts.get(fieldId)
  return {
    lower: boundOf(type, file.lowerBounds.get(fieldId)),
    upper: boundOf(type, file.upperBounds.get(fieldId)),
    mayBeNan: isFloat(type) && file.nanValueCounts.get(fieldId) !== 0,
    mayBeNull: nulls !== 0,
    mayBeValue: nulls === undefined || values === undefined || nulls < values,
  }
}

/** What the partition of a file says of a column; undefined when nothing. */
export function partitionRangeOf(
  partition: Readonly<Record<string, unknown>>,
  spec: PartitionSpec,
  { fieldId, type }: Predicate,
): ColumnRange | undefined {
  for (const field of spec.fields) {
    const value = partition[field.name]
    if (field['source-id'] !== fieldId || typeof value !== 'number') continue
    const range = timeRange(field.transform, type, BigInt(value), BigInt(value))
    if (range !== undefined) return range
  }
  return undefined
}

/** Whether a row with such values may meet the predicate. */
export function mayMeet({ test, values }: Predicate, range: ColumnRange): boolean {
  if (test === 'is null') return range.mayBeNull
  if (!range.mayBeValue) return false
  if (test === 'is not null') return true
  return values.some((value) => mayHold(test, value, range))
}

function mayHold(test: Predicate['test'], value: BoundValue, { lower, upper, mayBeNan }: ColumnRange): boolean {
  const low = lower === undefined ? undefined : compareValues(lower, value)
  const high = upper === undefined || mayBeNan ? undefined : compareValues(upper, value)
  switch (test) {
    case '<':
      return low === undefined || low < 0
    case '<=':
      return low === undefined || low <= 0
    case '>':
      return high === undefined || high > 0
    case '>=':
      return high === undefined || high >= 0
    case 'starts with':
      return mayBegin(value, lower, upper)
    default: {
      // Whether there is NaN does not matter to what equals a number.
      const top = upper === undefined ? undefined : compareValues(upper, value)
      return (low === undefined || low <= 0) && (top === undefined || top >= 0)
    }
  }
}

function mayBegin(value: BoundValue, lower: BoundValue | undefined, upper: BoundValue | undefined): boolean {
  if (typeof value !== 'string') return true
  const prefix = Buffer.from(value, 'utf8')
  if (typeof upper === 'string' && Buffer.compare(Buffer.from(upper, 'utf8'), prefix) < 0) return false
  if (typeof lower !== 'string') return true
  return Buffer.compare(Buffer.from(lower, 'utf8').subarray(0, prefix.length), prefix) <= 0
}

/** Whether a manifest's files may hold rows that meet all predicates, by the bounds of their partitions. */
export function mayHoldManifest(
  manifest: ManifestFile,
  spec: PartitionSpec | undefined,
  predicates: readonly Predicate[],
): boolean {
  if (spec === undefined || manifest.partitions === null) return true
  return predicates.every((predicate) =>
    spec.fields.every((field, index) => {
      const summary = manifest.partitions![index]
      if (field['source-id'] !== predicate.fieldId || summary === undefined) return true
      const { type } = predicate
      if (field.transform === 'identity') {
        return mayMeet(predicate, {
          lower: boundOf(type, summary.lower),
          upper: boundOf(type, summary.upper),
          mayBeNan: isFloat(type) && summary.containsNan !== false,
          mayBeNull: summary.containsNull,
          mayBeValue: true,
        })
      }
      const [lower, upper] = [summary.lower, summary.upper].map((bound) => decodeBound('int', bound)) as bigint[]
      if (lower === undefined || upper === undefined) return true
      const range = timeRange(field.transform, type, lower, upper)
      return range === undefined || mayMeet(predicate, { ...range, mayBeNull: summary.containsNull })
    }),
  )
}

/** A bound as a value to compare with. */
function boundOf(type: string, bound: Buffer | null | undefined): BoundValue | undefined {
  const wide = type === 'timestamptz' || type === 'timestamp' || type === 'time'
  if (wide && bound?.length !== 8) return undefined
  const value = decodeBound(type, bound)
  // The two zeros are one to SQL.
  return value === 0 ? 0 : value
}

function isFloat(type: string): boolean {
  return type === 'float' || type === 'double'
}

const usPerDay = 86_400_000_000n
const units: Readonly<Record<string, PartitionUnit | 'year'>> = {
  hour: 'hour',
  day: 'day',
  month: 'month',
  year: 'year',
}

/** The values of a column of times or dates in partitions from `lower` to `upper`; undefined for another transform or type. */
function timeRange(transform: string, type: string, lower: bigint, upper: bigint): ColumnRange | undefined {
  const unit = units[transform]
  const isTime = type === 'timestamptz' || type === 'timestamp'
  if (unit === undefined || (!isTime && type !== 'date')) return undefined
  const from = startOf(unit, Number(lower) - (lower <= 0n ? 1 : 0))
  const to = startOf(unit, Number(upper) + 1) - 1n
  const scale = isTime ? 1n : usPerDay
  const known = { mayBeNan: false, mayBeNull: true, mayBeValue: true }
  return { lower: floorDivide(from, scale), upper: floorDivide(to, scale), ...known }
}

function startOf(unit: PartitionUnit | 'year', value: number): bigint {
  if (unit !== 'year') return partitionRange(unit, value).from
  return BigInt(daysFromCivil(1970 + value, 1, 1)) * usPerDay
}

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b
  return a % b < 0n ? quotient - 1n : quotient
}
