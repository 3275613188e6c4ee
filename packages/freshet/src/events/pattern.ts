import { setFlagsFromString } from 'node:v8'
import { isCanonicalTime } from './event-time.ts'

/**
 * Regular expressions of schemas, run on what clients send. V8 backtracks, so a pattern such as `^(a+)+$` can take hours on a
 * short text. Two measures: V8 is told to change to its linear-time matcher after 50,000 steps back, and patterns are compiled
 * without the `u` flag where that means the same, because the linear matcher knows no `u`. Patterns that it does not know at all
 * (look-around, back-references) stay as they are.
 */
export function compilePattern(pattern: string, flags: string): { test(text: string): boolean; toString(): string } {
  const unicode = new RegExp(pattern, flags)
  if (!flags.includes('u') || unicodeOnly.test(pattern)) return unicode
  const plain = withoutUnicode(pattern, flags)
  if (plain === undefined) return unicode
  const matches = (text: string): boolean => (surrogate.test(text) ? unicode : plain).test(text)
  return {
    test: dateTimePattern.test(pattern) ? (text) => isCanonicalTime(text) || matches(text) : matches,
    toString: () => unicode.toString(),
  }
}

compilePattern.code = 'new RegExp'

/**
 * The patterns that zod's `iso.datetime` puts into JSON Schema, unless it is limited in precision: they match every stored time,
 * which is several times faster to recognise without them.
 */
const dateTimePattern =
  /^\^\(\?:\(\?:[^T]*-02-29\|[^T]*\)\)T\(\?:\(\?:\[01\]\\d\|2\[0-3\]\):\[0-5\]\\d:\[0-5\]\\d\(\?:\\\.\\d\+\)\?\(\?:Z[|)].*\)\$$/

const surrogate = /[\ud800-\udfff]/
const unicodeOnly = /\\[pP]\{|\\u\{|[\ud800-\udfff]/

function withoutUnicode(pattern: string, flags: string): RegExp | undefined {
  try {
    return new RegExp(pattern, flags.replace('u', ''))
  } catch {
    return undefined
  }
}

/** Process-wide; the gateway calls it once before it compiles patterns. */
export function boundBacktracking(): void {
  setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks')
}
