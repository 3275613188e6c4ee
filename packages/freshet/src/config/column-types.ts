import type { ColumnType } from './plan.ts'
import { nearest } from './spelling.ts'

/** Column types in words, as users declare them and as messages name them. */

const plainKinds = [
  'boolean',
  'int',
  'long',
  'float',
  'double',
  'string',
  'timestamptz',
  'timestamp',
  'date',
  'time',
  'uuid',
  'binary',
  'json',
] as const

/** Types that can be declared: `decimal(18, 4)` has 18 digits, 4 of them behind the point. */
export type ColumnTypeWord =
  | (typeof plainKinds)[number]
  | `decimal(${number},${number})`
  | `decimal(${number}, ${number})`

const precisionMax = 38

/** Reads a declared type, or says why it is none. */
export function parseColumnType(text: string): { type: ColumnType } | { reason: string; suggestion?: string } {
  const kind = plainKinds.find((known) => known === text)
  if (kind !== undefined) return { type: { kind } }
  const decimal = /^decimal\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)$/.exec(text)
  if (decimal !== null) {
    const [precision, scale] = [Number(decimal[1]), Number(decimal[2])]
    if (precision < 1 || precision > precisionMax)
      return { reason: `a decimal has 1 to ${precisionMax} digits, not ${precision}` }
    if (scale > precision) return { reason: `a decimal of ${precision} digits cannot have ${scale} behind the point` }
    return { type: { kind: 'decimal', precision, scale } }
  }
  if (/^decimal\b/.test(text))
    return { reason: 'a decimal needs its digits in all and behind the point', suggestion: 'decimal(18, 4)' }
  const near = synonyms[text.toLowerCase()] ?? nearest(text, [...plainKinds, 'decimal(18, 4)'])
  const reason = `is not a column type (there are: ${plainKinds.join(', ')}, decimal(p, s))`
  return near === undefined ? { reason } : { reason, suggestion: near }
}

/** What other systems call our types. */
const synonyms: Readonly<Record<string, string>> = {
  bool: 'boolean',
  integer: 'int',
  int32: 'int',
  bigint: 'long',
  int64: 'long',
  real: 'float',
  float4: 'float',
  float8: 'double',
  number: 'double',
  numeric: 'decimal(18, 4)',
  money: 'decimal(18, 4)',
  varchar: 'string',
  text: 'string',
  datetime: 'timestamptz',
  'date-time': 'timestamptz',
  bytes: 'binary',
  blob: 'binary',
  bytea: 'binary',
  guid: 'uuid',
  jsonb: 'json',
}

/** A type as a person reads it: `decimal(18, 4)`, `list<string>`, `struct<a: int>`. */
export function columnTypeText(type: ColumnType): string {
  switch (type.kind) {
    case 'decimal':
      return `decimal(${type.precision}, ${type.scale})`
    case 'fixed':
      return `fixed[${type.length}]`
    case 'struct':
      return `struct<${type.fields.map((field) => `${field.name}: ${columnTypeText(field.type)}`).join(', ')}>`
    case 'list':
      return `list<${columnTypeText(type.element)}>`
    case 'map':
      return `map<${columnTypeText(type.key ?? { kind: 'string' })}, ${columnTypeText(type.value)}>`
    default:
      return type.kind
  }
}
