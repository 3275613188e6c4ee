import { z } from 'zod'
import { isPlainObject, kindOf } from './mistakes.ts'
import type { Setting } from './plan.ts'
import { formatDuration, formatSize, readDuration, readSize, type Reading } from './quantities.ts'
import { nearest } from './spelling.ts'

/**
 * Readers of values: each says in a sentence what is wrong, so that zod's own messages are never needed for more than unknown keys.
 * Whatever has settings describes them with these: the configuration itself, and each kind of sink.
 */

/** The longest delay that a timer takes. */
export const timerMsMax = 2 ** 31 - 1
export const KiB = 2 ** 10
export const MiB = 2 ** 20
export const GiB = 2 ** 30
export const TiB = 2 ** 40

/** A value that `read` understands, or a custom issue with the reason and, in `params`, the suggestion. */
export function setting<T>(read: (words: unknown) => Reading<T>) {
  return z.unknown().transform((words, context): T => {
    const reading = read(words)
    if ('value' in reading) return reading.value
    context.issues.push({
      code: 'custom',
      message: reading.reason,
      input: words,
      params: reading.suggestion === undefined ? {} : { suggestion: reading.suggestion },
    })
    return z.NEVER
  })
}

/** An object that has these keys and no others; one that is left out has its defaults. */
export function section<Shape extends z.ZodRawShape>(shape: Shape) {
  const object = z.custom<z.input<z.ZodObject<Shape>>>(isPlainObject, {
    error: (issue) => `must be an object, not ${kindOf(issue.input)}`,
    abort: true,
  })
  return object.pipe(z.strictObject(shape))
}

interface Range {
  min: number
  max: number
}

function inRange(reading: Reading<number>, { min, max }: Range, format: (value: number) => string): Reading<number> {
  if (!('value' in reading) || (reading.value >= min && reading.value <= max)) return reading
  return { reason: `must be from ${format(min)} to ${format(max)}, not ${format(reading.value)}` }
}

export function size(range: Range) {
  return setting((words) => inRange(readSize(words), range, formatSize))
}

export function duration(range: Range) {
  return setting((words) => inRange(readDuration(words), range, formatDuration))
}

export function whole({ min, max }: Range) {
  return setting((words): Reading<number> => {
    if (typeof words === 'number' && Number.isInteger(words) && words >= min && words <= max) return { value: words }
    return { reason: `must be a whole number from ${min} to ${max}, not ${kindOf(words)}` }
  })
}

export function text(what: string) {
  return setting((words): Reading<string> => {
    if (typeof words === 'string' && words.trim() !== '' && !words.includes('\0')) return { value: words }
    return { reason: `must be ${what}, not ${kindOf(words)}` }
  })
}

export function flag() {
  return setting((words): Reading<boolean> => {
    return typeof words === 'boolean' ? { value: words } : { reason: `must be true or false, not ${kindOf(words)}` }
  })
}

export function choice<const Word extends string>(known: readonly Word[]) {
  return setting((words) => readChoice(words, known))
}

export function readChoice<Word extends string>(words: unknown, known: readonly Word[]): Reading<Word> {
  const found = known.find((word) => word === words)
  if (found !== undefined) return { value: found }
  const list = known.map((word) => `"${word}"`).join(', ')
  const suggestion = typeof words === 'string' ? nearest(words, known) : undefined
  return {
    reason: `must be one of ${list}, not ${kindOf(words)}`,
    ...(suggestion === undefined ? {} : { suggestion }),
  }
}

/** A function: it stays where it is, and is known by its name. */
export function code() {
  return setting((words): Reading<'function'> => {
    return typeof words === 'function' ? { value: 'function' } : { reason: `must be a function, not ${kindOf(words)}` }
  })
}

/** Text, or `env('NAME')`. */
export function secret(what: string) {
  return setting((words): Reading<Setting> => {
    if (typeof words === 'string' && words.trim() !== '') return { value: words }
    if (isPlainObject(words) && typeof words['env'] === 'string' && /^[A-Za-z_]\w*$/.test(words['env']))
      return { value: { env: words['env'] } }
    return { reason: `must be ${what}, or env('NAME'), not ${kindOf(words)}` }
  })
}

/** Names, at least one, none twice. */
export function names(what: string) {
  return setting((words): Reading<string[]> => {
    const list = typeof words === 'string' ? [words] : words
    const faulty = Array.isArray(list) ? list.find((one) => typeof one !== 'string' || one.trim() === '') : list
    if (!Array.isArray(list) || list.length === 0 || faulty !== undefined)
      return { reason: `must be ${what}, not ${kindOf(faulty ?? words)}` }
    const twice = list.find((one, index) => list.indexOf(one) !== index) as string | undefined
    return twice === undefined ? { value: list as string[] } : { reason: `has ${kindOf(twice)} twice` }
  })
}
