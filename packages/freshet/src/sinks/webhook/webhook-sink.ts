/**
 * Events as requests to another system, one after another in order.
 *
 * What was delivered and how far is not known to the target together, so an event can be sent twice: when its answer was lost, or
 * when the process died before the runner had noted it. Both requests have the same webhook-id and Idempotency-Key. Within a
 * process nothing is sent twice that was answered: a batch that is delivered again goes on behind what has been taken of it.
 */
import { EventsRefused, type Sink, type SinkDeps, type SinkEvent, type SinkKind } from '../sink.ts'
import { callFor } from '../event-fields.ts'
import { CircuitBreaker, TargetAway } from '../http/circuit-breaker.ts'
import { excerpt, HttpTarget, type HttpAnswer } from '../http/http-target.ts'
import type { WebhookOptions } from './settings.ts'
import { messageHeaders, messageId, signingKeys } from './signature.ts'

/** Statuses below 500 that tell of the target or the way to it, not of the event: they pass when somebody mends it. */
const notTheEvent: ReadonlySet<number> = new Set([401, 402, 403, 404, 405, 407, 408, 409, 410, 421, 423, 425, 429])

/** An event, and what is sent of it. */
interface Message {
  event: SinkEvent
  index: number
  text: string
}

class WebhookSink implements Sink {
  readonly #deps: SinkDeps
  readonly #options: WebhookOptions
  readonly #keys: readonly Buffer[]
  readonly #target: HttpTarget
  readonly #breaker: CircuitBreaker
  /** Ids that the target has taken, of batches that were not delivered whole. */
  readonly #taken = new Set<string>()

  constructor(deps: SinkDeps) {
    const options = deps.plan.options as unknown as WebhookOptions
    this.#deps = deps
    this.#options = options
    this.#keys = signingKeys(options.secret ?? [])
    this.#target = new HttpTarget({ url: options.url, timeoutMs: options.timeout, headers: options.headers ?? {} })
    this.#breaker = new CircuitBreaker({ ...options.breaker, ...deps, target: this.#target.origin })
  }

  async checkpoint(): Promise<undefined> {
    return undefined
  }

  async deliver(batch: readonly SinkEvent[]): Promise<void> {
    const refused = new Map<number, string>()
    const size = this.#options.batch
    let waiting: Message[] = []
    const send = async (): Promise<void> => {
      const messages = waiting
      waiting = []
      const refusal = messages.length === 0 ? undefined : await this.#send(messages)
      if (refusal === undefined) return
      // Which of several it was the answer does not say.
      if (messages.length > 1) throw new EventsRefused(refusal)
      refused.set(messages[0]!.index, refusal)
    }
    for (const [index, event] of batch.entries()) {
      if (this.#taken.has(event.id)) continue
      this.#breaker.check()
      const made = await this.#textOf(event)
      if (typeof made === 'object') refused.set(index, made.refused)
      if (typeof made === 'string') waiting.push({ event, index, text: made })
      if (waiting.length === size) await send()
    }
    await send()
    if (refused.size > 0) throw EventsRefused.each(refused)
    for (const { id } of batch) this.#taken.delete(id)
  }

  close(): Promise<void> {
    return this.#target.close()
  }

  /** What is sent of an event: undefined for nothing. */
  async #textOf(event: SinkEvent): Promise<string | undefined | { refused: string }> {
    if (!this.#deps.plan.functions.includes('body')) return event.text
    const made = await callFor(this.#deps, 'body', event)
    if ('refused' in made) return made
    return made.value === null || made.value === undefined ? undefined : JSON.stringify(made.value)
  }

  /** Sends one request; gives the reason when what it says will never be taken. @throws TargetAway when it may be taken later */
  async #send(messages: readonly Message[]): Promise<string | undefined> {
    this.#breaker.check()
    const { batch, format } = this.#options
    const texts = messages.map(({ text }) => text)
    const ndjson = format === 'ndjson'
    const body = ndjson ? `${texts.join('\n')}\n` : batch === 1 ? texts[0]! : `[${texts.join(',')}]`
    const id = messageId(messages.map(({ event }) => event))
    const nowMs = this.#deps.clock.nowMs()
    const headers = {
      'content-type': ndjson ? 'application/x-ndjson' : 'application/json',
      ...messageHeaders({ id, timestampS: Math.floor(nowMs / 1000), body }, this.#keys),
    }
    let answer: HttpAnswer
    try {
      answer = await this.#target.send({ headers, body }, nowMs)
    } catch (error) {
      this.#breaker.failed((error as Error).message)
      throw error
    }
    const { status, text, retryAfterMs } = answer
    if (status >= 200 && status < 300) {
      this.#breaker.succeeded()
      for (const { event } of messages) this.#taken.add(event.id)
      return undefined
    }
    const said = `${this.#target.origin} answered ${status}${text.trim() === '' ? '' : `: ${excerpt(text)}`}`
    if (this.#isRefusal(status)) {
      this.#breaker.succeeded()
      return said
    }
    const reason = status >= 300 && status < 400 ? `${said} (redirects are not followed)` : said
    this.#breaker.failed(reason, retryAfterMs)
    throw new TargetAway(reason)
  }

  #isRefusal(status: number): boolean {
    const { refuse } = this.#options
    return refuse === undefined ? status >= 400 && status < 500 && !notTheEvent.has(status) : refuse.includes(status)
  }
}

export const webhookKind: SinkKind = {
  open: async (deps) => new WebhookSink(deps),
}
