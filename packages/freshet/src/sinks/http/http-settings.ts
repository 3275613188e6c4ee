/** Readers of settings that sinks with an HTTP target share. */
import type { SecretConfig } from '../../config/define.ts'
import { isPlainObject, kindOf } from '../../config/mistakes.ts'
import type { Setting } from '../../config/plan.ts'
import type { Duration, Reading } from '../../config/quantities.ts'
import { duration, secret, section, setting, whole } from '../../config/readers.ts'

/** An http or https address, or the environment variable that has it. */
export function address(example = 'https://example.com/hook') {
  const what = `an address such as '${example}'`
  const addressWords = secret(what)
  return setting((words): Reading<Setting> => {
    const read = addressWords.safeParse(words)
    if (!read.success) return { reason: read.error.issues[0]!.message }
    if (typeof read.data !== 'string') return { value: read.data }
    const known = URL.canParse(read.data) && /^https?:$/.test(new URL(read.data).protocol)
    return known ? { value: read.data } : { reason: `must be ${what}, with http:// or https:// in front` }
  })
}

const headerName = /^[!#$%&'*+.^`|~\w-]+$/
const ownHeaders = new Set(['content-length', 'content-type', 'content-encoding', 'host', 'transfer-encoding'])

/** Headers that are sent with each request. */
export function headers() {
  return setting((words): Reading<Record<string, Setting>> => {
    if (!isPlainObject(words)) return { reason: `must be an object of headers by name, not ${kindOf(words)}` }
    const value: Record<string, Setting> = {}
    for (const [name, content] of Object.entries(words)) {
      if (!headerName.test(name)) return { reason: `has ${kindOf(name)}, which is no name of a header` }
      if (ownHeaders.has(name.toLowerCase())) return { reason: `has "${name}", which the sink sets itself` }
      const read = secret('text').safeParse(content)
      if (!read.success) return { reason: `has "${name}", which ${read.error.issues[0]!.message}` }
      if (typeof read.data === 'string' && /[^\t\x20-\x7e\x80-\xff]/.test(read.data))
        return { reason: `has "${name}" with characters that no header may have` }
      value[name.toLowerCase()] = read.data
    }
    return { value }
  })
}

export const timeout = duration({ min: 10, max: 600_000 }).prefault('10 s')

/** When a target that fails is left alone. */
export const breaker = section({
  failures: whole({ min: 1, max: 1000 }).prefault(5),
  wait: duration({ min: 1, max: 3_600_000 }).prefault('5 s'),
  waitMax: duration({ min: 1, max: 86_400_000 }).prefault('5 min'),
}).prefault({})

/** What all sinks with an HTTP target may be told, as a user writes it. */
export interface HttpConfig {
  /** An http or https address; `env('NAME')` for one that is a secret. */
  url: SecretConfig
  /** How long a request may take. Default `'10 s'`. */
  timeout?: Duration
  /** When a target that fails is left alone: after so many failures in a row, at first for `wait`, at most for `waitMax`. */
  breaker?: {
    /** Default 5. */
    failures?: number
    /** Default `'5 s'`. */
    wait?: Duration
    /** Default `'5 min'`. */
    waitMax?: Duration
  }
}
