/**
 * Splits a body into the raw text of its events, one after another, without holding more than one at a time. What a source hands
 * out starts at the event's first character and ends at its last; whether it is JSON is for the caller to find out, except that an
 * array's commas and brackets are checked here.
 */
import { FreshetError } from '../runtime/errors.ts'
import { extentOf, findJsonFault, placeOf, skipSpace, stringEnd, trimEnd } from '../events/json-text.ts'

export interface EventSource {
  /** The next event's text, or undefined after the last. */
  next(): string | undefined
  /** Where in the body the event last handed out starts. */
  readonly offset: number
  /** True when a broken event breaks the whole body: it has no line ends to carry on from. */
  readonly whole: boolean
}

export type BodyForm = 'json' | 'ndjson'

/** @throws FreshetError `invalid_body` when the body is empty or neither an object nor an array. */
export function openEvents(text: string, form: BodyForm): EventSource {
  const start = skipSpace(text, 0, text.length)
  if (start === text.length) {
    throw new FreshetError('invalid_body', 'The body is empty.', {
      hint: 'Send one JSON object, an array of them, or NDJSON.',
    })
  }
  if (form === 'ndjson') return new LineSource(text)
  const first = text[start]
  if (first === '[') return new ArraySource(text, start)
  if (first === '{') return new ObjectSource(text, start)
  throw brokenJson(
    text,
    findJsonFault(text) ?? { offset: start, reason: 'a body must be a JSON object or an array of objects' },
  )
}

/** The error for JSON that breaks as a whole. */
export function brokenJson(text: string, fault: { offset: number; reason: string }): FreshetError {
  const { line, column } = placeOf(text, fault.offset)
  return new FreshetError(
    'invalid_json',
    `The body is not valid JSON at line ${line}, column ${column}: ${fault.reason}.`,
    {
      extra: { line, column },
    },
  )
}

class LineSource implements EventSource {
  readonly whole = false
  readonly #text: string
  #next = 0
  offset = 0

  constructor(text: string) {
    this.#text = text
  }

  next(): string | undefined {
    const text = this.#text
    while (this.#next < text.length) {
      const found = text.indexOf('\n', this.#next)
      const lineEnd = found === -1 ? text.length : found
      const start = skipSpace(text, this.#next, lineEnd)
      this.#next = lineEnd + 1
      if (start === lineEnd) continue
      this.offset = start
      return text.slice(start, trimEnd(text, start, lineEnd))
    }
    return undefined
  }
}

class ObjectSource implements EventSource {
  readonly whole = true
  readonly offset: number
  #event: string | undefined

  constructor(text: string, start: number) {
    this.offset = start
    this.#event = text.slice(start, trimEnd(text, start, text.length))
  }

  next(): string | undefined {
    const event = this.#event
    this.#event = undefined
    return event
  }
}

const scalarEnd = /[\s,\]]/g

class ArraySource implements EventSource {
  readonly whole = true
  readonly #text: string
  #at: number
  #count = 0
  offset: number

  constructor(text: string, start: number) {
    this.#text = text
    this.#at = start + 1
    this.offset = start
  }

  next(): string | undefined {
    const text = this.#text
    const end = text.length
    let at = skipSpace(text, this.#at, end)
    const code = text[at]
    if (code === ']') return this.#finish(at + 1)
    if (this.#count > 0) {
      if (code !== ',') throw this.#broken(at, "',' or ']'")
      at = skipSpace(text, at + 1, end)
    }
    if (at >= end || text[at] === ']' || text[at] === ',') throw this.#broken(at, 'a value')
    const valueEnd = this.#valueEnd(at)
    this.#count++
    this.#at = valueEnd
    this.offset = at
    return text.slice(at, valueEnd)
  }

  #valueEnd(at: number): number {
    const text = this.#text
    const first = text[at]
    if (first === '{' || first === '[') {
      const { end } = extentOf(text, at, text.length)
      if (end === -1)
        throw brokenJson(text, findJsonFault(text, at) ?? { offset: text.length, reason: 'it does not end' })
      return end
    }
    if (first === '"') {
      const end = stringEnd(text, at, text.length)
      if (end === -1) throw brokenJson(text, { offset: at, reason: 'a text that does not end' })
      return end
    }
    scalarEnd.lastIndex = at
    const found = scalarEnd.exec(text)
    return found === null ? text.length : found.index
  }

  #finish(at: number): undefined {
    const rest = skipSpace(this.#text, at, this.#text.length)
    if (rest < this.#text.length) throw this.#broken(rest, 'nothing more')
    this.#at = at - 1
    return undefined
  }

  #broken(at: number, expected: string): FreshetError {
    const reason =
      at >= this.#text.length
        ? `it ends where ${expected} should be`
        : `expected ${expected}, found ${JSON.stringify(this.#text[at])}`
    return brokenJson(this.#text, { offset: Math.min(at, this.#text.length), reason })
  }
}
