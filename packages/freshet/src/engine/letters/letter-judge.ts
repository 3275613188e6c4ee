/**
 * Judges the events of dead letters anew, as the door of their stream does, and makes their lines: with the same id and event time as before,
 * and the time of now as that of their arrival. An event that passes the door and still could not be loaded is told by `unreadable`.
 */
import type { Plan, StreamPlan } from '../../config/plan.ts'
import { acceptEvent, brokenEvent } from '../../events/accept-event.ts'
import { hasSurrogateEscape } from '../../events/check-event.ts'
import { openDoor, type StreamDoor } from '../../events/door.ts'
import { findJsonFault } from '../../events/json-text.ts'
import type { EventFault } from '../../events/refusal.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { StoredLetter } from './stored-letter.ts'

/** What would become, or became, of a letter: it is accepted, or it fails again. */
export type Verdict = { accepted: true; line: string } | ({ accepted: false } & Failure)

export interface Failure {
  code: string
  path: string
  message: string
}

export interface LetterJudgeDeps {
  plan: Pick<Plan, 'limits'>
  clock: Clock
  /** The stream as it is; `unreadable` says which of the lines cannot be loaded, and why. */
  stream: StreamPlan
  unreadable: (lines: readonly Buffer[]) => Promise<{ index: number; reason: string }[]>
}

/** The system columns at the start of a line: see events/system-columns.ts. */
const text = String.raw`"(?:[^"\\]|\\.)*"`
const head = new RegExp(
  String.raw`^\{"_event_id":${text},"_event_time":${text},"_received_at":${text}(?:,"_source":${text})?(?:,"_tenant":${text})?(?:,|(?=\}))`,
)
const idAndTime = new RegExp(String.raw`^\{"_event_id":${text},"_event_time":${text}`)

export class LetterJudge {
  readonly #deps: LetterJudgeDeps
  readonly #door: StreamDoor
  readonly #keepsId: boolean
  readonly #keepsTime: boolean

  /** @throws FreshetError `config_invalid` when the stream's schema cannot be compiled */
  constructor(deps: LetterJudgeDeps) {
    this.#deps = deps
    const { id, time } = deps.stream
    // Ids and times that are not fields of the event's own are those that it had.
    this.#keepsId = id === null || id.startsWith('_')
    this.#keepsTime = time === null || time.field.startsWith('_')
    const own = { ...deps.stream, ...(this.#keepsId && { id: null }), ...(this.#keepsTime && { time: null }) }
    this.#door = openDoor(own, deps.plan.limits.nestingMax, true)
  }

  /** A verdict for each letter. All of them have the same source. */
  async judge(letters: readonly StoredLetter[], receivedAtMs: number): Promise<Verdict[]> {
    const verdicts = letters.map((letter) => this.#atDoor(letter, receivedAtMs))
    const passed = verdicts.flatMap((verdict, index) => (verdict.accepted ? [{ index, line: verdict.line }] : []))
    if (passed.length === 0) return verdicts
    const lines = passed.map(({ line }) => Buffer.from(line))
    for (const { index, reason } of await this.#deps.unreadable(lines)) {
      verdicts[passed[index]!.index] = { accepted: false, code: 'unreadable', path: '', message: reason }
    }
    return verdicts
  }

  #atDoor(letter: StoredLetter, receivedAtMs: number): Verdict {
    const { limits } = this.#deps.plan
    const raw = letter.stage === 'load' ? letter.event.replace(head, '{') : letter.event
    const receivedAt = new Date(receivedAtMs).toISOString()
    const source = letter.source === null ? '' : `,"_source":${JSON.stringify(letter.source)}`
    const tail = `","_received_at":"${receivedAt}"${source},`
    const line = acceptEvent(raw, 0, {
      door: this.#door,
      columns: { receivedAtMs, receivedAt, idStart: '', tail, eventTimeMax: '' },
      limits,
      ascii: false,
      surrogates: hasSurrogateEscape(raw),
      returns: true,
    })
    if (line === brokenEvent) return failed({ code: 'invalid_json', path: '', reason: jsonFault(raw) })
    if (typeof line !== 'string') return failed(line)
    return { accepted: true, line: `${this.#named(line, letter)}\n` }
  }

  /** The line with the id and the time that the event had, as far as it brings none. */
  #named(line: string, letter: StoredLetter): string {
    if (!this.#keepsId && !this.#keepsTime) return line
    const start = idAndTime.exec(line)![0]
    const [own, time] = [JSON.stringify(this.#keepsId ? (letter.eventId ?? letter.key[0]) : ''), letter.eventTime]
    const [, id = ''] = /^\{"_event_id":("(?:[^"\\]|\\.)*")/.exec(start)!
    const [, at = ''] = /"_event_time":("[^"]*")$/.exec(start)!
    return `{"_event_id":${this.#keepsId ? own : id},"_event_time":${this.#keepsTime ? `"${time}"` : at}${line.slice(start.length)}`
  }
}

function failed({ code, path, reason }: EventFault): Verdict {
  return { accepted: false, code, path, message: reason }
}

function jsonFault(raw: string): string {
  const fault = findJsonFault(raw)
  return fault === undefined ? 'cannot be parsed' : `character ${fault.offset + 1}: ${fault.reason}`
}

/** The event time of a line, in milliseconds since 1970, rounded down. */
export function eventTimeOf(line: string): number {
  const [, time = ''] = /"_event_time":"([^"]*)"/.exec(line) ?? []
  return Date.parse(time)
}
