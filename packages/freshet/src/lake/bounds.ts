import { parseDate, parseDecimal, parseLocalTimestamp, parseTime, parseTimestamp } from './bound-texts.ts'
import { decimalOf } from './bound-values.ts'

/**
 * Column bounds in Iceberg's binary single-value serialisation (Iceberg spec, Appendix D), from the texts in which DuckDB gives
 * a file's smallest and largest values. A bound may be wider than the values, never narrower; a missing one only costs readers a
 * look into the file.
 */
export type Side = 'lower' | 'upper'

export interface Bounds {
  lower: Buffer | undefined
  upper: Buffer | undefined
}

const boundCodePointsMax = 16
const boundBytesMax = 16
const codePointMax = 0x10ffff

/** The bounds for a column of `type` whose smallest and largest values read `min` and `max`. */
export function encodeBounds(type: string, min: string | undefined, max: string | undefined): Bounds {
  if (type === 'uuid') return uuidBounds(min, max)
  return {
    lower: min === undefined ? undefined : encodeBound(type, min, 'lower'),
    upper: max === undefined ? undefined : encodeBound(type, max, 'upper'),
  }
}

/**
 * One side's bound, for every type but uuid.
 * @returns undefined where there is none: NaN, infinite times, a type without one, text that cannot be read
 */
export function encodeBound(type: string, text: string, side: Side): Buffer | undefined {
  switch (type) {
    case 'boolean':
      return encodeBoolean(text)
    case 'long':
      return /^-?\d{1,19}$/.test(text) ? encodeLong(BigInt(text)) : undefined
    case 'int':
      return /^-?\d{1,10}$/.test(text) ? encodeInt(Number(text)) : undefined
    case 'float':
      return encodeFloat(text, side)
    case 'double':
      return encodeDouble(text, side)
    case 'string':
      return encodeStringBound(text, side)
    case 'binary':
      return encodeBinaryBound(text, side)
    case 'date': {
      const days = parseDate(text)
      return days === undefined ? undefined : encodeInt(days)
    }
    case 'time':
      return encodeMicros(parseTime(text))
    case 'timestamp':
      return encodeMicros(parseLocalTimestamp(text))
    case 'timestamptz':
      return encodeMicros(parseTimestamp(text))
    default:
      return encodeDecimalBound(type, text)
  }
}

function encodeBoolean(text: string): Buffer | undefined {
  if (text === '1' || text === 'true') return Buffer.from([1])
  return text === '0' || text === 'false' ? Buffer.from([0]) : undefined
}

function encodeMicros(micros: bigint | undefined): Buffer | undefined {
  return micros === undefined ? undefined : encodeLong(micros)
}

/** A long, time or timestamp bound: 8 bytes, little-endian. */
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

function encodeDouble(text: string, side: Side): Buffer | undefined {
  const value = readFloat(text, side)
  if (value === undefined) return undefined
  const buffer = Buffer.alloc(8)
  buffer.writeDoubleLE(value)
  return buffer
}

/**
 * The text of a float is the shortest that reads as that float, but it is read as a double first. Should that land midway between
 * two floats, either may be meant: the outer one is taken.
 */
function encodeFloat(text: string, side: Side): Buffer | undefined {
  const value = readFloat(text, side)
  if (value === undefined) return undefined
  let nearest = Math.fround(value)
  if (nearest !== value && Number.isFinite(nearest)) {
    const other = Math.fround(value + (value - nearest))
    if (value - nearest === other - value)
      nearest = side === 'lower' ? Math.min(nearest, other) : Math.max(nearest, other)
  }
  const buffer = Buffer.alloc(4)
  buffer.writeFloatLE(nearest)
  return buffer
}

/** Zero is the zero that is outermost, since the text does not tell whether the column has both. Undefined for NaN. */
function readFloat(text: string, side: Side): number | undefined {
  if (text === 'inf') return Number.POSITIVE_INFINITY
  if (text === '-inf') return Number.NEGATIVE_INFINITY
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) return undefined
  return value === 0 ? (side === 'lower' ? -0 : 0) : value
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

/** A binary bound of at most 16 bytes, from hexadecimal text; an upper bound that is cut has its last byte raised. */
function encodeBinaryBound(text: string, side: Side): Buffer | undefined {
  if (!/^(?:[0-9a-f]{2})*$/i.test(text)) return undefined
  const bytes = Buffer.from(text, 'hex')
  if (bytes.length <= boundBytesMax) return bytes
  let end = boundBytesMax
  if (side === 'lower') return bytes.subarray(0, end)
  while (end > 0 && bytes[end - 1] === 0xff) end--
  if (end === 0) return undefined
  const raised = Buffer.from(bytes.subarray(0, end))
  raised[end - 1]! += 1
  return raised
}

/** The unscaled value in the fewest bytes of two's complement, most significant first. */
function encodeDecimalBound(type: string, text: string): Buffer | undefined {
  const decimal = decimalOf(type)
  const unscaled = decimal && parseDecimal(text, decimal.scale)
  return unscaled === undefined ? undefined : encodeBigEndian(unscaled)
}

function encodeBigEndian(value: bigint): Buffer {
  let bytes = 1
  while (BigInt.asIntN(bytes * 8, value) !== value) bytes++
  return Buffer.from(
    BigInt.asUintN(bytes * 8, value)
      .toString(16)
      .padStart(bytes * 2, '0'),
    'hex',
  )
}

const half = 1n << 63n

/**
 * Readers disagree on the order of uuids: some compare 128 bits without a sign, others, Java's, two signed halves. So bounds are
 * given only where both orders agree: all first halves have the same sign, and the second halves, which may not, are left out of it
 * by a first half that is one lower, or one higher, than any. Random uuids get none, and have no use for any.
 */
function uuidBounds(min: string | undefined, max: string | undefined): Bounds {
  const none = { lower: undefined, upper: undefined }
  const [first, last] = [min, max].map(firstHalf)
  if (first === undefined || last === undefined || first < half !== last < half) return none
  return { lower: uuidFrom(first - 1n, first), upper: uuidFrom(last + 1n, last) }
}

function firstHalf(text: string | undefined): bigint | undefined {
  if (text === undefined || !/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(text)) return undefined
  return BigInt(`0x${text.replaceAll('-', '').slice(0, 16)}`)
}

/** Undefined where the step to `part` leaves the half of the 64 bits that `from` is in. */
function uuidFrom(part: bigint, from: bigint): Buffer | undefined {
  if (part < 0n || part >= 2n * half || part < half !== from < half) return undefined
  return Buffer.from(part.toString(16).padStart(16, '0') + '0'.repeat(16), 'hex')
}
