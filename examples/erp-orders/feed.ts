/** The ERP's side of the webhooks: one POST an event, to the URL of the stream that it belongs to. */
import { setTimeout as sleep } from 'node:timers/promises'
import { RefusedError } from '../quickstart/http-client.ts'
import { entityOf } from './entities.ts'
import type { Delivery } from './webhooks.ts'

/** Webhooks under way at once. What concerns one entity goes one after the other. */
const lanes = 32
/** A webhook without an answer, or with 503, is sent again for this long: what a server needs that is being started again. */
const retryForMs = 120_000
const retryPauseMs = 500

export interface FeedTally {
  /** Webhooks answered with 202. */
  webhooks: number
  repeats: number
  /** Requests that had to be made again. */
  retries: number
}

/**
 * Sends all deliveries and returns when each has been acknowledged.
 * @param onSent called after each, with how many have been sent so far
 * @throws Error when one is refused
 */
export async function feed(
  url: string,
  deliveries: readonly Delivery[],
  onSent: (sent: number) => void = () => undefined,
): Promise<FeedTally> {
  const tally: FeedTally = { webhooks: 0, repeats: 0, retries: 0 }
  const queues = Map.groupBy(deliveries, ({ change }) => laneOf(entityOf(change)))
  await Promise.all(
    [...queues.values()].map(async (queue) => {
      for (const delivery of queue) {
        tally.retries += await postUntilTaken(url, delivery)
        tally.webhooks++
        if (delivery.repeat) tally.repeats++
        onSent(tally.webhooks)
      }
    }),
  )
  return tally
}

/** @returns how often it had to be sent again */
async function postUntilTaken(url: string, delivery: Delivery): Promise<number> {
  const startedAt = performance.now()
  for (let retries = 0; ; retries++) {
    try {
      await post(url, delivery)
      return retries
    } catch (error) {
      const isPassing = error instanceof TypeError || (error instanceof RefusedError && error.status === 503)
      if (!isPassing || performance.now() - startedAt > retryForMs) throw error
      await sleep(retryPauseMs)
    }
  }
}

async function post(url: string, { change: { stream, event } }: Delivery): Promise<void> {
  const response = await fetch(`${url}/v1/streams/${stream}/events`, {
    method: 'POST',
    // The change's id says which webhook this is, whenever it comes again.
    headers: {
      'content-type': 'application/json',
      'idempotency-key': event.change_id,
      'freshet-source': 'erp',
    },
    body: JSON.stringify(event),
  })
  const body = await response.text()
  if (response.status !== 202) throw new RefusedError(`webhook ${event.change_id}`, response.status, body)
  const { rejected } = JSON.parse(body) as { rejected: number }
  if (rejected > 0) throw new Error(`webhook ${event.change_id} was rejected: ${body}`)
}

function laneOf(entity: string): number {
  let hash = 0
  for (const character of entity) hash = (hash * 31 + character.charCodeAt(0)) % 65_521
  return hash % lanes
}
