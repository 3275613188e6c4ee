/** The bytes by which the values of a condition are looked for where there is no SQL. */
import type { IsMeant } from '../../lake/deleted-bounds.ts'
import type { Literal } from './predicate.ts'

/** Shorter ones are everywhere. */
const stringBytesMin = 4
const digitsMin = 6
/** Bounds have 16 characters, and the last one of an upper bound is changed. */
const boundCharactersSure = 15

/** What a search for bytes looks for: texts as they are and as JSON writes them, and long numbers. */
export function needlesOf(literals: readonly Literal[]): Buffer[] {
  const texts = literals.flatMap(({ kind, text }) => {
    if (kind === 'number') return text.replaceAll(/\D/g, '').length >= digitsMin ? [text] : []
    return Buffer.byteLength(text) >= stringBytesMin ? [text, JSON.stringify(text).slice(1, -1)] : []
  })
  return [...new Set(texts)].map((text) => Buffer.from(text))
}

/**
 * Whether a bound may be one of the values. Only texts can be told from others: where there are other values, or none, any bound may be.
 */
export function boundTest(literals: readonly Literal[]): IsMeant {
  if (literals.length === 0 || literals.some(({ kind }) => kind === 'number')) return () => true
  const beginnings = literals.map(({ text }) => Buffer.from(beginningOf(text)))
  return (bound) => beginnings.some((beginning) => bound.includes(beginning))
}

/** Never half of a character of two units. */
function beginningOf(text: string): string {
  return text.slice(0, boundCharactersSure).replace(/[\uD800-\uDBFF]$/, '')
}

/** Whether the bytes hold one of the needles. */
export function holdsAny(bytes: Buffer, needles: readonly Buffer[]): boolean {
  return needles.some((needle) => bytes.includes(needle))
}
