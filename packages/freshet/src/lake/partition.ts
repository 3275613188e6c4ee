import type { StreamPlan } from '../config/plan.ts'
import type { StructType } from './schema.ts'

/**
 * Time partitions (Iceberg spec, Partition Transforms). A partition's value is an integer: hours, days or months since 1970 in
 * UTC, rounded down, so it is negative before that.
 */
export type PartitionUnit = StreamPlan['partition']['unit']

interface PartitionField {
  'source-id': number
  'field-id': number
  name: string
  transform: string
}

export interface PartitionSpec {
  'spec-id': number
  fields: PartitionField[]
}

/** The columns that tables are cut by: times of a stream's events, or the buckets of a rollup. */
const columnsBy = { event_time: '_event_time', received_at: '_received_at', bucket: 'bucket' } as const
type TimeColumn = (typeof columnsBy)[StreamPlan['partition']['by']]

/** How a table is cut by time: the column, the unit, and the name of the partition field. */
export interface TimePartition {
  column: TimeColumn
  unit: PartitionUnit
  name: string
}

const usPerHour = 3_600_000_000n
const usPerDay = 86_400_000_000n

/** The spec for a stream's partitioning. `fieldId` is the table's next free partition field id; the first is 1000. */
export function createSpec(
  partition: StreamPlan['partition'],
  schema: StructType,
  specId = 0,
  fieldId = 1000,
): PartitionSpec {
  const column = columnsBy[partition.by]
  const source = schema.fields.find((field) => field.name === column)
  if (source === undefined) throw new Error(`The schema lacks the column ${column}`)
  const name = `${column}_${partition.unit}`
  return {
    'spec-id': specId,
    fields: [{ 'source-id': source.id, 'field-id': fieldId, name, transform: partition.unit }],
  }
}

/** Whether a table is cut as a plan says. */
export function isCutBy(spec: PartitionSpec, schema: StructType, { by, unit }: StreamPlan['partition']): boolean {
  const time = timePartitionOf(spec, schema)
  return time?.column === columnsBy[by] && time.unit === unit
}

/** What a table is cut by, in the words of a plan. */
export function partitionOf({ column, unit }: TimePartition): StreamPlan['partition'] {
  const by = (Object.keys(columnsBy) as (keyof typeof columnsBy)[]).find((name) => columnsBy[name] === column)!
  return { by, unit }
}

/** The column that tells how old rows are, and by which they are sorted: the event's time, or the bucket in a table without events. */
export function timeColumnOf(schema: StructType): '_event_time' | 'bucket' {
  return schema.fields.some(({ name }) => name === '_event_time') ? '_event_time' : 'bucket'
}

/** How `spec` cuts by time; undefined for a spec that Freshet does not write (several fields, buckets, ...). */
export function timePartitionOf(spec: PartitionSpec, schema: StructType): TimePartition | undefined {
  const [field, ...others] = spec.fields
  if (field === undefined || others.length > 0) return undefined
  const column = schema.fields.find((candidate) => candidate.id === field['source-id'])?.name
  if (column !== '_received_at' && column !== timeColumnOf(schema)) return undefined
  const unit = field.transform
  if (unit !== 'hour' && unit !== 'day' && unit !== 'month') return undefined
  return { column, unit, name: field.name }
}

/** The partition that holds a time, given in microseconds since 1970. */
export function partitionValueAt(unit: PartitionUnit, us: bigint): number {
  if (unit === 'hour') return Number(floorDivide(us, usPerHour))
  const days = Number(floorDivide(us, usPerDay))
  if (unit === 'day') return days
  const { year, month } = civilFromDays(days)
  return (year - 1970) * 12 + month - 1
}

/** The times in a partition, microseconds since 1970, `to` exclusive. */
export function partitionRange(unit: PartitionUnit, value: number): { from: bigint; to: bigint } {
  return { from: partitionStart(unit, value), to: partitionStart(unit, value + 1) }
}

function partitionStart(unit: PartitionUnit, value: number): bigint {
  if (unit === 'hour') return BigInt(value) * usPerHour
  if (unit === 'day') return BigInt(value) * usPerDay
  return BigInt(daysFromCivil(1970 + Math.floor(value / 12), (((value % 12) + 12) % 12) + 1, 1)) * usPerDay
}

/** A partition's value for people: `2013-10-07-13` (hour), `2013-10-07` (day), `2013-10` (month). */
export function partitionText(unit: PartitionUnit, value: number): string {
  if (unit === 'month') return `${yearText(1970 + Math.floor(value / 12))}-${twoDigits((((value % 12) + 12) % 12) + 1)}`
  const days = unit === 'hour' ? Math.floor(value / 24) : value
  const { year, month, day } = civilFromDays(days)
  const date = `${yearText(year)}-${twoDigits(month)}-${twoDigits(day)}`
  return unit === 'hour' ? `${date}-${twoDigits(value - days * 24)}` : date
}

/** The value that `partitionText` wrote; undefined for any other text. */
export function parsePartitionText(unit: PartitionUnit, text: string): number | undefined {
  const match = /^(-?\d{4,})-(\d\d)(?:-(\d\d)(?:-(\d\d))?)?$/.exec(text)
  if (match === null) return undefined
  const [year, month, day, hour] = match.slice(1).map((part) => (part === undefined ? 0 : Number(part))) as [
    number,
    number,
    number,
    number,
  ]
  const days = daysFromCivil(year, month, day)
  const value = unit === 'month' ? (year - 1970) * 12 + month - 1 : unit === 'day' ? days : days * 24 + hour
  return partitionText(unit, value) === text ? value : undefined
}

/** The folder below `data/`: `_event_time_day=2013-10-07`; rows without the time have `=null`. */
export function partitionFolder(partition: TimePartition, value: number | null): string {
  return `${partition.name}=${value === null ? 'null' : partitionText(partition.unit, value)}`
}

/** Days since 1970 of a date of the proleptic Gregorian calendar; month and day from 1. */
export function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

function civilFromDays(days: number): { year: number; month: number; day: number } {
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day }
}

function yearText(year: number): string {
  return year < 0 ? `-${String(-year).padStart(4, '0')}` : String(year).padStart(4, '0')
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0')
}

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b
  return a % b < 0n ? quotient - 1n : quotient
}
