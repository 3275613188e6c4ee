/**
 * Events as documents of OpenSearch or Elasticsearch, by bulk requests. A document's id is the event's, or that of a field: so an event
 * that is delivered again writes the same document again, and what was delivered twice is there once.
 */
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { EventsRefused, type Sink, type SinkDeps, type SinkEvent, type SinkKind } from '../sink.ts'
import { CircuitBreaker, TargetAway } from '../http/circuit-breaker.ts'
import { basic, excerpt, HttpTarget, type HttpAnswer } from '../http/http-target.ts'
import type { TemplatePart } from '../text-template.ts'
import { actionFor, outcomesOf, type BulkAction, type ItemOutcome } from './bulk.ts'
import { readIndexTemplate } from './index-name.ts'
import type { OpenSearchOptions } from './settings.ts'

const gzipped = promisify(gzip)
const answerBytesMax = 256 * 2 ** 20

class OpenSearchSink implements Sink {
  readonly #deps: SinkDeps
  readonly #options: OpenSearchOptions & { indexParts: readonly TemplatePart[] }
  readonly #target: HttpTarget
  readonly #breaker: CircuitBreaker

  constructor(deps: SinkDeps) {
    const options = deps.plan.options as unknown as OpenSearchOptions
    const indexParts = readIndexTemplate(options.index)
    if ('reason' in indexParts) throw new Error(`The \`index\` of the sink ${indexParts.reason}.`)
    this.#deps = deps
    this.#options = { ...options, indexParts }
    const { user, password, apiKey, url, timeout: timeoutMs } = options
    const signedIn =
      apiKey === undefined
        ? user === undefined
          ? {}
          : { authorization: basic(user, password ?? '') }
        : { authorization: `ApiKey ${apiKey}` }
    this.#target = new HttpTarget({ url, timeoutMs, answerBytesMax, headers: { ...signedIn, ...options.headers } })
    this.#breaker = new CircuitBreaker({ ...options.breaker, ...deps, target: this.#target.origin })
  }

  async checkpoint(): Promise<undefined> {
    return undefined
  }

  async deliver(batch: readonly SinkEvent[]): Promise<void> {
    const refused = new Map<number, string>()
    let actions: BulkAction[] = []
    let bytes = 0
    const send = async (): Promise<void> => {
      const sent = actions
      actions = []
      bytes = 0
      if (sent.length > 0) await this.#send(sent, refused)
    }
    for (const [index, event] of batch.entries()) {
      const action = actionFor(event, index, this.#options)
      if ('refused' in action) {
        refused.set(index, action.refused)
        continue
      }
      const actionBytes = Buffer.byteLength(action.lines)
      if (bytes + actionBytes > this.#options.bulk) await send()
      actions.push(action)
      bytes += actionBytes
    }
    await send()
    if (refused.size > 0) throw EventsRefused.each(refused)
  }

  close(): Promise<void> {
    return this.#target.close()
  }

  /** Sends one bulk request; adds to `refused` what will never be taken. @throws TargetAway when some of it may be taken later */
  async #send(actions: readonly BulkAction[], refused: Map<number, string>): Promise<void> {
    this.#breaker.check()
    const answer = await this.#post(actions.map(({ lines }) => lines).join(''))
    const said = `${this.#target.origin} answered ${answer.status}: ${excerpt(answer.text.slice(0, 2000))}`
    if (answer.status === 413) {
      // The target takes less at once than `bulk` allows.
      if (actions.length === 1) refused.set(actions[0]!.index, said)
      else {
        const half = Math.ceil(actions.length / 2)
        await this.#send(actions.slice(0, half), refused)
        await this.#send(actions.slice(half), refused)
      }
      return
    }
    if (answer.status < 200 || answer.status > 299) this.#fail(said, answer.retryAfterMs)
    let outcomes: ItemOutcome[]
    try {
      outcomes = outcomesOf(answer.text, actions.length)
    } catch {
      this.#fail(`${this.#target.origin} is no OpenSearch or Elasticsearch: ${excerpt(answer.text.slice(0, 2000))}`)
    }
    let away: string | undefined
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome === 'done') continue
      if ('refused' in outcome) refused.set(actions[at]!.index, outcome.refused)
      else away ??= outcome.away
    }
    if (away !== undefined) this.#fail(`${this.#target.origin} could not take all documents: ${away}`)
    this.#breaker.succeeded()
  }

  #fail(reason: string, retryAfterMs?: number): never {
    this.#breaker.failed(reason, retryAfterMs)
    throw new TargetAway(reason)
  }

  async #post(text: string): Promise<HttpAnswer> {
    const { gzip: packed } = this.#options
    const request = {
      path: '_bulk',
      headers: { 'content-type': 'application/x-ndjson', ...(packed && { 'content-encoding': 'gzip' }) },
      body: packed ? await gzipped(text, { level: 1 }) : text,
    }
    try {
      return await this.#target.send(request, this.#deps.clock.nowMs())
    } catch (error) {
      this.#breaker.failed((error as Error).message)
      throw error
    }
  }
}

export const openSearchKind: SinkKind = {
  open: async (deps) => new OpenSearchSink(deps),
}
