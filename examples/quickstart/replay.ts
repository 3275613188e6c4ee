/** Sends what every site has to send, all sites at once, each one batch after the other. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FreshnessWatch } from './freshness-watch.ts'
import { persistently, postEvents, type Accepted, type Batch } from './http-client.ts'
import type { Delivery, Site } from './sites.ts'

/** What the server said about all that was sent. */
export interface Tally {
  requests: number
  accepted: number
  /** Events of batches the gateway had taken before. */
  duplicateBatchEvents: number
  /** Events sent again in another batch, which the engine has to recognise by their ids. */
  resent: number
  late: number
}

/**
 * @param options.replayMs how long the deliveries that are not late are spread over
 * @param options.beforeLate awaited when everything but the late deliveries has been acknowledged
 * @throws Error when an answer is not what it must be
 */
export async function replay(
  url: string,
  sites: readonly Site[],
  options: { replayMs: number; watch: FreshnessWatch; beforeLate: () => Promise<void> },
): Promise<Tally> {
  const tally: Tally = { requests: 0, accepted: 0, duplicateBatchEvents: 0, resent: 0, late: 0 }
  const startedAt = performance.now()
  const sendAll = (late: boolean): Promise<void[]> =>
    Promise.all(
      sites.map(async (site) => {
        for (const delivery of site.deliveries.filter((candidate) => candidate.late === late)) {
          const waitMs = late ? 0 : startedAt + delivery.due * options.replayMs - performance.now()
          if (waitMs > 0) await sleep(waitMs)
          await send(url, site.venue, delivery, tally, options.watch)
        }
      }),
    )
  await sendAll(false)
  await options.beforeLate()
  await sendAll(true)
  return tally
}

async function send(
  url: string,
  venue: string,
  delivery: Delivery,
  tally: Tally,
  watch: FreshnessWatch,
): Promise<void> {
  const { sequence, trades } = delivery
  const batch = { producer: `site-${venue}`, sequence, events: trades }
  const first = await postPersistently(url, batch)
  // After a request without an answer nobody knows whether the batch was taken: then both are right.
  const taken =
    first.attempts === 1 ? first.accepted === trades.length : first.accepted + first.duplicates === trades.length
  if (!taken || first.rejected > 0) throw wrongAnswer(batch, 'all accepted', first)
  const newest = trades.at(-1)
  if (newest !== undefined && delivery.resent < trades.length) watch.acknowledged(newest.id)
  tally.requests += first.attempts
  tally.accepted += trades.length
  tally.resent += delivery.resent
  if (delivery.late) tally.late += trades.length - delivery.resent
  if (!delivery.sentTwice) return
  const second = await postPersistently(url, batch)
  if (second.accepted > 0 || second.duplicates !== trades.length) throw wrongAnswer(batch, 'all duplicates', second)
  tally.requests += second.attempts
  tally.duplicateBatchEvents += second.duplicates
}

/** Sends a batch, under the same number, until it is answered. */
async function postPersistently(url: string, batch: Batch): Promise<Accepted & { attempts: number }> {
  const { result, attempts } = await persistently(() => postEvents(url, 'trades', batch))
  return { ...result, attempts }
}

function wrongAnswer(batch: Batch, expected: string, answer: Accepted): Error {
  const { producer, sequence, events } = batch
  return new Error(
    `batch ${sequence} of ${producer}, ${events.length} events, expected ${expected}: ${JSON.stringify(answer)}`,
  )
}
