import { nearest } from './spelling.ts'

/** Units of sizes: powers of 1000 (`MB`) and of 1024 (`MiB`). */
export type SizeUnit = 'B' | 'kB' | 'KB' | 'MB' | 'GB' | 'TB' | 'KiB' | 'MiB' | 'GiB' | 'TiB'

export type DurationUnit =
  | 'ms'
  | 's'
  | 'm'
  | 'min'
  | 'h'
  | 'd'
  | 'second'
  | 'seconds'
  | 'minute'
  | 'minutes'
  | 'hour'
  | 'hours'
  | 'day'
  | 'days'
  | 'week'
  | 'weeks'
  | 'year'
  | 'years'

/** Bytes, or a number with its unit: `'16 MB'` is 16,000,000 bytes and `'16 MiB'` 16,777,216. */
export type Size = number | `${number}${SizeUnit}` | `${number} ${SizeUnit}`

/** Milliseconds, or a number with its unit: `'10s'`, `'2 minutes'`. */
export type Duration = number | `${number}${DurationUnit}` | `${number} ${DurationUnit}`

/** What a user's words mean, or why they mean nothing. */
export type Reading<T> = { value: T } | { reason: string; suggestion?: string }

const sizeUnits: Record<SizeUnit, number> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

const durationUnits: Record<DurationUnit, number> = {
  ms: 1,
  s: 1e3,
  m: 60e3,
  min: 60e3,
  h: 3600e3,
  d: 86_400e3,
  second: 1e3,
  seconds: 1e3,
  minute: 60e3,
  minutes: 60e3,
  hour: 3600e3,
  hours: 3600e3,
  day: 86_400e3,
  days: 86_400e3,
  week: 7 * 86_400e3,
  weeks: 7 * 86_400e3,
  year: 365 * 86_400e3,
  years: 365 * 86_400e3,
}

/** Whole bytes (rounded) of a number or of text such as `'16 MiB'`. */
export function readSize(words: unknown): Reading<number> {
  return readQuantity(words, { units: sizeUnits, bare: 'bytes', example: '16 MiB' })
}

/** Whole milliseconds (rounded) of a number or of text such as `'10s'`. */
export function readDuration(words: unknown): Reading<number> {
  return readQuantity(words, { units: durationUnits, bare: 'milliseconds', example: '10 s' })
}

interface Quantity {
  units: Record<string, number>
  bare: string
  example: string
}

function readQuantity(words: unknown, quantity: Quantity): Reading<number> {
  const expected = `must be a number of ${quantity.bare}, or text such as "${quantity.example}"`
  if (typeof words === 'number') return Number.isFinite(words) ? { value: Math.round(words) } : { reason: expected }
  if (typeof words !== 'string' || words.length > 64) return { reason: expected }
  const parts = /^\s*(\d[\d_]*(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(words)
  if (parts === null) return { reason: expected }
  const amount = Number(parts[1]!.replaceAll('_', ''))
  const written = parts[2]!
  const names = Object.keys(quantity.units)
  const unit =
    names.find((name) => name === written) ?? names.find((name) => name.toLowerCase() === written.toLowerCase())
  if (unit !== undefined) return { value: Math.round(amount * quantity.units[unit]!) }
  if (written === '')
    return { reason: `has no unit: write the number without quotes for ${quantity.bare}, or name one` }
  // A lone letter is a unit of its own size in other tools (16M, 16G), and it mostly means the power of 1024.
  const near = names.find((name) => name === `${written.toUpperCase()}iB`) ?? nearest(written, names)
  return {
    reason: `has the unknown unit "${written}" (known: ${names.join(', ')})`,
    ...(near === undefined ? {} : { suggestion: `${amount} ${near}` }),
  }
}

/** Bytes as a person writes them: the largest unit that gives a whole number. */
export function formatSize(bytes: number): string {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB'] as const) {
    if (bytes >= sizeUnits[unit] && bytes % sizeUnits[unit] === 0) return `${bytes / sizeUnits[unit]} ${unit}`
  }
  return `${bytes} B`
}

/** Milliseconds as a person writes them: the largest unit that gives a whole number. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'min', 's'] as const) {
    if (ms >= durationUnits[unit] && ms % durationUnits[unit] === 0) return `${ms / durationUnits[unit]} ${unit}`
  }
  return `${ms} ms`
}
