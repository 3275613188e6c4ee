/**
 * What the types of a stream's columns ask of values beyond its schema: a value that its column could not hold exactly is refused at
 * the door, not lost behind it. Decimals are looked at in the event's text (decimal-text.ts), where they have all their digits.
 */
import type { Column, ColumnType } from '../config/plan.ts'
import { isCanonicalTime, isoToUtc } from './event-time.ts'
import { pointer, type EventFault } from './refusal.ts'

/** What is wrong with a value that is not null, its path from the value; undefined when nothing is. */
type Check = (value: unknown) => EventFault | undefined

/** A check for events of a stream with these columns; undefined when no column asks for one. */
export function compileTypeCheck(
  columns: readonly Column[] | null,
): ((event: object) => EventFault | undefined) | undefined {
  return columns === null ? undefined : structCheck(columns)
}

/** Whether a type is, or has in it, one of `kind`. */
export function hasKind(type: ColumnType, kind: ColumnType['kind']): boolean {
  switch (type.kind) {
    case 'struct':
      return type.fields.some((field) => hasKind(field.type, kind))
    case 'list':
      return hasKind(type.element, kind)
    case 'map':
      return hasKind(type.value, kind)
    default:
      return type.kind === kind
  }
}

function checkOf(type: ColumnType): Check | undefined {
  switch (type.kind) {
    case 'struct':
      return structCheck(type.fields)
    case 'list':
      return listCheck(type.element)
    case 'map':
      return mapCheck(type.value)
    default: {
      const reasonFor = reasons[type.kind]
      return reasonFor && ((value) => faultFor(reasonFor(value)))
    }
  }
}

function faultFor(reason: string | undefined): EventFault | undefined {
  return reason === undefined ? undefined : { code: 'schema_violation', path: '', reason }
}

function structCheck(fields: readonly Column[]): Check | undefined {
  const names: string[] = []
  const checks: Check[] = []
  for (const { name, type } of fields) {
    const check = checkOf(type)
    if (check === undefined) continue
    names.push(name)
    checks.push(check)
  }
  if (checks.length === 0) return undefined
  return (value) => {
    if (typeof value !== 'object') return undefined
    for (let index = 0; index < checks.length; index++) {
      const member = (value as Record<string, unknown>)[names[index]!]
      if (member === undefined || member === null) continue
      const fault = checks[index]!(member)
      if (fault !== undefined) return below(names[index]!, fault)
    }
    return undefined
  }
}

function listCheck(element: ColumnType): Check | undefined {
  const check = checkOf(element)
  if (check === undefined) return undefined
  return (value) => {
    if (!Array.isArray(value)) return undefined
    for (let index = 0; index < value.length; index++) {
      const member: unknown = value[index]
      const fault = member === null ? undefined : check(member)
      if (fault !== undefined) return below(index, fault)
    }
    return undefined
  }
}

function mapCheck(values: ColumnType): Check | undefined {
  const check = checkOf(values)
  if (check === undefined) return undefined
  return (value) => {
    if (typeof value !== 'object') return undefined
    for (const [key, member] of Object.entries(value as object) as [string, unknown][]) {
      const fault = member === null ? undefined : check(member)
      if (fault !== undefined) return below(key, fault)
    }
    return undefined
  }
}

function below(key: string | number, fault: EventFault): EventFault {
  return { ...fault, path: pointer('', key) + fault.path }
}

/** Why a value cannot be in a column; undefined when it can. */
const reasons: Partial<Record<ColumnType['kind'], (value: unknown) => string | undefined>> = {
  int: (value) =>
    (value as number) === ((value as number) | 0) ? undefined : 'must be a whole number from -2147483648 to 2147483647',
  float: (value) => {
    if (typeof value !== 'number') return notANumber(value)
    return Number.isFinite(Math.fround(value))
      ? undefined
      : 'must be a number of at most 3.4028234e38, as a float holds'
  },
  double: (value) => (typeof value === 'number' ? undefined : notANumber(value)),
  timestamptz: (value) => textReason(value, zonedReason),
  timestamp: (value) => textReason(value, localReason),
  date: (value) => textReason(value, dateReason),
  time: (value) =>
    textReason(value, (text) =>
      timeOfDay.test(text)
        ? undefined
        : 'must be a time of day without an offset and with at most 6 digits behind the point, such as 13:30:00.123',
    ),
  uuid: (value) =>
    textReason(value, (text) =>
      uuid.test(text) ? undefined : 'must be a uuid such as 2f1c3c6e-7b1e-4f6a-9a57-0c9d0f5a1b2c',
    ),
  binary: (value) =>
    textReason(value, (text) =>
      text.length % 4 === 0 && base64.test(text) ? undefined : 'must be base64 (A-Z, a-z, 0-9, + and /, padded with =)',
    ),
}

const timeOfDay = /^(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?Z?)?$/
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const base64 = /^[A-Za-z0-9+/]*={0,2}$/
/** Times with a zone in the forms that the engine reads. */
const zonedForm = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/
const localForm = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?$/

/** What a column of floating point takes beside numbers. */
const notNumbers: readonly unknown[] = ['NaN', 'Infinity', '-Infinity']

function notANumber(value: unknown): string | undefined {
  return notNumbers.includes(value) ? undefined : 'must be a number, or one of "NaN", "Infinity", "-Infinity"'
}

function textReason(value: unknown, reason: (text: string) => string | undefined): string | undefined {
  return typeof value === 'string' ? reason(value) : 'must be text'
}

function zonedReason(text: string): string | undefined {
  if (isCanonicalTime(text)) return undefined
  const read = isoToUtc(text)
  if (typeof read !== 'string') return read.reason
  return zonedForm.test(text)
    ? undefined
    : 'must have seconds, an upper-case T and an upper-case Z or an offset, such as 2026-11-20T20:29:00Z'
}

function localReason(text: string): string | undefined {
  if (!localForm.test(text))
    return 'must be a date and time without an offset and with at most 6 digits behind the point, such as 2026-11-20T20:29:00.123'
  const read = isoToUtc(`${text}Z`)
  return typeof read === 'string' ? undefined : read.reason
}

function dateReason(text: string): string | undefined {
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return 'must be a date such as 2026-11-20'
  const read = isoToUtc(`${text}T00:00:00Z`)
  return typeof read === 'string' ? undefined : read.reason
}
