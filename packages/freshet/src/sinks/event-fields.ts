/** What sinks read of an event: values by path, as text, and with every digit. */
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { SinkDeps, SinkEvent } from './sink.ts'

/** `JSON.rawJSON` and what a reviver is told, which the types of this version of TypeScript lack. */
interface RawJson {
  readonly rawJSON: string
}
type Reviver = (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown
const json = JSON as unknown as {
  parse(text: string, reviver: Reviver): Record<string, unknown>
  rawJSON(text: string): RawJson
  isRawJSON(value: unknown): value is RawJson
}

/** Found in any number that could have more digits than a double holds. */
const manyDigits = /[\d.]{16}|\d[eE]/

/** The whole event, system columns first; numbers that a double cannot hold are kept as their digits. */
export function exactFields(event: SinkEvent): Record<string, unknown> {
  if (!manyDigits.test(event.text)) return JSON.parse(event.text) as Record<string, unknown>
  return json.parse(event.text, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined && manyDigits.test(source) ? json.rawJSON(source) : value,
  )
}

/** The event as functions of the configuration are given it: its system columns and its own fields. */
export function plainEvent(event: SinkEvent): Record<string, unknown> {
  return {
    _event_id: event.id,
    _event_time: event.eventTime,
    _received_at: event.receivedAt,
    ...(event.source !== undefined && { _source: event.source }),
    ...(event.tenant !== undefined && { _tenant: event.tenant }),
    ...event.fields,
  }
}

/** The value at a path such as `customer.name`, or of a field that has this very name; undefined where there is none. */
export function valueAt(fields: Record<string, unknown>, path: string): unknown {
  if (Object.hasOwn(fields, path)) return fields[path]
  let value: unknown = fields
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

/** A value as a person reads it: empty for null, digits as they came, JSON for objects and lists. */
export function textOf(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'string') return value
  if (json.isRawJSON(value)) return value.rawJSON
  return JSON.stringify(value)
}

/** What a function of the configuration made of an event, or why it made nothing. */
export type Made = { value: unknown } | { refused: string }

/**
 * Calls a function of the configuration for one event. What it throws is held against the event: the function would throw again.
 * @throws what has to do with the threads that run functions, and may pass
 */
export async function callFor(deps: Pick<SinkDeps, 'call'>, name: string, event: SinkEvent): Promise<Made> {
  try {
    return { value: await deps.call(name, [plainEvent(event)]) }
  } catch (error) {
    if (error instanceof FreshetError && error.retryable) throw error
    return { refused: messageOf(error) }
  }
}
