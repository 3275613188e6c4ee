/**
 * Bounds as values: read from Iceberg's binary single-value serialisation (Iceberg spec, Appendix D) and compared in Iceberg's order.
 * A file keeps the width that its column had when it was written, so a column that was promoted since has bounds of both widths.
 */

interface DecimalValue {
  unscaled: bigint
  scale: number
}

/**
 * A value of a primitive type: `bigint` for int, long, date (days), time and both timestamps (microseconds); `number` for float and
 * double; `Buffer` for uuid, binary and fixed.
 */
export type BoundValue = boolean | bigint | number | string | Buffer | DecimalValue

/** @returns the parameters of a type such as `decimal(18, 4)`; undefined for any other */
export function decimalOf(type: string): { precision: number; scale: number } | undefined {
  const match = /^decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)$/.exec(type)
  return match === null ? undefined : { precision: Number(match[1]), scale: Number(match[2]) }
}

/** A bound's value for a column of `type` (as the schema has it now); undefined when there is none or it cannot be read. */
export function decodeBound(type: string, bound: Buffer | null | undefined): BoundValue | undefined {
  if (bound === undefined || bound === null) return undefined
  switch (type) {
    case 'boolean':
      return bound.length === 1 ? bound[0] !== 0 : undefined
    case 'int':
    case 'long':
    case 'time':
    case 'timestamp':
    case 'timestamptz':
    case 'date':
      return decodeLong(bound)
    case 'float':
    case 'double':
      return decodeFloat(bound)
    case 'string': {
      const text = bound.toString('utf8')
      return Buffer.from(text, 'utf8').equals(bound) ? text : undefined
    }
    case 'uuid':
      return bound.length === 16 ? bound : undefined
    case 'binary':
      return bound
    default: {
      if (/^fixed\[\d+\]$/.test(type)) return bound
      const decimal = decimalOf(type)
      if (decimal === undefined || bound.length === 0) return undefined
      return { unscaled: bigEndian(bound), scale: decimal.scale }
    }
  }
}

/** A whole number's value, of 4 or 8 bytes; undefined when it has another width. */
export function decodeLong(bound: Buffer | undefined): bigint | undefined {
  if (bound?.length === 4) return BigInt(bound.readInt32LE())
  return bound?.length === 8 ? bound.readBigInt64LE() : undefined
}

/** NaN is no bound: Iceberg spec, Manifests, on `lower_bounds`. */
function decodeFloat(bound: Buffer): number | undefined {
  if (bound.length !== 4 && bound.length !== 8) return undefined
  const value = bound.length === 4 ? bound.readFloatLE() : bound.readDoubleLE()
  return Number.isNaN(value) ? undefined : value
}

/** A two's complement number of any length, most significant byte first. */
function bigEndian(bytes: Buffer): bigint {
  return BigInt.asIntN(bytes.length * 8, BigInt(`0x${bytes.toString('hex')}`))
}

/**
 * Below 0, 0 or above 0, in Iceberg's order: texts by code point, bytes unsigned, -0.0 before 0.0, decimals by what they are worth.
 * @returns undefined when the two are not of one kind, or one is NaN
 */
export function compareValues(a: BoundValue, b: BoundValue): number | undefined {
  if (typeof a === 'string' && typeof b === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b))
  if (typeof a === 'number' && typeof b === 'number') return compareFloats(a, b)
  if (typeof a === 'bigint' && typeof b === 'bigint') return a < b ? -1 : a > b ? 1 : 0
  if (typeof a === 'boolean' && typeof b === 'boolean') return Number(a) - Number(b)
  if (Buffer.isBuffer(a) && Buffer.isBuffer(b)) return Buffer.compare(a, b)
  if (isDecimal(a) && isDecimal(b)) return compareDecimals(a, b)
  return undefined
}

function isDecimal(value: BoundValue): value is DecimalValue {
  return typeof value === 'object' && !Buffer.isBuffer(value)
}

function compareFloats(a: number, b: number): number | undefined {
  if (Number.isNaN(a) || Number.isNaN(b)) return undefined
  if (a === 0 && b === 0) return Number(Object.is(b, -0)) - Number(Object.is(a, -0))
  return a < b ? -1 : a > b ? 1 : 0
}

function compareDecimals(a: DecimalValue, b: DecimalValue): number {
  const scale = Math.max(a.scale, b.scale)
  const [left, right] = [a, b].map(({ unscaled, scale: own }) => unscaled * 10n ** BigInt(scale - own)) as [
    bigint,
    bigint,
  ]
  return left < right ? -1 : left > right ? 1 : 0
}
