/**
 * What a run has sent and what of it was acknowledged: kept apart from the server, and all that the audit compares with.
 * Six bytes an event, in arrays by site and number, so that ten million events take 60 MB.
 */
import type { Site } from './sites.ts'

/** What is known of an event. `found` by the audit is kept beside it. */
export const eventStates = {
  /** Not sent yet. */
  ahead: 0,
  /** Sent, and no answer has come yet: it may be there, or not. */
  unknown: 1,
  /** Acknowledged: it has to be there, once. */
  acknowledged: 2,
  /** Refused by an answer: it must not be there. */
  refused: 3,
} as const

type EventState = (typeof eventStates)[keyof typeof eventStates]

export class SiteRecord {
  readonly site: Site
  /** Events that the server said it took, each time they were sent, and how many of them it may have taken without saying so. */
  accepted = 0
  acceptedUnsaid = 0
  /** All events up to this number are acknowledged or refused. */
  settledTo = 0
  readonly #states: Uint8Array
  readonly #checksums: Uint32Array

  constructor(site: Site, events: number) {
    this.site = site
    this.#states = new Uint8Array(events)
    this.#checksums = new Uint32Array(events)
  }

  get events(): number {
    return this.#states.length
  }

  /** An event is about to be sent for the first time. */
  sending(n: number, checksum: number): void {
    if (this.#states[n] !== eventStates.ahead) return
    this.#states[n] = eventStates.unknown
    this.#checksums[n] = checksum
  }

  /** True when this is the first that is heard of it. */
  acknowledged(n: number): boolean {
    const first = this.#states[n] === eventStates.unknown
    if (first) this.#settle(n, eventStates.acknowledged)
    return first
  }

  /** The same. */
  refused(n: number): boolean {
    const first = this.#states[n] === eventStates.unknown
    if (first) this.#settle(n, eventStates.refused)
    return first
  }

  stateOf(n: number): EventState {
    return (this.#states[n] ?? eventStates.ahead) as EventState
  }

  checksumOf(n: number): number {
    return this.#checksums[n] ?? 0
  }

  count(state: EventState): number {
    let count = 0
    for (const one of this.#states) if (one === state) count++
    return count
  }

  #settle(n: number, state: EventState): void {
    this.#states[n] = state
    while (this.settledTo < this.#states.length && this.#states[this.settledTo]! >= eventStates.acknowledged)
      this.settledTo++
  }
}

/** How often things happened while sending. */
export interface SendCounts {
  /** Requests that were answered. */
  requests: number
  /** Events that were sent once more in another batch, and batches that were sent once more as they were. */
  repeatedEvents: number
  repeatedBatches: number
  /** Attempts that failed and were made again, and among them those whose answer was not waited for on purpose. */
  retries: number
  lostAnswers: number
  /** The first reasons for which the server refused events. */
  reasons: string[]
  /** Answers that contradict what the server had said before or what was sent. */
  contradictions: string[]
}

export class RunRecord {
  readonly sites: readonly SiteRecord[]
  readonly counts: SendCounts = {
    requests: 0,
    repeatedEvents: 0,
    repeatedBatches: 0,
    retries: 0,
    lostAnswers: 0,
    reasons: [],
    contradictions: [],
  }
  /** Events of which something is known by now. */
  settled = 0
  readonly total: number
  readonly #byName: ReadonlyMap<string, SiteRecord>

  constructor(sites: readonly Site[], counts: readonly number[]) {
    this.sites = sites.map((site, index) => new SiteRecord(site, counts[index]!))
    this.total = counts.reduce((sum, count) => sum + count, 0)
    this.#byName = new Map(this.sites.map((one) => [one.site.name, one]))
  }

  find(site: string): SiteRecord | undefined {
    return this.#byName.get(site)
  }

  count(state: EventState): number {
    return this.sites.reduce((sum, site) => sum + site.count(state), 0)
  }

  contradiction(text: string): void {
    if (this.counts.contradictions.length < 100) this.counts.contradictions.push(text)
  }
}
