import { daysFromCivil } from './partition.ts'

/**
 * Column bounds in Iceberg's binary single-value serialisation (Iceberg spec, Appendix D), from the texts in which DuckDB gives
 * a file's smallest and largest values.
 */
export type Side = 'lower' | 'upper'

const boundCodePointsMax = 16
const codePointMax = 0x10ffff

/**
 * The bound for a column of `type` whose smallest (`lower`) or largest (`upper`) value reads `text`.
 * @returns undefined where there is no bound: NaN, infinities, a type without one, text that cannot be read. A missing bound
 * only costs readers a look into the file.
 */
export function encodeBound(type: string, text: string, side: Side): Buffer | undefined {
  switch (type) {
    case 'boolean':
      return encodeBoolean(text)
    case 'long':
      return /^-?\d{1,19}$/.test(text) ? encodeLong(BigInt(text)) : undefined
    case 'int':
      return /^-?\d{1,10}$/.test(text) ? encodeInt(Number(text)) : undefined
    case 'double':
      return encodeDouble(text, side)
    case 'string':
      return encodeStringBound(text, side)
    case 'date': {
      const days = parseDate(text)
      return days === undefined ? undefined : encodeInt(days)
    }
    case 'timestamptz': {
      const us = parseTimestamp(text)
      return us === undefined ? undefined : encodeLong(us)
    }
    default:
      return undefined
  }
}

function encodeBoolean(text: string): Buffer | undefined {
  if (text === '1' || text === 'true') return Buffer.from([1])
  return text === '0' || text === 'false' ? Buffer.from([0]) : undefined
}

/** A long or timestamptz bound: 8 bytes, little-endian. */
export function encodeLong(value: bigint): Buffer | undefined {
  if (BigInt.asIntN(64, value) !== value) return undefined
  const buffer = Buffer.alloc(8)
  buffer.writeBigInt64LE(value)
  return buffer
}

/** An int or date bound: 4 bytes, little-endian. */
export function encodeInt(value: number): Buffer | undefined {
  if ((value | 0) !== value) return undefined
  const buffer = Buffer.alloc(4)
  buffer.writeInt32LE(value)
  return buffer
}

/** Zero is written as the zero that is outermost, since the text does not tell whether the column has both. */
function encodeDouble(text: string, side: Side): Buffer | undefined {
  if (text.trim() === '') return undefined
  const value = Number(text)
  if (!Number.isFinite(value)) return undefined
  const buffer = Buffer.alloc(8)
  buffer.writeDoubleLE(value === 0 ? (side === 'lower' ? -0 : 0) : value)
  return buffer
}

/**
 * A string bound of at most 16 code points. An upper bound that is cut has its last code point raised, so that it stays above
 * every value that it stands for; undefined when none can be raised.
 */
export function encodeStringBound(text: string, side: Side): Buffer | undefined {
  const points: number[] = []
  for (const character of text) {
    if (points.length === boundCodePointsMax) return cutBound(points, side)
    points.push(character.codePointAt(0)!)
  }
  return Buffer.from(text, 'utf8')
}

function cutBound(points: number[], side: Side): Buffer | undefined {
  if (side === 'lower') return Buffer.from(String.fromCodePoint(...points), 'utf8')
  while (points.length > 0) {
    const last = points.pop()!
    if (last === codePointMax) continue
    // U+D800 to U+DFFF are halves of pairs, not characters.
    const raised = last + 1 >= 0xd800 && last + 1 <= 0xdfff ? 0xe000 : last + 1
    return Buffer.from(String.fromCodePoint(...points, raised), 'utf8')
  }
  return undefined
}

/** Days since 1970 of DuckDB's text for a date; undefined for `infinity` and anything else. */
export function parseDate(text: string): number | undefined {
  const match = /^(\d{4,})-(\d\d)-(\d\d)( \(BC\))?$/.exec(text)
  if (match === null) return undefined
  return daysOf(match[1]!, match[2]!, match[3]!, match[4])
}

/** Microseconds since 1970 of DuckDB's text for a timestamptz (`2013-10-07 13:30:00.123+00`). */
export function parseTimestamp(text: string): bigint | undefined {
  const pattern =
    /^(\d{4,})-(\d\d)-(\d\d)( \(BC\))? (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?([+-])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?( \(BC\))?$/
  const match = pattern.exec(text)
  if (match === null) return undefined
  const [
    ,
    year,
    month,
    day,
    bcEarly,
    hour,
    minute,
    second,
    fraction = '',
    sign,
    zoneHour,
    zoneMinute = '0',
    zoneSecond = '0',
    bcLate,
  ] = match
  const days = daysOf(year!, month!, day!, bcEarly ?? bcLate)
  const zone = (Number(zoneHour) * 60 + Number(zoneMinute)) * 60 + Number(zoneSecond)
  const seconds = (Number(hour) * 60 + Number(minute)) * 60 + Number(second) - (sign === '-' ? -zone : zone)
  return (BigInt(days) * 86_400n + BigInt(seconds)) * 1_000_000n + BigInt(fraction.padEnd(6, '0'))
}

function daysOf(year: string, month: string, day: string, bc: string | undefined): number {
  return daysFromCivil(bc === undefined ? Number(year) : 1 - Number(year), Number(month), Number(day))
}

/** A long or timestamptz bound's value; undefined when it has another width. */
export function decodeLong(bound: Buffer | undefined): bigint | undefined {
  if (bound?.length === 4) return BigInt(bound.readInt32LE())
  return bound?.length === 8 ? bound.readBigInt64LE() : undefined
}
