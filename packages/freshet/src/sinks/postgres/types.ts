/** Types of columns, as PostgreSQL calls them. */
import type { ColumnType } from '../../config/plan.ts'
import { formInText } from '../sql/mapping.ts'
import type { SqlColumn, ValueForm } from '../sql/sql-target.ts'

const names: Partial<Record<ColumnType['kind'], string>> = {
  boolean: 'boolean',
  int: 'integer',
  long: 'bigint',
  float: 'real',
  double: 'double precision',
  string: 'text',
  timestamptz: 'timestamp with time zone',
  timestamp: 'timestamp without time zone',
  date: 'date',
  time: 'time without time zone',
  uuid: 'uuid',
  binary: 'bytea',
  fixed: 'bytea',
}

/** The type of a column that is made for a declared type. */
export function typeFor(type: ColumnType): string {
  return type.kind === 'decimal' ? `numeric(${type.precision},${type.scale})` : (names[type.kind] ?? 'jsonb')
}

const withoutDigits = (type: string): string => type.replace(/\(\d+\)/, '')

/** What takes every value of a declared type, besides the type that would be made. */
const wider: Partial<Record<ColumnType['kind'], readonly string[]>> = {
  int: ['bigint', 'numeric', 'double precision'],
  long: ['numeric'],
  float: ['double precision', 'numeric'],
  double: ['numeric'],
  string: ['character varying', 'character', 'citext'],
  uuid: ['text', 'character varying', 'character'],
  timestamptz: ['text'],
  date: ['timestamp without time zone', 'text'],
  json: ['json', 'text'],
  struct: ['json', 'text'],
  list: ['json', 'text'],
  map: ['json', 'text'],
}

/** Whether a column of the type `found`, as `format_type` says it, takes what is declared. */
export function takes(found: string, type: ColumnType): boolean {
  if (type.kind === 'decimal') {
    const digits = /^numeric\((\d+),(-?\d+)\)$/.exec(found)
    if (digits === null) return found === 'numeric'
    const [precision, scale] = [Number(digits[1]), Number(digits[2])]
    return scale >= type.scale && precision - scale >= type.precision - type.scale
  }
  const plain = withoutDigits(found)
  return plain === typeFor(type) || wider[type.kind]?.includes(plain) === true
}

/** How values are written for a column that is there. */
export function formFor(found: string, declared: ColumnType | undefined): ValueForm {
  const plain = withoutDigits(found)
  if (plain === 'json' || plain === 'jsonb') return 'json'
  if (plain === 'bytea') return 'binary'
  if (plain === 'uuid' || plain === 'boolean' || plain === 'date') return plain
  if (plain.startsWith('time')) {
    if (plain.startsWith('time ')) return 'time'
    return plain.endsWith('without time zone') ? 'timestamp' : 'timestamptz'
  }
  return /^(smallint|integer|bigint|numeric|real|double precision)/.test(plain) ? 'number' : formInText(declared)
}

/** The type that a value's text is cast to. Casts to a length cut silently; without it, what is too long is an error. */
export function castFor(found: string): string {
  if (found.startsWith('character varying')) return 'character varying'
  if (found.startsWith('character')) return 'bpchar'
  return found.startsWith('bit') ? 'bit varying' : found
}

/**
 * The type of the lists that a column's values come in: its own, which spares a cast of each value. Lists of lists, and of types that
 * someone made, have rules of their own: those come as text, and so does what is in base64.
 */
export function elementFor({ form, type }: Pick<SqlColumn, 'form' | 'type'>): string {
  const cast = castFor(type)
  const own = form === 'text' ? ['text', 'character varying', 'bpchar'].includes(cast) : form !== 'binary'
  return own && !type.endsWith(']') ? cast : 'text'
}
