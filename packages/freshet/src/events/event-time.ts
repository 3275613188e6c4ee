/**
 * Reads an event's time and writes it as the stored text: `YYYY-MM-DDTHH:MM:SS[.f{1,6}]Z`, always UTC, years 0001 to 9999.
 * Text that has that form already is spliced as it is; offsets are converted; digits beyond microseconds are cut off, so that
 * the same input always gives the same time.
 */
import type { StreamPlan } from '../config/plan.ts'
import { Refusal } from './refusal.ts'

/** The stored text for an event's time field, or why it has none. */
export type TimeReader = (value: unknown) => string | Refusal

const minSecond = -62_135_596_800
const maxSecond = 253_402_300_799

/** A reader for one stream's time field. */
export function createTimeReader(time: NonNullable<StreamPlan['time']>): TimeReader {
  const { unit } = time
  if (unit === 'iso') {
    return (value) =>
      typeof value === 'string' ? isoToUtc(value) : new Refusal('must be an ISO 8601 date and time, as text')
  }
  const perSecond = { s: 1, ms: 1e3, us: 1e6 }[unit]
  const microsPerUnit = 1e6 / perSecond
  const format = createSecondFormat()
  return (value) => {
    if (typeof value !== 'number' || !Number.isFinite(value))
      return new Refusal(`must be a number (unit: ${unit} since 1970)`)
    let second = Math.floor(value / perSecond)
    let micros = Math.round((value - second * perSecond) * microsPerUnit)
    if (micros >= 1e6) {
      second++
      micros -= 1e6
    }
    if (second < minSecond || second > maxSecond)
      return new Refusal(`is outside the years 0001 to 9999 (unit: ${unit} since 1970)`)
    return format(second, micros)
  }
}

/** Formats seconds since 1970 and microseconds; remembers the second last asked for, which events in a batch mostly share. */
function createSecondFormat(): (second: number, micros: number) => string {
  let lastSecond = Number.NaN
  let lastText = ''
  return (second, micros) => {
    if (second !== lastSecond) {
      lastText = new Date(second * 1000).toISOString().slice(0, 19)
      lastSecond = second
    }
    if (micros === 0) return `${lastText}Z`
    const digits = String(micros).padStart(6, '0')
    return `${lastText}.${digits.endsWith('000') ? digits.slice(0, 3) : digits}Z`
  }
}

const [zero, nine, dash, colon, dot, plus] = [48, 57, 45, 58, 46, 43]
const [upperT, lowerT, space, upperZ, lowerZ] = [84, 116, 32, 90, 122]

const daysInMonth = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
}

/** Two digits at `at` as a number, or -1. */
function twoDigits(text: string, at: number): number {
  const tens = text.charCodeAt(at) - zero
  const ones = text.charCodeAt(at + 1) - zero
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : -1
}

const malformed = 'is not an ISO 8601 date and time such as 2026-11-20T20:29:00.123Z'

/** True for text that `isoToUtc` gives back as it is: what nearly all times are. */
export function isCanonicalTime(text: string): boolean {
  return isoToUtc(text) === text
}

let lastText = ''
let lastRead: string | Refusal = new Refusal('is empty')

/** RFC 3339 text (seconds optional, as in zod's `iso.datetime`) to the stored text. */
export function isoToUtc(text: string): string | Refusal {
  // A time is read up to three times in a row: by the schema's format, by its pattern, and to be stored.
  if (text !== lastText) {
    lastRead = readIso(text)
    lastText = text
  }
  return lastRead
}

function readIso(text: string): string | Refusal {
  const length = text.length
  if (length < 17 || length > 64)
    return new Refusal(length === 10 ? 'is a date without a time of day and offset' : malformed)
  const century = twoDigits(text, 0)
  const yearOfCentury = twoDigits(text, 2)
  const month = twoDigits(text, 5)
  const day = twoDigits(text, 8)
  const hour = twoDigits(text, 11)
  const minute = twoDigits(text, 14)
  const separator = text.charCodeAt(10)
  if (
    century < 0 ||
    yearOfCentury < 0 ||
    month < 0 ||
    day < 0 ||
    hour < 0 ||
    minute < 0 ||
    text.charCodeAt(4) !== dash ||
    text.charCodeAt(7) !== dash ||
    text.charCodeAt(13) !== colon ||
    (separator !== upperT && separator !== lowerT && separator !== space)
  ) {
    return new Refusal(malformed)
  }
  let second = 0
  let at = 16
  if (text.charCodeAt(16) === colon) {
    second = twoDigits(text, 17)
    if (second < 0) return new Refusal(malformed)
    at = 19
    if (text.charCodeAt(19) === dot) {
      at = 20
      while (at < length && text.charCodeAt(at) >= zero && text.charCodeAt(at) <= nine) at++
      if (at === 20) return new Refusal(malformed)
    }
  }
  const year = century * 100 + yearOfCentury
  const reason = rangeFault(year, month, day, hour, minute, second)
  if (reason !== undefined) return new Refusal(reason)
  const zone = text.charCodeAt(at)
  if (at === length) return new Refusal('has no offset from UTC; end it with Z, or with an offset such as +01:00')
  if (at + 1 === length && (zone === upperZ || zone === lowerZ)) {
    if (zone === upperZ && separator === upperT && at >= 19 && at <= 26) return text
    return joinUtc(text.slice(0, 10), text.slice(11, 16), text, at)
  }
  if (at + 6 !== length || (zone !== plus && zone !== dash) || text.charCodeAt(at + 3) !== colon)
    return new Refusal(malformed)
  const offsetHour = twoDigits(text, at + 1)
  const offsetMinute = twoDigits(text, at + 4)
  if (offsetHour < 0 || offsetHour > 23 || offsetMinute < 0 || offsetMinute > 59) return new Refusal(malformed)
  const offset = (offsetHour * 60 + offsetMinute) * (zone === plus ? 1 : -1)
  const minutes = Math.floor(utcMs(year, month, day) / 60_000) + hour * 60 + minute - offset
  if (minutes * 60 < minSecond || minutes * 60 > maxSecond)
    return new Refusal('is outside the years 0001 to 9999 in UTC')
  const moved = new Date(minutes * 60_000).toISOString()
  return joinUtc(moved.slice(0, 10), moved.slice(11, 16), text, at)
}

/** Puts date and minute together with the seconds and fraction of `text`, which end at `end`. */
function joinUtc(date: string, hourAndMinute: string, text: string, end: number): string {
  const seconds = end === 16 ? ':00' : text.slice(16, Math.min(end, 26))
  return `${date}T${hourAndMinute}${seconds}Z`
}

function utcMs(year: number, month: number, day: number): number {
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  return date.getTime()
}

function rangeFault(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
): string | undefined {
  if (year < 1) return 'is outside the years 0001 to 9999'
  if (month < 1 || month > 12) return 'has no such month'
  if (day < 1 || (day > daysInMonth[month - 1]! && !(month === 2 && day === 29 && isLeap(year)))) {
    return 'has a day that its month does not have'
  }
  if (hour > 23) return 'has an hour past 23 (midnight is 00:00 of the next day)'
  if (minute > 59) return 'has a minute past 59'
  if (second === 60) return 'is a leap second, which no clock here can represent; send :59'
  if (second > 60) return 'has a second past 59'
  return undefined
}
