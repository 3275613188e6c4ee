/** Judges one event by its text, whatever door it came to, and makes its stored line. */
import type { Plan } from '../config/plan.ts'
import { brokenTextFault } from './check-event.ts'
import type { DecimalWriter } from './decimal-text.ts'
import type { StreamDoor } from './door.ts'
import { extentOf, skipSpace } from './json-text.ts'
import type { EventFault } from './refusal.ts'
import type { BatchColumns } from './system-columns.ts'

export interface AcceptContext {
  door: StreamDoor
  columns: BatchColumns
  limits: Pick<Plan['limits'], 'eventBytesMax' | 'nestingMax'>
  /** True only when every character of every event is one byte. */
  ascii: boolean
  /** Whether an event may have half of a surrogate pair as an escape. */
  surrogates: boolean
  /** Whether an event may have line ends in it. */
  returns: boolean
}

/** An event that is no JSON. */
export const brokenEvent = Symbol('no JSON')

/** Longer events have their levels counted before they are parsed, so that nesting cannot cost memory out of proportion. */
const parseFreelyLength = 4096

const closeBrace = 0x7d

/**
 * @param raw the event's own text
 * @param index its place in the batch, which ids that are made for it end with
 * @returns the line without its end, or what is wrong with the event
 */
export function acceptEvent(
  raw: string,
  index: number,
  context: AcceptContext,
): string | EventFault | typeof brokenEvent {
  const { door } = context
  const sizeFault = sizeFaultOf(raw, context)
  if (sizeFault !== undefined) return sizeFault
  let event: Record<string, unknown>
  try {
    event = JSON.parse(raw) as Record<string, unknown>
  } catch {
    return brokenEvent
  }
  if (typeof event !== 'object' || event === null || Array.isArray(event)) {
    return { code: 'invalid_event', path: '', reason: 'an event must be a JSON object' }
  }
  const fault = (context.surrogates ? brokenTextFault(event) : undefined) ?? door.validate(event)
  if (fault !== undefined) return fault
  const head = door.columns.head(event, raw, index, context.columns)
  if (typeof head !== 'string') return head
  const text = door.decimals === undefined ? raw : withDecimals(raw, door.decimals, context)
  if (typeof text !== 'string') return text
  const isOnOneLine = !context.returns || !(text.includes('\n') || text.includes('\r'))
  return joinLine(head, isOnOneLine ? text : text.replaceAll(/[\r\n]/g, ' '))
}

/** Quotes make an event longer, and the engine's buffers are made for the limit. */
function withDecimals(raw: string, write: DecimalWriter, context: AcceptContext): string | EventFault {
  const text = write(raw)
  return typeof text === 'string' && text !== raw ? (sizeFaultOf(text, context) ?? text) : text
}

function sizeFaultOf(raw: string, { limits, ascii }: AcceptContext): EventFault | undefined {
  const { eventBytesMax, nestingMax } = limits
  if (
    raw.length > eventBytesMax ||
    (!ascii && raw.length * 3 > eventBytesMax && Buffer.byteLength(raw) > eventBytesMax)
  ) {
    return { code: 'event_too_large', path: '', reason: `an event may have at most ${eventBytesMax} bytes` }
  }
  if (raw.length > parseFreelyLength && extentOf(raw, 0, raw.length).levels > nestingMax) {
    return { code: 'event_too_deep', path: '', reason: `an event may have at most ${nestingMax} levels` }
  }
  return undefined
}

/** The stored line: system columns with a comma unless the event is empty, the client's bytes behind the opening brace. */
function joinLine(head: string, raw: string): string {
  const isEmpty = raw.charCodeAt(skipSpace(raw, 1, raw.length)) === closeBrace
  return isEmpty ? `${head.slice(0, -1)}}` : head + raw.slice(1)
}
