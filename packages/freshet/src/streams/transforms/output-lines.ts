/**
 * Makes lines of the target's log of what a function has returned. What comes of one event has ids that follow from the event's: its own for the
 * first output, and with the output's number behind it for the others; and its time, unless the target says in which fields it
 * has them. So the same outputs are the same events, whenever and however often they are made (I5).
 */
import { createHash } from 'node:crypto'
import { systemColumns, type Plan } from '../../config/plan.ts'
import { brokenTextFault, hasSurrogateEscape } from '../../events/check-event.ts'
import type { StreamDoor } from '../../events/door.ts'
import type { EventFault } from '../../events/refusal.ts'
import { messageOf } from '../../runtime/errors.ts'

/** The system columns of an event that is transformed. */
export interface Origin {
  _event_id: string
  _event_time: string
  _received_at: string
  _source?: string
  _tenant?: string
}

const systemNames: ReadonlySet<string> = new Set(systemColumns.map(({ name }) => name))
const underscore = 0x5f
const idBytesMax = 512
/** Text that is the same between the quotes of JSON. */
const plainText = /^[ !#-[\]-~]*$/

export class OutputLines {
  readonly #door: StreamDoor
  readonly #eventBytesMax: number
  /** The source and tenant that were written last, and how: those of most events are those of the one before. */
  #owners: { source: string | undefined; tenant: string | undefined; text: string } | undefined

  constructor(door: StreamDoor, { eventBytesMax }: Pick<Plan['limits'], 'eventBytesMax'>) {
    this.#door = door
    this.#eventBytesMax = eventBytesMax
  }

  /**
   * The lines of all outputs of one event, or what is wrong with one of them.
   * @param returned an object, a list of them, or nothing
   */
  make(returned: unknown, origin: Origin): { text: string; count: number } | EventFault {
    if (returned === null || returned === undefined) return { text: '', count: 0 }
    if (!Array.isArray(returned)) {
      const line = this.#line(returned, origin, 0)
      return typeof line === 'string' ? { text: line, count: 1 } : line
    }
    let text = ''
    for (const [index, output] of returned.entries()) {
      const line = this.#line(output, origin, index)
      if (typeof line !== 'string') return { ...line, path: `/${index}${line.path}` }
      text += line
    }
    return { text, count: returned.length }
  }

  #line(output: unknown, origin: Origin, index: number): string | EventFault {
    if (typeof output !== 'object' || output === null || Array.isArray(output)) {
      return fault(`the function returned ${kindOf(output)}: an output is an object`)
    }
    const event = withoutSystem(output as Record<string, unknown>)
    let raw: string | undefined
    try {
      raw = JSON.stringify(event)
    } catch (error) {
      return fault(`the output cannot be written as JSON: ${messageOf(error)}`)
    }
    if (!raw?.startsWith('{')) return fault('the output is not written as a JSON object: look at its toJSON')
    if (
      raw.length > this.#eventBytesMax ||
      (raw.length * 3 > this.#eventBytesMax && Buffer.byteLength(raw) > this.#eventBytesMax)
    ) {
      return { code: 'event_too_large', path: '', reason: `an event may have at most ${this.#eventBytesMax} bytes` }
    }
    const wrong = this.#wrong(event, raw)
    if (wrong !== undefined) return wrong
    const { columns, decimals } = this.#door
    const id = columns.id(event, raw, derivedId(origin._event_id, index))
    if (typeof id !== 'string') return id
    const time = columns.time(event, origin._event_time)
    if (typeof time !== 'string') return time
    const text = decimals === undefined ? raw : decimals(raw)
    if (typeof text !== 'string') return text
    const head = `{"_event_id":"${id}","_event_time":"${time}","_received_at":"${origin._received_at}"${this.#ownersOf(origin)}`
    return text === '{}' ? `${head}}\n` : `${head},${text.slice(1)}\n`
  }

  #ownersOf({ _source: source, _tenant: tenant }: Origin): string {
    const last = this.#owners
    if (last !== undefined && last.source === source && last.tenant === tenant) return last.text
    const text =
      (source === undefined ? '' : `,"_source":${JSON.stringify(source)}`) +
      (tenant === undefined ? '' : `,"_tenant":${JSON.stringify(tenant)}`)
    this.#owners = { source, tenant, text }
    return text
  }

  /** What the target's schema has against it. Dates and the like are judged as they will be written. */
  #wrong(event: Record<string, unknown>, raw: string): EventFault | undefined {
    if (hasSurrogateEscape(raw)) {
      const broken = brokenTextFault(JSON.parse(raw))
      if (broken !== undefined) return broken
    }
    if (this.#door.validate(event) === undefined) return undefined
    return this.#door.validate(JSON.parse(raw) as Record<string, unknown>)
  }
}

/** A function may hand on what it was given, or spread it: the system columns of its output are ours. */
function withoutSystem(output: Record<string, unknown>): Record<string, unknown> {
  if (!('_event_id' in output)) return output
  const event: Record<string, unknown> = {}
  for (const name of Object.keys(output)) {
    if (name.charCodeAt(0) === underscore && systemNames.has(name)) continue
    // An assignment would hide what the door refuses.
    if (name === '__proto__') Object.defineProperty(event, name, { value: output[name], enumerable: true })
    else event[name] = output[name]
  }
  return event
}

function derivedId(id: string, index: number): string {
  const derived = index === 0 ? id : `${id}/${index}`
  if (derived.length <= idBytesMax && plainText.test(derived)) return derived
  const text = JSON.stringify(derived).slice(1, -1)
  if (text.length * 3 <= idBytesMax || Buffer.byteLength(derived) <= idBytesMax) return text
  return `sha256-${createHash('sha256').update(derived).digest('hex')}`
}

function fault(reason: string): EventFault {
  return { code: 'invalid_event', path: '', reason }
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'a list in a list' : `a ${typeof value}`
}
