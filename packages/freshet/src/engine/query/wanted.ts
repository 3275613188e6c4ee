/**
 * The conditions of a statement (predicates.ts) as values that column bounds can be compared with (lake/prune.ts). A condition counts only
 * if comparing in the column's own type is what DuckDB would do, or comes to the same: the constant must be exactly a value of
 * that type, and of a type whose common one with the column's keeps all values apart.
 */
import type { DuckDBConnection, DuckDBValue } from '@duckdb/node-api'
import type { Column, ColumnType } from '../../config/plan.ts'
import type { BoundValue } from '../../lake/bound-values.ts'
import { formerFields, type TableMetadata } from '../../lake/metadata.ts'
import type { Predicate } from '../../lake/prune.ts'
import { columnsOf, type IcebergSchema } from '../../lake/schema.ts'
import { sameType, storedType } from '../columns.ts'
import { textsOf, valuesOf } from './constants.ts'
import type { Parameters } from './parameters.ts'
import type { Condition, Floor } from './predicates.ts'
import { folded, type Node } from './syntax.ts'

/** A column whose values are those of one field of the files. */
interface Field {
  fieldId: number
  type: string
  column: ColumnType
}

/** What rows of one reference have to meet. */
export interface Demand {
  conditions: readonly Condition[]
  fields: ReadonlyMap<string, Field>
}

/** The columns, by folded name, that bounds speak of as SQL shows them. */
export function plainFields(
  columns: readonly Column[],
  schema: IcebergSchema,
  metadata: TableMetadata,
): Map<string, Field> {
  const former = formerFields(metadata)
  const types = columnsOf(schema)
  const shown = new Map(columns.map((column) => [column.name, column.type]))
  const fields = new Map<string, Field>()
  schema.fields.forEach(({ id, name, type }, index) => {
    const column = shown.get(name)
    if (typeof type !== 'string' || column === undefined || former.has(id)) return
    if (sameType(types[index]!.type, column) && kindOf(column) !== undefined) {
      fields.set(folded(name), { fieldId: id, type, column })
    }
  })
  return fields
}

type Kind = 'whole' | 'float' | 'decimal' | 'date' | 'timestamp' | 'time' | 'text'

/** How a column's values compare; undefined where bounds are of no use. */
function kindOf(type: ColumnType): Kind | undefined {
  switch (type.kind) {
    case 'int':
    case 'long':
      return 'whole'
    case 'float':
    case 'double':
      return 'float'
    case 'decimal':
    case 'date':
    case 'time':
      return type.kind
    case 'timestamp':
    case 'timestamptz':
      return 'timestamp'
    case 'string':
    case 'json':
      return 'text'
    default:
      return undefined
  }
}

/** A constant, to be brought to a column's type. */
interface Wish {
  node: Node
  column: ColumnType
}

/**
 * The predicates of each demand; conditions that cannot be used are left out.
 * @returns undefined when DuckDB refuses the constants: the statement is going to fail, and its transaction may have ended
 */
export async function predicatesOf(
  connection: DuckDBConnection,
  demands: readonly Demand[],
  parameters: Parameters,
): Promise<Predicate[][] | undefined> {
  const wishes = demands.flatMap(({ conditions, fields }) =>
    conditions.flatMap((condition): Wish[] => {
      const type = comparedType(condition, fields)
      return type === undefined ? [] : condition.values.map((node) => ({ node, column: type }))
    }),
  )
  const constants = await evaluate(connection, wishes, parameters)
  if (constants === undefined) return undefined
  let at = 0
  return demands.map(({ conditions, fields }) =>
    conditions.flatMap((condition) => {
      const type = comparedType(condition, fields)
      if (type === undefined) return []
      const { test, floor, values } = condition
      const usable = usableValues(test, constants.slice(at, (at += values.length)), type)
      if (usable === undefined) return []
      const { fieldId, type: fieldType } = fields.get(condition.column)!
      const tests = floor === undefined ? [{ test, values: usable }] : floorTests(test, floor, usable as bigint[])
      return tests.map((one) => ({ fieldId, type: fieldType, ...one }))
    }),
  )
}

/** The type that a condition's constants are compared in; undefined when bounds are of no use for it. */
function comparedType({ column, floor }: Condition, fields: Demand['fields']): ColumnType | undefined {
  const field = fields.get(column)
  if (field === undefined || floor === undefined) return field?.column
  if (kindOf(field.column) !== 'timestamp') return undefined
  return floor === 'date' ? { kind: 'date' } : field.column
}

const dayUs = 86_400_000_000n
/** How far a time lies from the beginning of its unit at most, in microseconds; */
const floorWidths: Readonly<Record<Floor, bigint>> = {
  date: dayUs,
  second: 1_000_000n,
  minute: 60_000_000n,
  hour: 3_600_000_000n,
  day: dayUs,
  week: 7n * dayUs,
  month: 31n * dayUs,
  quarter: 92n * dayUs,
  year: 366n * dayUs,
}

/** What a time meets if what it lies in meets a test: it is not before that, and less than a unit behind it. */
function floorTests(
  test: Condition['test'],
  floor: Floor,
  constants: readonly bigint[],
): Pick<Predicate, 'test' | 'values'>[] {
  if (constants.length === 0) return []
  const times = constants
    .map((value) => (floor === 'date' ? value * dayUs : value))
    .toSorted((a, b) => (a < b ? -1 : 1))
  const fromFirst = { test: '>=' as const, values: [times[0]!] }
  const toLast = { test: '<' as const, values: [times.at(-1)! + floorWidths[floor]] }
  if (test === '=' || test === 'in') return [fromFirst, toLast]
  if (test === '>' || test === '>=') return [fromFirst]
  return test === '<' || test === '<=' ? [toLast] : []
}

interface Constant {
  value: BoundValue | undefined
  /** Its own type, in DuckDB's words. */
  type: string
}

async function evaluate(
  connection: DuckDBConnection,
  wishes: readonly Wish[],
  parameters: Parameters,
): Promise<Constant[] | undefined> {
  let texts: string[]
  try {
    texts = await textsOf(
      connection,
      wishes.map(({ node }) => node),
      parameters,
    )
  } catch {
    return undefined
  }
  const expressions = wishes.flatMap(({ column }, index) => {
    const text = `(${texts[index]!})`
    const value = `TRY_CAST(${text} AS ${storedType(column)})`
    return [`TRY(typeof(${text}))`, `TRY(${value} = ${text})`, `TRY(${plainValue(column, value)})`]
  })
  const values = await valuesOf(connection, expressions)
  if (values === undefined) return undefined
  return wishes.map(({ column }, index) => {
    const [type, isExact, value] = values.slice(3 * index, 3 * index + 3)
    return { type: String(type), value: isExact === true ? boundValue(column, value ?? null) : undefined }
  })
}

/** The value as something that comes to JavaScript exactly. */
function plainValue(column: ColumnType, value: string): string {
  switch (kindOf(column)) {
    case 'whole':
      return `CAST(${value} AS BIGINT)`
    case 'float':
      return `CAST(${value} AS DOUBLE)`
    case 'date':
      return `CAST(date_diff('day', DATE '1970-01-01', ${value}) AS BIGINT)`
    case 'timestamp':
      return `epoch_us(${value})`
    case 'time':
      return `CAST(date_part('hour', ${value}) * 3600000000 + date_part('minute', ${value}) * 60000000 + date_part('microsecond', ${value}) AS BIGINT)`
    default:
      return `CAST(${value} AS VARCHAR)`
  }
}

function boundValue(column: ColumnType, value: DuckDBValue): BoundValue | undefined {
  if (column.kind === 'decimal') return typeof value === 'string' ? decimalValue(value, column.scale) : undefined
  // The two zeros are one to SQL.
  if (typeof value === 'number') return Number.isNaN(value) ? undefined : value === 0 ? 0 : value
  return typeof value === 'bigint' || typeof value === 'string' ? value : undefined
}

function decimalValue(text: string, scale: number): BoundValue | undefined {
  const match = /^(-?)(\d*)(?:\.(\d+))?$/.exec(text)
  if (match === null || (match[3] ?? '').length !== scale) return undefined
  const unscaled = BigInt(`${match[2]}${match[3] ?? ''}` || '0')
  return { unscaled: match[1] === '-' ? -unscaled : unscaled, scale }
}

const wholeDigits: Readonly<Record<string, number>> = {
  TINYINT: 3,
  UTINYINT: 3,
  SMALLINT: 5,
  USMALLINT: 5,
  INTEGER: 10,
  UINTEGER: 10,
  BIGINT: 19,
  UBIGINT: 20,
}
const decimalPattern = /^DECIMAL\((\d+),\s*(\d+)\)$/
const doubleExactMax = 2 ** 53

/** The values of a condition; undefined when it cannot be judged by bounds. */
function usableValues(
  test: Condition['test'],
  constants: readonly Constant[],
  column: ColumnType,
): BoundValue[] | undefined {
  const values: BoundValue[] = []
  for (const { value, type } of constants) {
    if (value === undefined || !isComparable(column, type, value)) return undefined
    values.push(value)
  }
  if (test === 'starts with' && kindOf(column) !== 'text') return undefined
  // Of several, the widest type would be that of all.
  const types = new Set(constants.map(({ type }) => (Object.hasOwn(wholeDigits, type) ? 'whole' : type)))
  if (types.size > 1) return undefined
  return test === 'in' || test === 'is null' || test === 'is not null' ? values : values.slice(0, 1)
}

/** Whether comparing a column with a constant of `type` is comparing within the column's type. */
function isComparable(column: ColumnType, type: string, value: BoundValue): boolean {
  // A text in a statement takes the type that it is compared with; any other text cannot be compared, but with texts.
  if (type === 'VARCHAR') return true
  const isNumber =
    Object.hasOwn(wholeDigits, type) || type === 'FLOAT' || type === 'DOUBLE' || decimalPattern.test(type)
  switch (kindOf(column)) {
    case 'whole':
      // With a fraction's type, both may become doubles.
      if (Object.hasOwn(wholeDigits, type) || type === 'HUGEINT') return true
      return isNumber && typeof value === 'bigint' && value < doubleExactMax && value > -doubleExactMax
    case 'float':
      return isNumber || type === 'HUGEINT'
    case 'decimal':
      return column.kind === 'decimal' && staysDecimal(column, type)
    case 'date':
    case 'timestamp':
      return type === 'DATE' || type === 'TIMESTAMP' || type === 'TIMESTAMP WITH TIME ZONE'
    case 'time':
      return type === 'TIME'
    default:
      return false
  }
}

/** Whether a decimal and a number of `type` have a decimal type in common. */
function staysDecimal({ precision, scale }: { precision: number; scale: number }, type: string): boolean {
  const match = decimalPattern.exec(type)
  const [digits, own] = match ? [Number(match[1]), Number(match[2])] : [wholeDigits[type], 0]
  if (digits === undefined) return false
  return Math.max(precision - scale, digits - own) + Math.max(scale, own) <= 38
}
