/**
 * Events as messages to a Slack-compatible incoming webhook: a line each, several in one message when many wait, at most one
 * message in `pace`. Such a webhook knows no ids: when the process dies between a message and the note of it, the message comes again.
 */
import { EventsRefused, type Sink, type SinkDeps, type SinkEvent, type SinkKind } from '../sink.ts'
import { callFor, exactFields } from '../event-fields.ts'
import { CircuitBreaker, TargetAway } from '../http/circuit-breaker.ts'
import { excerpt, HttpTarget, type HttpAnswer } from '../http/http-target.ts'
import { fillTemplate, readTemplate, type TemplatePart } from '../text-template.ts'
import type { SlackOptions } from './settings.ts'

/** Slack's advice for the text of a message; longer ones may be cut. */
const charactersMax = 4000

interface Line {
  event: SinkEvent
  index: number
  text: string
}

class SlackSink implements Sink {
  readonly #deps: SinkDeps
  readonly #options: SlackOptions
  readonly #template: readonly TemplatePart[] | undefined
  readonly #target: HttpTarget
  readonly #breaker: CircuitBreaker
  #lastMs = Number.NEGATIVE_INFINITY
  /** Ids that are in messages that were taken, of batches that were not delivered whole. */
  readonly #taken = new Set<string>()

  constructor(deps: SinkDeps) {
    const options = deps.plan.options as unknown as SlackOptions
    this.#deps = deps
    this.#options = options
    this.#template = options.text === undefined ? undefined : partsOf(options.text)
    this.#target = new HttpTarget({ url: options.url, timeoutMs: options.timeout })
    this.#breaker = new CircuitBreaker({ ...options.breaker, ...deps, target: this.#target.origin })
  }

  async checkpoint(): Promise<undefined> {
    return undefined
  }

  async deliver(batch: readonly SinkEvent[]): Promise<void> {
    const refused = new Map<number, string>()
    let lines: Line[] = []
    let characters = 0
    const send = async (): Promise<void> => {
      if (lines.length === 0) return
      const sent = lines
      lines = []
      characters = 0
      const refusal = await this.#send(sent.map(({ text }) => text).join('\n'))
      if (refusal === undefined) for (const { event } of sent) this.#taken.add(event.id)
      else if (sent.length > 1) throw new EventsRefused(refusal)
      else refused.set(sent[0]!.index, refusal)
    }
    for (const [index, event] of batch.entries()) {
      if (this.#taken.has(event.id)) continue
      this.#breaker.check()
      const made = await this.#textOf(event)
      if (typeof made === 'object') refused.set(index, made.refused)
      if (typeof made !== 'string') continue
      if (characters + made.length > charactersMax) await send()
      lines.push({ event, index, text: made })
      characters += made.length + 1
      if (lines.length === this.#options.fold) await send()
    }
    await send()
    if (refused.size > 0) throw EventsRefused.each(refused)
    for (const { id } of batch) this.#taken.delete(id)
  }

  close(): Promise<void> {
    return this.#target.close()
  }

  /** The line for an event; undefined for none. */
  async #textOf(event: SinkEvent): Promise<string | undefined | { refused: string }> {
    if (this.#template !== undefined) return fillTemplate(this.#template, exactFields(event), escaped)
    const made = await callFor(this.#deps, 'text', event)
    if ('refused' in made) return made
    if (made.value === null || made.value === undefined || made.value === '') return undefined
    if (typeof made.value === 'string') return made.value
    return { refused: 'The function `text` must return text, or null for no message.' }
  }

  /** Sends one message when it is time; gives the reason when it will never be taken. */
  async #send(text: string): Promise<string | undefined> {
    const { timers, clock } = this.#deps
    const waitMs = this.#lastMs + this.#options.pace - timers.monotonicMs()
    if (waitMs > 0) await timers.sleep(waitMs, this.#target.closing)
    this.#breaker.check()
    this.#lastMs = timers.monotonicMs()
    const headers = { 'content-type': 'application/json' }
    let answer: HttpAnswer
    try {
      answer = await this.#target.send({ headers, body: JSON.stringify({ text }) }, clock.nowMs())
    } catch (error) {
      this.#breaker.failed((error as Error).message)
      throw error
    }
    const said = `${this.#target.origin} answered ${answer.status}: ${excerpt(answer.text)}`
    if (answer.status >= 200 && answer.status < 300) {
      this.#breaker.succeeded()
      return undefined
    }
    // Only a payload that cannot be read is the message's fault; other answers tell of the webhook or its channel.
    if (answer.status === 400 || answer.status === 413) {
      this.#breaker.succeeded()
      return said
    }
    this.#breaker.failed(said, answer.retryAfterMs)
    throw new TargetAway(said)
  }
}

function partsOf(text: string): readonly TemplatePart[] {
  const parts = readTemplate(text)
  if ('reason' in parts) throw new Error(`The \`text\` of the sink ${parts.reason}.`)
  return parts
}

/** Slack's documentation, "Escaping text": these three and no others. */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

export const slackKind: SinkKind = {
  open: async (deps) => new SlackSink(deps),
}
