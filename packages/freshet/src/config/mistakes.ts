import { FreshetError } from '../runtime/errors.ts'

/** One thing that is wrong in a configuration. */
export interface Mistake {
  /** Path of the key, for example `streams.trades.partition`. */
  key: string
  /** What is wrong with it, and how to mend it where that is not a matter of spelling. */
  reason: string
  /** What was most likely meant. */
  suggestion?: string
}

export function mistake(key: string, reason: string, suggestion?: string): Mistake {
  return suggestion === undefined ? { key, reason } : { key, reason, suggestion }
}

/** `http` and `port` to `http.port`; names that are not plain identifiers are quoted: `streams["my stream"]`. */
export function keyPath(...parts: readonly string[]): string {
  let path = ''
  for (const part of parts) {
    if (part === '[]') path += part
    else if (!/^[A-Za-z_$][\w$]*$/.test(part)) path += `[${JSON.stringify(shortened(part))}]`
    else path += path === '' ? part : `.${part}`
  }
  return path
}

/** Text of the user's own in quotes, cut when it is long. */
export function quoted(text: string): string {
  return JSON.stringify(shortened(text))
}

/** What kind of value this is, as a person says it. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  switch (typeof value) {
    case 'undefined':
      return 'undefined'
    case 'string':
      return quoted(value)
    case 'number':
    case 'boolean':
      return String(value)
    case 'bigint':
      return 'a bigint'
    case 'function':
      return 'a function'
    case 'symbol':
      return 'a symbol'
    default:
      return isPlainObject(value) ? 'an object' : 'an instance of a class'
  }
}

/** An object literal, or what can pass for one: not an array, and no instance of a class such as Date or Map. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/**
 * All mistakes as one `config_invalid`; `extra.mistakes` has them one by one.
 * @param subject what has the mistakes: the file's name, mostly
 */
export function configInvalid(subject: string, mistakes: readonly Mistake[]): FreshetError {
  const lines = mistakes.map(
    ({ key, reason, suggestion }) =>
      `  ${key}: ${reason}${suggestion === undefined ? '' : `; did you mean ${quoted(suggestion)}?`}`,
  )
  const count = mistakes.length === 1 ? '1 mistake' : `${mistakes.length} mistakes`
  return new FreshetError('config_invalid', `${subject} has ${count}:\n${lines.join('\n')}`, {
    hint: 'Nothing was started. docs/config.md describes every key.',
    extra: { mistakes },
  })
}

function shortened(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}...` : text
}
