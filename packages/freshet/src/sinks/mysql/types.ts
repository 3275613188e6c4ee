/** Types of columns, as MySQL and MariaDB call them. */
import type { ColumnType } from '../../config/plan.ts'
import { formInText } from '../sql/mapping.ts'
import type { ValueForm } from '../sql/sql-target.ts'

const names: Partial<Record<ColumnType['kind'], string>> = {
  boolean: 'tinyint(1)',
  int: 'int',
  long: 'bigint',
  float: 'float',
  double: 'double',
  string: 'longtext',
  timestamptz: 'datetime(6)',
  timestamp: 'datetime(6)',
  date: 'date',
  time: 'time(6)',
  uuid: 'char(36)',
  binary: 'longblob',
  fixed: 'longblob',
}

/** The type of a column that is made for a declared type. Columns of a key need a length. */
export function typeFor(type: ColumnType, key = false): string {
  if (type.kind === 'decimal') return `decimal(${type.precision},${type.scale})`
  if (key && type.kind === 'string') return 'varchar(255)'
  if (key && (type.kind === 'binary' || type.kind === 'fixed')) return 'varbinary(255)'
  return names[type.kind] ?? 'json'
}

const texts = ['tinytext', 'text', 'mediumtext', 'longtext', 'varchar', 'char']
const blobs = ['tinyblob', 'blob', 'mediumblob', 'longblob', 'varbinary', 'binary']

const takers: Partial<Record<ColumnType['kind'], readonly string[]>> = {
  boolean: ['tinyint', 'smallint', 'int', 'boolean'],
  int: ['int', 'bigint', 'decimal', 'double'],
  long: ['bigint', 'decimal'],
  float: ['float', 'double'],
  double: ['double'],
  string: texts,
  timestamptz: ['datetime', 'timestamp'],
  timestamp: ['datetime'],
  date: ['date', 'datetime'],
  time: ['time'],
  uuid: [...texts, 'uuid'],
  binary: blobs,
  fixed: blobs,
}

/** Whether a column of the type `found`, as information_schema says it, takes what is declared. */
export function takes(found: string, type: ColumnType): boolean {
  const base = baseOf(found)
  if (found.includes('unsigned')) return false
  if (type.kind === 'decimal' || (base === 'decimal' && (type.kind === 'int' || type.kind === 'long'))) {
    const digits = /^decimal\((\d+),(\d+)\)$/.exec(found)
    if (digits === null) return false
    const [precision, scale] = [Number(digits[1]), Number(digits[2])]
    if (type.kind !== 'decimal') return precision - scale >= (type.kind === 'int' ? 10 : 19)
    return scale >= type.scale && precision - scale >= type.precision - type.scale
  }
  return (takers[type.kind] ?? ['json', ...texts]).includes(base)
}

const baseOf = (found: string): string => /^[a-z]+/.exec(found.toLowerCase())?.[0] ?? ''

/** How values are written for a column that is there. MariaDB says `longtext` of its JSON columns: then the declared type tells. */
export function formFor(found: string, declared: ColumnType | undefined): ValueForm {
  const base = baseOf(found)
  if (base === 'json') return 'json'
  if (texts.includes(base)) return formInText(declared)
  if (blobs.includes(base)) return 'binary'
  if (found === 'tinyint(1)' || base === 'boolean') return 'boolean'
  if (base === 'datetime') return declared?.kind === 'date' ? 'date' : 'timestamp'
  if (base === 'timestamp') return 'timestamptz'
  if (base === 'date' || base === 'time' || base === 'uuid') return base
  return ['tinyint', 'smallint', 'mediumint', 'int', 'bigint', 'decimal', 'float', 'double'].includes(base)
    ? 'number'
    : 'text'
}
