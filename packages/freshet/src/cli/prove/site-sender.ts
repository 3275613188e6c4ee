/** One site: sends its events batch by batch at its own pace, is cut off at times, and repeats itself. */
import { setTimeout as delay } from 'node:timers/promises'
import { BatchSender, type Batch, type BatchSenderOptions } from './batch-sender.ts'
import type { Pacer } from './pacer.ts'
import { Repeats } from './repeats.ts'
import { Seeded } from './seeded.ts'
import type { Outage } from './sites.ts'
import type { ProveEvent, Workload } from './workload.ts'

export interface SiteSenderOptions extends Omit<BatchSenderOptions, 'random' | 'lostAnswers'> {
  run: string
  seed: number
  duplicates: number
  workload: Workload
  pacer: Pacer
}

/** Part of the attempts whose answer is not waited for, and of the batches that are sent again although they were answered. */
const lostAnswers = 0.01
const repeatedBatches = 0.02
/** A batch of new events holds at most so many old ones. */
const mixedIn = 0.05

export class SiteSender {
  readonly #options: SiteSenderOptions
  readonly #random: Seeded
  readonly #batches: BatchSender
  readonly #repeats: Repeats
  readonly #outages: Outage[]
  #sequence = 0

  constructor(options: SiteSenderOptions) {
    const { site, seed, duplicates } = options
    this.#options = options
    this.#random = new Seeded(seed, 9, site.site.index)
    this.#batches = new BatchSender({ ...options, random: new Seeded(seed, 10, site.site.index), lostAnswers })
    this.#repeats = new Repeats({ seed, site: site.site.index, duplicates: site.site.hasIds ? duplicates : 0 })
    this.#outages = [...site.site.outages]
  }

  /** Sends everything. @throws FreshetError when the server refuses a batch or stays away; an AbortError when stopped */
  async run(): Promise<void> {
    const { site, workload, pacer, stop } = this.#options
    const { batchEvents } = site.site
    for (let sent = 0; sent < site.events;) {
      if (!(await pacer.turn(site, sent))) return
      await this.#outage(sent / site.events)
      const events = await workload.next(site.site.index, batchEvents)
      if (events.length === 0) break
      sent += events.length
      const old = this.#repeats.some(Math.ceil(batchEvents * mixedIn))
      const all = this.#repeats.choose(events)
      this.#options.record.counts.repeatedEvents += all.length - events.length + old.length
      await this.#send([...old, ...all], true)
      await this.#sendRepeats(this.#repeats.batch(batchEvents))
    }
    while (this.#repeats.waiting > 0 && !stop.aborted) await this.#sendRepeats(this.#repeats.rest(batchEvents))
  }

  async #outage(share: number): Promise<void> {
    const next = this.#outages[0]
    if (next === undefined || share < next.after) return
    this.#outages.shift()
    await delay(next.lastsMs, undefined, { signal: this.#options.stop })
  }

  async #sendRepeats(events: readonly ProveEvent[]): Promise<void> {
    if (events.length === 0) return
    this.#options.record.counts.repeatedEvents += events.length
    await this.#send(events, false)
  }

  async #send(events: readonly ProveEvent[], isNew: boolean): Promise<void> {
    const batch = this.#batch(events, isNew)
    await this.#batches.deliver(batch)
    if (this.#random.fraction() >= repeatedBatches) return
    this.#options.record.counts.repeatedBatches++
    await this.#batches.deliver(batch, true)
  }

  #batch(events: readonly ProveEvent[], isNew: boolean): Batch {
    const { run, site } = this.#options
    const name = `prove-${run}-${site.site.name}`
    const headers: Record<string, string> = { 'freshet-source': name }
    const number = this.#sequence++
    if (site.site.kind === 'sequence') {
      headers['freshet-producer'] = name
      headers['freshet-sequence'] = String(number)
    } else if (site.site.kind === 'key') headers['idempotency-key'] = `${name}-${number}`
    return { events, isNew, body: Buffer.from(`${events.map(({ line }) => line).join('\n')}\n`), headers }
  }
}
