/** Sends one batch until an answer says what became of it, and keeps what it says in the record. */
import { setTimeout as delay } from 'node:timers/promises'
import { FreshetError } from '../../runtime/errors.ts'
import { parseProblem, problemError } from '../client.ts'
import type { Door, DoorAnswer } from './door.ts'
import type { RunRecord, SiteRecord } from './record.ts'
import type { Seeded } from './seeded.ts'
import type { ProveEvent } from './workload.ts'

export interface Batch {
  events: readonly ProveEvent[]
  /** Whether its last event has never been sent before. */
  isNew: boolean
  body: Buffer
  /** Name the site, and the batch where it has a name. */
  headers: Record<string, string>
}

export interface BatchSenderOptions {
  door: Door
  stream: string
  record: RunRecord
  site: SiteRecord
  random: Seeded
  /** Part of the attempts whose answer is not waited for, from 0 to 1. */
  lostAnswers: number
  stop: AbortSignal
  /** Told of an event, the last of a batch, as soon as the batch is acknowledged. */
  /** Gets the last event of a batch that is new, and how long ago the batch was first sent. */
  onAcknowledged: (id: string, ageMs: number) => void
  onReceipt: (receipt: string, events: number) => void
}

/** Statuses that say that the same request may succeed later. */
const retryStatuses: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504])
/** Those that say that nothing of the request was kept. */
const nothingKept: ReadonlySet<number> = new Set([429, 503])
const pauseMsMin = 20
const pauseMsMax = 500
/** After so long without an answer to a batch, the server is not coming back. */
const patienceMs = 180_000
const lostAfterMsMax = 8

interface Answer {
  accepted: number
  duplicates: number
  errors: { index: number; code: string; reason: string }[]
  receipt?: string
}

export class BatchSender {
  readonly #options: BatchSenderOptions

  constructor(options: BatchSenderOptions) {
    this.#options = options
  }

  /**
   * Sends a batch, and again after every failure, until it is answered.
   * @param isRepeat an answer has said before that this very batch is stored
   * @throws FreshetError when the server refuses it, or does not answer for minutes; an AbortError when stopped
   */
  async deliver(batch: Batch, isRepeat = false): Promise<void> {
    const { site, record, stop } = this.#options
    for (const { n, checksum } of batch.events) site.sending(n, checksum)
    const startedMs = performance.now()
    let unanswered = 0
    for (let attempt = 0; ; attempt++) {
      const answer = await this.#attempt(batch)
      stop.throwIfAborted()
      if (answer !== undefined && !retryStatuses.has(answer.status)) {
        this.#settle(batch, answer, { unanswered, isRepeat, startedMs })
        return
      }
      record.counts.retries++
      if (answer === undefined || !nothingKept.has(answer.status)) unanswered++
      if (performance.now() - startedMs > patienceMs) throw gaveUp(site.site.name, answer)
      await delay(Math.min(pauseMsMax, pauseMsMin * 2 ** Math.min(attempt, 6)), undefined, { signal: stop })
    }
  }

  /** The answer; undefined when there was none. */
  async #attempt(batch: Batch): Promise<DoorAnswer | undefined> {
    const { door, stream, random, lostAnswers, stop, record } = this.#options
    const cut = new AbortController()
    const isLost = random.fraction() < lostAnswers
    const timer = isLost ? setTimeout(() => cut.abort(), random.between(0, lostAfterMsMax)) : undefined
    try {
      return await door.post(stream, batch.body, batch.headers, AbortSignal.any([cut.signal, stop]))
    } catch (error) {
      stop.throwIfAborted()
      if (cut.signal.aborted) record.counts.lostAnswers++
      else if (!(error instanceof FreshetError)) throw error
      return undefined
    } finally {
      clearTimeout(timer)
    }
  }

  #settle(
    batch: Batch,
    answer: DoorAnswer,
    { unanswered, isRepeat, startedMs }: { unanswered: number; isRepeat: boolean; startedMs: number },
  ): void {
    const { site, record, onAcknowledged, onReceipt } = this.#options
    const ageMs = performance.now() - startedMs
    const said = readAnswer(answer)
    if (said === undefined) throw problemError(this.#options.door.url, answer, answer.text)
    record.counts.requests++
    const { events } = batch
    const stored = events.length - said.errors.length
    const isNamed = site.site.kind !== 'ids'
    if (said.accepted + said.duplicates !== stored)
      record.contradiction(
        `${site.site.name}: ${said.accepted} accepted, ${said.duplicates} repeated and ${said.errors.length} refused of ${events.length}`,
      )
    if (isNamed && isRepeat && said.accepted > 0)
      record.contradiction(
        `${site.site.name}: ${said.accepted} events of a batch that was acknowledged before were taken again`,
      )
    if (said.duplicates > 0 && !isRepeat && unanswered === 0)
      record.contradiction(
        `${site.site.name}: ${said.duplicates} events of a batch that was never sent before were called repeated`,
      )
    // A batch with a name is in the log once, whichever of the attempts brought it there.
    if (!isRepeat || !isNamed) site.accepted += isNamed ? stored : said.accepted
    if (!isNamed) site.acceptedUnsaid += unanswered * stored

    const refused = new Set(said.errors.map(({ index }) => index))
    for (let at = 0; at < events.length; at++) {
      const { n } = events[at]!
      if (refused.has(at) ? site.refused(n) : site.acknowledged(n)) record.settled++
    }
    this.#keepRefusals(said.errors)
    const last = events.findLast((_, at) => !refused.has(at))
    if (last !== undefined && batch.isNew && !isRepeat) onAcknowledged(last.id, ageMs)
    if (said.receipt !== undefined && stored > 0) onReceipt(said.receipt, stored)
  }

  #keepRefusals(errors: Answer['errors']): void {
    const { counts } = this.#options.record
    for (const { code, reason } of errors) {
      if (counts.reasons.length < 10) counts.reasons.push(`${code}: ${reason}`)
    }
  }
}

/** What a final answer says of the events; undefined when it refuses the request as such. */
function readAnswer(answer: DoorAnswer): Answer | undefined {
  const body = parseProblem(answer.text)
  if (body === null) return undefined
  const errors = Array.isArray(body.errors) ? (body.errors as Answer['errors']) : []
  const { accepted, duplicates, receipt } = body as Partial<Answer>
  if (answer.status === 202 && typeof accepted === 'number' && typeof duplicates === 'number')
    return { accepted, duplicates, errors, ...(typeof receipt === 'string' && { receipt }) }
  // Every event of it is bad.
  return errors.length > 0 ? { accepted: 0, duplicates: 0, errors } : undefined
}

function gaveUp(site: string, answer: DoorAnswer | undefined): FreshetError {
  const last = answer === undefined ? 'no answer' : `${answer.status} ${answer.text.slice(0, 200)}`
  return new FreshetError(
    'server_unreachable',
    `A batch of ${site} was not answered for minutes; the last was: ${last}.`,
    {
      hint: 'See what the server logs.',
    },
  )
}
