/** Checks that every event passes, whatever its stream's schema says. */
import { pointer, type EventFault } from './refusal.ts'

/**
 * What makes a parsed event unacceptable, if anything: reserved names, too many levels, numbers too large for a double.
 * @param nestingMax levels of objects and arrays; a flat event has one
 */
export function faultOf(event: Record<string, unknown>, nestingMax: number): EventFault | undefined {
  for (const key in event) {
    if (key.charCodeAt(0) === 0x5f) {
      return {
        code: 'invalid_event',
        path: pointer('', key),
        reason: 'names that start with an underscore are reserved',
      }
    }
    const value = event[key]
    if (typeof value === 'object') {
      if (value === null) continue
      const fault = nestedFault(value, nestingMax - 1)
      if (fault !== undefined) return below(key, fault)
    } else if (value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY) {
      return below(key, infinite)
    }
  }
  return undefined
}

/** The fault's path starts at `value`. The recursion ends after `levels` calls. */
function nestedFault(value: object, levels: number): EventFault | undefined {
  if (levels <= 0) return { code: 'event_too_deep', path: '', reason: 'is nested too deeply' }
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const fault = memberFault(value[index], levels)
      if (fault !== undefined) return below(index, fault)
    }
    return undefined
  }
  for (const key in value) {
    const fault = memberFault((value as Record<string, unknown>)[key], levels)
    if (fault !== undefined) return below(key, fault)
  }
  return undefined
}

function memberFault(member: unknown, levels: number): EventFault | undefined {
  if (typeof member === 'object') return member === null ? undefined : nestedFault(member, levels - 1)
  return member === Number.POSITIVE_INFINITY || member === Number.NEGATIVE_INFINITY ? infinite : undefined
}

const infinite: EventFault = {
  code: 'invalid_event',
  path: '',
  reason: 'is too large a number: at most 1.7976931348623157e308',
}

/** The same fault, seen from the object or array that holds `key`. */
function below(key: string | number, fault: EventFault): EventFault {
  return { ...fault, path: pointer('', key) + fault.path }
}

const surrogateEscape = /\\u[dD][89a-fA-F]/

/** True when the JSON text writes any half of a surrogate pair as an escape, paired or not. */
export function hasSurrogateEscape(text: string): boolean {
  return surrogateEscape.test(text)
}

/** Finds a key or text with half of a surrogate pair, which is no Unicode text and which the engine cannot read. */
export function brokenTextFault(value: unknown, path = ''): EventFault | undefined {
  if (typeof value === 'string') return value.isWellFormed() ? undefined : broken(path)
  if (typeof value !== 'object' || value === null) return undefined
  for (const [key, member] of Object.entries(value)) {
    if (!key.isWellFormed()) return broken(path)
    const fault = brokenTextFault(member, pointer(path, key))
    if (fault !== undefined) return fault
  }
  return undefined
}

function broken(path: string): EventFault {
  return { code: 'invalid_event', path, reason: 'has half of a surrogate pair (an unpaired \\ud800 to \\udfff escape)' }
}
