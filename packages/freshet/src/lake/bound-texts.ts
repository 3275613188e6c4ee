import { daysFromCivil } from './partition.ts'

/** Reads DuckDB's texts for values, in which `RETURN_STATS` gives a file's smallest and largest. All return undefined for anything else. */

/** Days since 1970 of a date; undefined for `infinity` as well. */
export function parseDate(text: string): number | undefined {
  const match = /^(\d{4,})-(\d\d)-(\d\d)( \(BC\))?$/.exec(text)
  if (match === null) return undefined
  return daysOf(match[1]!, match[2]!, match[3]!, match[4])
}

const moment = String.raw`(\d{4,})-(\d\d)-(\d\d)( \(BC\))? (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?`
const localTimestamp = new RegExp(String.raw`^${moment}( \(BC\))?$`)
const zonedTimestamp = new RegExp(String.raw`^${moment}([+-])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?( \(BC\))?$`)

/** Microseconds since 1970 of a timestamp with a time zone (`2013-10-07 13:30:00.123+00`). */
export function parseTimestamp(text: string): bigint | undefined {
  const match = zonedTimestamp.exec(text)
  if (match === null) return undefined
  const [sign, zoneHour, zoneMinute = '0', zoneSecond = '0', bcLate] = match.slice(9)
  const zone = (Number(zoneHour) * 60 + Number(zoneMinute)) * 60 + Number(zoneSecond)
  const micros = BigInt(sign === '-' ? -zone : zone) * 1_000_000n
  return microsOf(match, bcLate) - micros
}

/** Microseconds since 1970 of a timestamp without a time zone (`2013-10-07 13:30:00.123`). */
export function parseLocalTimestamp(text: string): bigint | undefined {
  const match = localTimestamp.exec(text)
  return match === null ? undefined : microsOf(match, match[9])
}

function microsOf(match: RegExpExecArray, bcLate: string | undefined): bigint {
  const [, year, month, day, bcEarly, hour, minute, second, fraction] = match
  const days = daysOf(year!, month!, day!, bcEarly ?? bcLate)
  return BigInt(days) * 86_400_000_000n + timeOf(hour!, minute!, second!, fraction)
}

/** Microseconds since midnight of a time of day (`13:30:00.123`). */
export function parseTime(text: string): bigint | undefined {
  const match = /^(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?$/.exec(text)
  return match === null ? undefined : timeOf(match[1]!, match[2]!, match[3]!, match[4])
}

function timeOf(hour: string, minute: string, second: string, fraction = ''): bigint {
  const seconds = (Number(hour) * 60 + Number(minute)) * 60 + Number(second)
  return BigInt(seconds) * 1_000_000n + BigInt(fraction.padEnd(6, '0'))
}

function daysOf(year: string, month: string, day: string, bc: string | undefined): number {
  return daysFromCivil(bc === undefined ? Number(year) : 1 - Number(year), Number(month), Number(day))
}

/** A decimal as a whole number of units of its last place, `scale` digits behind the point (`-.50` with scale 3 is -500). */
export function parseDecimal(text: string, scale: number): bigint | undefined {
  const match = /^(-?)(\d*)(?:\.(\d*))?$/.exec(text)
  if (match === null) return undefined
  const [, sign, whole = '', fraction = ''] = match
  if (whole === '' && fraction === '') return undefined
  if (fraction.length > scale && !/^0*$/.test(fraction.slice(scale))) return undefined
  const unscaled = BigInt(whole + fraction.slice(0, scale).padEnd(scale, '0'))
  return sign === '-' ? -unscaled : unscaled
}
