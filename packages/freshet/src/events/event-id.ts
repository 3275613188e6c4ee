/**
 * Event ids as the stored line carries them: the inside of a JSON string in the one form that `JSON.stringify` gives, 1 to 512 bytes of UTF-8,
 * no control characters. The engine compares ids by these bytes.
 */
import type { Random } from '../runtime/random.ts'
import { Refusal } from './refusal.ts'

const idBytesMax = 512

const controlCharacter = /\p{Cc}/u

/**
 * The id as it stands between the quotes of a JSON string, or why the value is none.
 * @param raw the event's own JSON text: integers above 2^53 take their digits from there
 */
export function idText(value: unknown, raw: string, field: string): string | Refusal {
  if (typeof value === 'string') return isPlain(value) ? value : unusualId(value)
  if (typeof value !== 'number') {
    return new Refusal(
      value === undefined
        ? 'is missing, and it is the id of the event'
        : 'must be text or an integer: it is the id of the event',
    )
  }
  if (Number.isSafeInteger(value)) return String(value)
  const digits = sourceOf(raw, field)
  if (digits === undefined || !/^-?\d+$/.test(digits))
    return new Refusal('must be text or an integer written in plain digits')
  if (digits.length > idBytesMax) return new Refusal(`has more than ${idBytesMax} digits`)
  return digits
}

/** True for ids that need no escape and are one byte a character. */
function isPlain(text: string): boolean {
  const length = text.length
  if (length === 0 || length > idBytesMax) return false
  for (let at = 0; at < length; at++) {
    const code = text.charCodeAt(at)
    if (code < 0x20 || code > 0x7e || code === 0x22 || code === 0x5c) return false
  }
  return true
}

function unusualId(text: string): string | Refusal {
  if (text === '') return new Refusal('is empty, and it is the id of the event')
  if (Buffer.byteLength(text) > idBytesMax)
    return new Refusal(`is longer than ${idBytesMax} bytes, and it is the id of the event`)
  if (controlCharacter.test(text)) return new Refusal('has a control character, and it is the id of the event')
  if (!text.isWellFormed()) return new Refusal('has half of a surrogate pair, and it is the id of the event')
  return JSON.stringify(text).slice(1, -1)
}

type SourceReviver = (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown

/** The text that the value of a top-level field was written with. */
function sourceOf(raw: string, field: string): string | undefined {
  const sources = new Map<unknown, string>()
  let found: string | undefined
  const reviver: SourceReviver = function (this, key, value, { source }) {
    if (key === field && source !== undefined) sources.set(this, source)
    if (key === '' && sources.has(value)) found = sources.get(value)
    return value
  }
  JSON.parse(raw, reviver as (this: unknown, key: string, value: unknown) => unknown)
  return found
}

/**
 * Makes ids for events that bring none. They sort by time: 12 hex digits of milliseconds, 10 that are this process's own, 6 that
 * count batches, and the event's index in its batch.
 */
export class IdMaker {
  readonly #process: string
  #batches = 0

  constructor(random: Random) {
    this.#process = random.hex(5)
  }

  /** What the ids of one batch start with; `receivedAtMs` must never go back. */
  batch(receivedAtMs: number): string {
    this.#batches = (this.#batches + 1) & 0xffffff
    const time = receivedAtMs.toString(16).padStart(12, '0')
    return `${time}${this.#process}${this.#batches.toString(16).padStart(6, '0')}`
  }
}

const indexTexts: string[] = []

/** The end of a made id. */
export function idIndex(index: number): string {
  if (index > 10_000) return index.toString(16).padStart(5, '0')
  return (indexTexts[index] ??= index.toString(16).padStart(5, '0'))
}
