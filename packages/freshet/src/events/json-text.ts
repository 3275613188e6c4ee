/**
 * Looks at JSON text without parsing it: where it breaks, how deep it goes, where one value ends. `JSON.parse` says no position for
 * short texts, so a broken text is walked once more to find it.
 */
const quote = 0x22
const backslash = 0x5c
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d
const comma = 0x2c
const colon = 0x3a

/** First index from `at` on that holds no JSON white space, or `end`. */
export function skipSpace(text: string, at: number, end: number): number {
  let index = at
  while (index < end) {
    const code = text.charCodeAt(index)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) break
    index++
  }
  return index
}

/** Last index of trimmed text, exclusive: what is behind it up to `end` is white space. */
export function trimEnd(text: string, start: number, end: number): number {
  let index = end
  while (index > start) {
    const code = text.charCodeAt(index - 1)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) break
    index--
  }
  return index
}

/** Line and column of an offset, both from 1, columns in characters. */
export function placeOf(text: string, offset: number): { line: number; column: number } {
  let line = 1
  let lineStart = 0
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1)) {
    line++
    lineStart = at + 1
  }
  return { line, column: offset - lineStart + 1 }
}

/** Index just behind the string whose opening quote is at `at`, or -1 when it does not end before `end`. */
export function stringEnd(text: string, at: number, end: number): number {
  let index = at + 1
  for (;;) {
    const close = text.indexOf('"', index)
    if (close === -1 || close >= end) return -1
    let slashes = 0
    while (text.charCodeAt(close - 1 - slashes) === backslash) slashes++
    if (slashes % 2 === 0) return close + 1
    index = close + 1
  }
}

/** Extent of the object or array that opens at `at`: its end (-1 when it does not end) and how many levels it has. */
export function extentOf(text: string, at: number, end: number): { end: number; levels: number } {
  let depth = 0
  let levels = 0
  let index = at
  while (index < end) {
    const code = text.charCodeAt(index)
    if (code === quote) {
      index = stringEnd(text, index, end)
      if (index === -1) return { end: -1, levels }
      continue
    }
    index++
    if (code === openBrace || code === openBracket) {
      depth++
      if (depth > levels) levels = depth
    } else if (code === closeBrace || code === closeBracket) {
      depth--
      if (depth === 0) return { end: index, levels }
    }
  }
  return { end: -1, levels }
}

/** Where JSON text breaks, and what should have been there. */
export interface JsonFault {
  /** Index into the text. */
  offset: number
  reason: string
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const keyword = /true|false|null/y

/** The first fault of `text.slice(start, end)`, or undefined when it is one JSON value. Walks without recursion. */
export function findJsonFault(text: string, start = 0, end = text.length): JsonFault | undefined {
  const open: number[] = []
  let at = skipSpace(text, start, end)
  let expect: 'value' | 'value-or-end' | 'key' | 'key-or-end' | 'separator' = 'value'
  for (;;) {
    if (expect === 'separator') {
      const container = open.at(-1)
      if (container === undefined) break
      const code = at < end ? text.charCodeAt(at) : Number.NaN
      const close = container === openBrace ? closeBrace : closeBracket
      if (code === close) open.pop()
      else if (code === comma) expect = container === openBrace ? 'key' : 'value'
      else return fault(text, at, end, container === openBrace ? "',' or '}'" : "',' or ']'")
      at = skipSpace(text, at + 1, end)
      continue
    }
    if (at >= end) return fault(text, at, end, expect.startsWith('key') ? 'a field name' : 'a value')
    const code = text.charCodeAt(at)
    if (expect === 'key' || expect === 'key-or-end') {
      if (code === closeBrace && expect === 'key-or-end') {
        open.pop()
        expect = 'separator'
        at = skipSpace(text, at + 1, end)
        continue
      }
      if (code !== quote)
        return fault(
          text,
          at,
          end,
          expect === 'key' ? 'a field name in double quotes' : "a field name in double quotes or '}'",
        )
      const string = walkString(text, at, end)
      if (typeof string !== 'number') return string
      at = skipSpace(text, string, end)
      if (at >= end || text.charCodeAt(at) !== colon) return fault(text, at, end, "':'")
      at = skipSpace(text, at + 1, end)
      expect = 'value'
      continue
    }
    if (code === closeBracket && expect === 'value-or-end') {
      open.pop()
      at = skipSpace(text, at + 1, end)
    } else if (code === openBrace || code === openBracket) {
      open.push(code)
      expect = code === openBrace ? 'key-or-end' : 'value-or-end'
      at = skipSpace(text, at + 1, end)
      continue
    } else if (code === quote) {
      const string = walkString(text, at, end)
      if (typeof string !== 'number') return string
      at = skipSpace(text, string, end)
    } else {
      const length = matchAt(number, text, at) || matchAt(keyword, text, at)
      if (length === 0 || at + length > end) return fault(text, at, end, 'a value')
      at = skipSpace(text, at + length, end)
    }
    expect = 'separator'
  }
  return at < end ? fault(text, at, end, 'nothing more') : undefined
}

function matchAt(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0].length ?? 0
}

const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y

/** Index just behind a string, or its fault. */
function walkString(text: string, at: number, end: number): number | JsonFault {
  let index = at + 1
  while (index < end) {
    const code = text.charCodeAt(index)
    if (code === quote) return index + 1
    if (code === backslash) {
      const length = matchAt(escape, text, index)
      if (length === 0 || index + length > end)
        return { offset: index, reason: 'a backslash that starts no JSON escape' }
      index += length
    } else if (code < 0x20) {
      return { offset: index, reason: `a raw control character (code ${code}) in a text; escape it` }
    } else {
      index++
    }
  }
  return { offset: at, reason: 'a text that does not end' }
}

function fault(text: string, at: number, end: number, expected: string): JsonFault {
  if (at >= end) return { offset: end, reason: `it ends where ${expected} should be` }
  const found = String.fromCodePoint(text.codePointAt(at)!)
  return { offset: at, reason: `expected ${expected}, found ${JSON.stringify(found)}` }
}
