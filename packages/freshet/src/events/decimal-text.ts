/**
 * Decimals of an event, in its text: JSON.parse and DuckDB take JSON numbers through doubles, which lose digits. Each number or text
 * in a place that has a decimal column is checked digit by digit, and written as text in the stored line, which DuckDB reads exactly.
 */
import type { Column, ColumnType } from '../config/plan.ts'
import { extentOf, skipSpace, stringEnd } from './json-text.ts'
import { pointer, type EventFault } from './refusal.ts'

/** The event's text with its decimals written as text, or what is wrong with one of them. */
export type DecimalWriter = (raw: string) => string | EventFault

interface Digits {
  precision: number
  scale: number
}

/** What to do with a value of a type: nothing (undefined), or look for decimals in it. */
interface Place {
  digits?: Digits
  fields?: ReadonlyMap<string, Place>
  element?: Place
  value?: Place
}

/** A writer for streams with decimal columns; undefined for others. */
export function createDecimalWriter(columns: readonly Column[] | null): DecimalWriter | undefined {
  const place = columns === null ? undefined : placeOf({ kind: 'struct', fields: [...columns] })
  return place && ((raw) => new Rewriter(raw).rewrite(place))
}

function placeOf(type: ColumnType): Place | undefined {
  switch (type.kind) {
    case 'decimal':
      return { digits: type }
    case 'struct': {
      const fields = type.fields.flatMap((field): [string, Place][] => {
        const place = placeOf(field.type)
        return place === undefined ? [] : [[field.name, place]]
      })
      return fields.length === 0 ? undefined : { fields: new Map(fields) }
    }
    case 'list': {
      const element = placeOf(type.element)
      return element && { element }
    }
    case 'map': {
      const value = placeOf(type.value)
      return value && { value }
    }
    default:
      return undefined
  }
}

/** A fault on its way out of the text, its path growing at each level. */
class Found extends Error {
  readonly reason: string
  path = ''

  constructor(reason: string) {
    super(reason)
    this.reason = reason
  }
}

const quote = 0x22
const comma = 0x2c
const openBracket = 0x5b
const openBrace = 0x7b
const scalarEnd = /[\s,\]}]/g

/** The text is known to be valid JSON. */
class Rewriter {
  readonly #text: string
  #at = 0
  /** Up to where the text has gone into `#out`. */
  #copied = 0
  #out = ''

  constructor(text: string) {
    this.#text = text
  }

  rewrite(place: Place): string | EventFault {
    try {
      this.#value(place)
    } catch (error) {
      if (!(error instanceof Found)) throw error
      return { code: 'schema_violation', path: error.path, reason: error.reason }
    }
    return this.#copied === 0 ? this.#text : this.#out + this.#text.slice(this.#copied)
  }

  /** Goes over one value, up to its end. */
  #value(place: Place | undefined): void {
    this.#space()
    const first = this.#text.charCodeAt(this.#at)
    if (place?.digits !== undefined) this.#decimal(place.digits)
    else if (first === openBrace && (place?.fields ?? place?.value) !== undefined) this.#members(place!)
    else if (first === openBracket && place?.element !== undefined) this.#elements(place.element)
    else this.#at = this.#endOfValue()
  }

  #members({ fields, value }: Place): void {
    this.#open()
    while (this.#text.charCodeAt(this.#at) === quote) {
      const end = stringEnd(this.#text, this.#at, this.#text.length)
      const name = JSON.parse(this.#text.slice(this.#at, end)) as string
      this.#at = skipSpace(this.#text, end, this.#text.length) + 1
      this.#inside(name, value ?? fields?.get(name))
    }
    this.#at++
  }

  #elements(element: Place): void {
    this.#open()
    for (let index = 0; this.#text[this.#at] !== ']'; index++) this.#inside(index, element)
    this.#at++
  }

  #inside(key: string | number, place: Place | undefined): void {
    try {
      this.#value(place)
    } catch (error) {
      if (error instanceof Found) error.path = pointer('', key) + error.path
      throw error
    }
    this.#space()
    if (this.#text.charCodeAt(this.#at) !== comma) return
    this.#at++
    this.#space()
  }

  #open(): void {
    this.#at++
    this.#space()
  }

  #space(): void {
    this.#at = skipSpace(this.#text, this.#at, this.#text.length)
  }

  #endOfValue(): number {
    const first = this.#text.charCodeAt(this.#at)
    if (first === quote) return stringEnd(this.#text, this.#at, this.#text.length)
    if (first === openBrace || first === openBracket) return extentOf(this.#text, this.#at, this.#text.length).end
    scalarEnd.lastIndex = this.#at
    return scalarEnd.exec(this.#text)?.index ?? this.#text.length
  }

  #decimal(digits: Digits): void {
    const start = this.#at
    this.#at = this.#endOfValue()
    const token = this.#text.slice(start, this.#at)
    if (token === 'null') return
    const isText = token.charCodeAt(0) === quote
    const plain = plainDecimal(isText ? (JSON.parse(token) as string) : token, digits)
    if (isText && token.length === plain.length + 2 && token.includes(plain)) return
    this.#out += `${this.#text.slice(this.#copied, start)}"${plain}"`
    this.#copied = this.#at
  }
}

const decimalForm = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,9}))?$/

/**
 * A decimal without exponent and needless zeros.
 * @throws Found when it is none, or has more digits than the column
 */
function plainDecimal(text: string, { precision, scale }: Digits): string {
  const match = decimalForm.exec(text)
  if (match === null) throw new Found('must be a decimal number, or one as text')
  const [, sign, whole = '', fraction = '', exponent = '0'] = match
  const significant = (whole + fraction).replace(/^0+/, '')
  if (significant === '') return '0'
  const trimmed = trimZeros(significant)
  // The value is `trimmed` x 10^-places.
  const places = fraction.length - Number(exponent) - (significant.length - trimmed.length)
  if (places > scale)
    throw new Found(`has more than ${scale} digits behind the point, which a ${wordOf(precision, scale)} has`)
  if (trimmed.length - places > precision - scale)
    throw new Found(
      `has more than ${precision - scale} digits before the point, which a ${wordOf(precision, scale)} has`,
    )
  if (places <= 0) return `${sign}${trimmed}${'0'.repeat(-places)}`
  const padded = trimmed.padStart(places + 1, '0')
  return `${sign}${padded.slice(0, -places)}.${padded.slice(-places)}`
}

/** A loop, since a pattern that looks for zeros at the end takes quadratic time on zeros elsewhere. */
function trimZeros(digits: string): string {
  let end = digits.length
  while (end > 0 && digits[end - 1] === '0') end--
  return digits.slice(0, end)
}

function wordOf(precision: number, scale: number): string {
  return `decimal(${precision}, ${scale})`
}
