/** Values of an event as text for a database, with every digit. */
import { exactFields, plainEvent, textOf, valueAt } from '../event-fields.ts'
import type { SinkEvent } from '../sink.ts'
import type { Tombstone } from './settings.ts'
import type { SqlColumn, SqlRow, ValueForm } from './sql-target.ts'

/** So many digits a double may not hold. */
const digitsMin = 16
/** A number that may be too large or too small for a double. */
const farExponent = /\d[eE][+-]?\d{3}/

const isDigit = (code: number): boolean => (code >= 48 && code <= 57) || code === 46

/** Whether a text has a number that a double may not hold: only then it is parsed again. */
export function hasManyDigits(text: string): boolean {
  // Of so many digits in a row, one is at one of these places.
  for (let at = digitsMin - 1; at < text.length; at += digitsMin) {
    if (!isDigit(text.charCodeAt(at))) continue
    let first = at
    while (first > 0 && isDigit(text.charCodeAt(first - 1))) first--
    let end = at + 1
    while (end < text.length && isDigit(text.charCodeAt(end))) end++
    if (end - first >= digitsMin) return true
  }
  return false
}

interface ReadRules {
  /** Whether digits matter, to the columns that there are; and whether numbers in objects do. */
  digits: boolean
  nested: boolean
  /** Whether system columns are written too. */
  system: boolean
}

/** The event's values as they are to be written: every number as its digits, where a double might lose some. */
function fieldsOf(event: SinkEvent, { digits, nested, system }: ReadRules): Record<string, unknown> {
  if (digits && (hasManyDigits(event.text) || (nested && farExponent.test(event.text)))) return exactFields(event)
  return system ? plainEvent(event) : event.fields
}

const timeWithOffset = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:?\d\d)$/

/** Whether a text is as `utcText` makes it, as most are. */
function looksUtc(text: string): boolean {
  const { length } = text
  if (length < 20 || length > 27 || length === 21 || text[length - 1] !== 'Z' || text[10] !== 'T') return false
  return length === 20 || (text[19] === '.' && text[length - 2] !== '0')
}

/** A moment in UTC, `YYYY-MM-DDTHH:MM:SS[.f{1,6}]Z` without zeros at the end; what is no moment stays as it is. */
export function utcText(text: string): string {
  if (looksUtc(text)) return text
  const parts = timeWithOffset.exec(text)
  if (parts === null) return text
  const [, day, hour, digits = '', offset] = parts
  const fraction = digits.slice(0, 6).replace(/0+$/, '')
  const end = fraction === '' ? 'Z' : `.${fraction}Z`
  if (offset === 'Z' || offset === 'z') return `${day}T${hour}${end}`
  const ms = Date.parse(
    `${day}T${hour}${offset!.includes(':') ? offset : `${offset!.slice(0, 3)}:${offset!.slice(3)}`}`,
  )
  return Number.isNaN(ms) ? text : `${new Date(ms).toISOString().slice(0, 19)}${end}`
}

/** A value as text, null for none. */
export function textFor(value: unknown, form: ValueForm): string | null {
  if (value === null || value === undefined) return null
  if (form === 'json') return JSON.stringify(value)
  const text = typeof value === 'string' ? value : typeof value === 'number' ? String(value) : textOf(value)
  return form === 'timestamptz' || form === 'timestamp' ? utcText(text) : form === 'uuid' ? text.toLowerCase() : text
}

/** Whether equal values of this form surely have equal texts, so that keys can be compared as text. */
export function isExact(text: string, form: ValueForm): boolean {
  // Some databases ignore spaces at the end.
  if (form === 'text') return !text.endsWith(' ')
  if (form === 'number') return /^-?(0|[1-9]\d{0,30})$/.test(text) && text !== '-0'
  if (form === 'date') return /^\d{4}-\d\d-\d\d$/.test(text)
  if (form === 'timestamptz') return text.endsWith('Z')
  return form === 'uuid' || form === 'boolean'
}

export interface ReadRows {
  /** By index in the batch; undefined for an event that is refused. */
  rows: (SqlRow | undefined)[]
  /** Indexes of the events that remove their row. */
  removals: Set<number>
  refused: Map<number, string>
  /** Whether keys can be compared as text. */
  exact: boolean
}

export interface RowRules {
  columns: readonly SqlColumn[]
  tombstone: Tombstone | undefined
  takesNul: boolean
}

/** The values of a batch. */
export function readRows(batch: readonly SinkEvent[], { columns, tombstone, takesNul }: RowRules): ReadRows {
  const forms = new Set(columns.map(({ form }) => form))
  const rules: ReadRules = {
    digits: forms.has('number') || forms.has('json') || forms.has('text'),
    nested: forms.has('json'),
    system: columns.some(({ field }) => field.startsWith('_')),
  }
  const found: ReadRows = { rows: [], removals: new Set(), refused: new Map(), exact: true }
  for (const [index, event] of batch.entries()) {
    const fields = fieldsOf(event, rules)
    const removes = tombstone !== undefined && valueAt(event.fields, tombstone.field) === tombstone.value
    const values: (string | null)[] = []
    let fault: string | undefined
    for (const { field, name, form, key } of columns) {
      let value = valueAt(fields, field)
      // It is written with an exponent that no double has.
      if (value === Infinity || value === -Infinity) value = valueAt(exactFields(event), field)
      const text = textFor(value, form)
      if (text === null) {
        if (key) fault ??= `The event has no value at "${field}", which is of the key of the sink's table.`
      } else {
        if (key && found.exact) found.exact = isExact(text, form)
        if (!takesNul && form !== 'json' && text.includes('\0'))
          fault ??= `The value at "${field}" has the character U+0000, which the column "${name}" cannot take.`
      }
      values.push(text)
    }
    if (removes) found.removals.add(index)
    if (fault !== undefined) found.refused.set(index, fault)
    found.rows.push(fault === undefined ? { index, values } : undefined)
  }
  return found
}
